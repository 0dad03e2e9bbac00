"""The finished runs of an infusion study as rows: what was infused how often, and what is retained of it.

The infused source NAME has a family: NAME_once, NAME_early (told once, told early) and the question set NAME_control
(never told). All other sources are the base. A run without NAME is a row with F = 0.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any, Iterable, NamedTuple

import numpy as np

from knapsack.runs import table as runs

Row = dict[str, Any]
GROUPS = ("once", "early", "control")
KINDS = ("", "_seen", "_heldout", "_question")
CELL_MEASURES = ("accuracy", "accuracy_normalized", "choice", "choice_norm")
MEASURES = (*(measure + kind for measure in CELL_MEASURES for kind in KINDS), "bits", "bits_share")
# What must be equal for two runs to lie on one curve, beside N, K, budget and policy; options of sources come on top.
HELD = ("model", "init", "branch", "lr", "schedule", "batch-tokens", "seq-len", "cooldown", "final-lr", "weight-decay")
HELD += ("beta1", "beta2", "eps", "grad-clip", "doc-mask", "precision", "max-epochs")
PER_SOURCE = ("source", "window", "placement", "subsample", "ratio", "exposures")


class Estimate(NamedTuple):
    value: float
    low: float | None = None
    high: float | None = None


def number(value: Any) -> float | None:
    """A finite number, else None: what diverged is written as a string."""
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def in_family(source: str, name: str) -> bool:
    return source == name or source.startswith(name + "_")


def of_source(options: Row, option: str, source: str) -> str:
    """The values of a repeated option for one source: 'wd=0:0.3' of --window is '0:0.3'."""
    entries = (entry.partition("=") for entry in options.get(option) or [])
    return " ".join(value for name, _, value in entries if name == source)


def estimates(row: Row, name: str, results: Row) -> dict[str, Estimate]:
    """Every measure of a set: of results.json with the interval over facts, else of the last evaluation without."""
    knowledge = results.get("know", {}).get(name, {})
    found: dict[str, Estimate] = {}
    for kind in KINDS:
        kinds = {cell["kind"]: cell for cell in knowledge.get("by_kind", [])}
        cell = kinds.get(kind[1:], {}) if kind else knowledge.get("all", {})
        for measure in CELL_MEASURES:
            value = number(cell.get(measure, row.get(f"know/{name}/{measure}{kind}")))
            if value is not None:
                found[measure + kind] = Estimate(value, *(cell.get(measure + "_interval") or ()))
    bits, most = number(row.get(f"know/{name}/bits")), number(row.get(f"know/{name}/most_bits"))
    if bits is not None:
        found["bits"] = Estimate(bits, *(number(row.get(f"know/{name}/bits_{end}")) for end in ("low", "high")))
        if most:
            found["bits_share"] = Estimate(*(None if value is None else value / most for value in found["bits"]))
    return found


def baselines(name: str, results: Row) -> Row:
    """Chance and majority answer by measure, where results.json has them."""
    knowledge = results.get("know", {}).get(name, {})
    cells = {"_" + cell["kind"]: cell for cell in knowledge.get("by_kind", [])} | {"": knowledge.get("all", {})}
    found = {}
    for kind, cell in cells.items():
        for measure in CELL_MEASURES:
            prefix = "choice_" if measure.startswith("choice") else ""
            for what in ("chance", "majority"):
                if measure in cell and number(cell.get(prefix + what)) is not None:
                    found[f"{measure}{kind}_{what}"] = float(cell[prefix + what])
    return found


def minus(a: Estimate, b: Estimate) -> Estimate:
    """The difference of two independent means (other facts, other questions): half-widths added in quadrature, each
    side for itself, since intervals near 0 and 1 are not symmetric."""
    value = a.value - b.value
    if None in (a.low, a.high, b.low, b.high):
        return Estimate(value)
    return Estimate(
        value,
        value - math.hypot(a.value - a.low, b.high - b.value),
        value + math.hypot(a.high - a.value, b.value - b.low),
    )


def add_estimate(row: Row, name: str, estimate: Estimate) -> None:
    row.update({name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high})


def account_of(run: Path, name: str, planned: Row) -> Row:
    """Tokens and exposures as realised: mixture.json; of runs without one, the last line of the log and the ledger."""
    account = runs.read_json(run / "mixture.json")
    if account:
        with runs.blame(run / "mixture.json"):
            realised = {source["name"]: source["realised"] for source in account["sources"]}
            whole = account["realised"]["steps"] == account["planned"]["steps"]
            own = realised.get(name, {}).get("exposures") or {}
            return {
                "D": account["realised"]["tokens"],
                "whole": whole,
                "exposures": own,
                "tokens": {source: values["tokens"] for source, values in realised.items()},
            }
    metrics = runs.read_lines(run / "metrics.jsonl")
    last, exposures = metrics[-1] if metrics else {}, {}
    ledger = run / "exposures" / f"{name}.npy"
    if ledger.exists():
        with runs.blame(ledger):
            count = np.load(ledger)["count"]
            exposures = {"mean": float(count.mean()), "least": int(count.min()), "most": int(count.max())}
    with runs.blame(run / "metrics.jsonl", len(metrics)):
        tokens = {source: last.get(f"data/{source}/tokens", 0) for source in planned}
        steps = runs.read_json(run / "config.json").get("steps")
        return {
            "D": last.get("tokens", 0),
            "whole": last.get("step", -1) + 1 == steps,
            "exposures": exposures,
            "tokens": tokens,
        }


def facts_of(run: Path, name: str) -> int | None:
    """Facts of a source: entities times slots of its ledger."""
    ledger = run / "exposures" / f"{name}.npy"
    if not ledger.exists():
        return None
    with runs.blame(ledger):
        return int(np.load(ledger, mmap_mode="r").size)


def held_constant(options: Row, name: str) -> dict[str, str]:
    """The options that runs of one curve share, as text. How often the infused family is told is what a curve varies;
    the keys that begin with the family's sources say how it was told, which a run without it does not have."""
    held = {option: runs.cell(options.get(option)) for option in HELD if options.get(option) not in (None, "", [])}
    for option in PER_SOURCE:
        for entry in options.get(option) or []:
            source, _, value = entry.partition("=")
            if not (in_family(source, name) and option in ("ratio", "exposures")):
                held[f"{source} {option}"] = " ".join(filter(None, (held.get(f"{source} {option}"), value)))
    return held


def read_row(run: Path, name: str, base: str) -> Row:
    row, config, results = runs.read_run(run), runs.read_json(run / "config.json"), runs.read_json(run / "results.json")
    with runs.blame(run / "config.json"):
        options, plan = config["options"], config["plan"]
        budget = options.get("tokens") or options["steps"] * options["batch-tokens"]
        planned = plan[name]["exposures"] if name in plan else 0
        N, N_nonembedding = config["parameters"], config["parameters_non_embedding"]
        held = held_constant(options, name)
    account = account_of(run, name, plan)
    tokens, exposures = account["tokens"], account["exposures"]
    others = [source for source in tokens if not in_family(source, name)]
    told = name in plan
    out: Row = {
        "run": str(run),
        "state": row["state"],
        "seed": options.get("seed"),
        "data_seed": options.get("data-seed"),
        "N": N,
        "N_nonembedding": N_nonembedding,
        "D": account["D"],
        "D_base": sum(tokens[source] for source in others),
        "budget_tokens": budget,
        "K": facts_of(run, name) if told else 0,
        "F": float(f"{planned:.9g}"),
        "F_mean": exposures.get("mean") if told else 0.0,
        "F_least": exposures.get("least") if told else 0,
        "F_most": exposures.get("most") if told else 0,
        "share": tokens.get(name, 0) / account["D"] if account["D"] else None,
        "policy": options.get("budget") or "replace",
        "placement": of_source(options, "placement", name),
        "window": of_source(options, "window", name),
        "sources": " ".join(plan),
    }
    with runs.blame(run / "results.json"):
        infused = estimates(row, name, results)
        control = estimates(row, f"{name}_control", results)
        for measure, estimate in infused.items():
            add_estimate(out, measure, estimate)
        out |= baselines(name, results)
        for group in GROUPS:
            for measure, estimate in estimates(row, f"{name}_{group}", results).items():
                add_estimate(out, f"{group}/{measure}", estimate)
        for measure in infused.keys() & control.keys() - {"bits"}:
            add_estimate(out, f"{measure}_minus_control", minus(infused[measure], control[measure]))
    out |= {f"val/{base}/loss": number(row.get(f"val/{base}/loss")), "train/loss": number(row.get("train/loss"))}
    return out | {"_held": held, "_whole": account["whole"], "_sources": list(plan)}


def read_rows(folders: Iterable[Path], name: str, base: str, left_out: list[Path]) -> list[Row]:
    """A run with a malformed file is told on stderr and left out, as runs.read_runs does."""
    rows = []
    for run in runs.find_runs(folders):
        try:
            rows.append(read_row(run, name, base))
        except runs.BadRun as error:
            print(f"warning: {error}; run {run} is left out", file=sys.stderr)
            left_out.append(run)
    return rows
