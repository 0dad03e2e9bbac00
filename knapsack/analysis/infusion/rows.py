"""The runs of an infusion study as a table: what was infused how often, and what is retained of it.

The infused source NAME has a family: NAME_once, NAME_early (shown once, shown early) and the question set NAME_control
(never shown). All other sources are the base. A run without NAME is a row with F = 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from knapsack.analysis.datasets import data_of, of_source
from knapsack.analysis.infusion.held import held_constant, hold_data, hold_warmup, in_family
from knapsack.analysis.intervals import Estimate
from knapsack.common.errors import DataError
from knapsack.common.numbers import number
from knapsack.runs.files import blame, read_json, read_ledger, read_lines, read_results, warn
from knapsack.runs.table import Row, read_runs, to_frame, warn_of_not_finite

GROUPS = ("once", "early", "control")
KINDS = ("", "_seen", "_heldout", "_question")
CELL_MEASURES = ("accuracy", "accuracy_normalized", "choice", "choice_norm")
MEASURES = (*(measure + kind for measure in CELL_MEASURES for kind in KINDS), "bits", "bits_share")


def whole(value: Any) -> int:
    if type(value) is not int or abs(value) >= 1 << 62:
        raise ValueError(f"expected a whole number, found {str(value)[:40]}")
    return value


def ends(interval: Any) -> tuple[float | None, float | None]:
    """Of an interval of results.json, which may lack it."""
    low, high = interval or (None, None)
    return number(low), number(high)


def estimates(row: Row, name: str, results: Row) -> dict[str, Estimate]:
    """Every measure of a set: of results.json with the interval over facts, else of the last evaluation without."""
    knowledge = results.get("know", {}).get(name, {})
    found: dict[str, Estimate] = {}
    for kind in KINDS:
        kinds = {part["kind"]: part for part in knowledge.get("by_kind", [])}
        part = kinds.get(kind[1:], {}) if kind else knowledge.get("all", {})
        for measure in CELL_MEASURES:
            value = number(part.get(measure, row.get(f"know/{name}/{measure}{kind}")))
            if value is not None:
                found[measure + kind] = Estimate(value, *ends(part.get(measure + "_interval")))
    bits, most = number(row.get(f"know/{name}/bits")), number(row.get(f"know/{name}/most_bits"))
    if bits is not None:
        found["bits"] = Estimate(bits, *(number(row.get(f"know/{name}/bits_{end}")) for end in ("low", "high")))
        if most:
            found["bits_share"] = Estimate(*(None if value is None else value / most for value in found["bits"]))
    return found


def baselines(name: str, results: Row) -> Row:
    """Chance and majority answer by measure, where results.json has them."""
    knowledge = results.get("know", {}).get(name, {})
    parts = {"_" + part["kind"]: part for part in knowledge.get("by_kind", [])} | {"": knowledge.get("all", {})}
    found = {}
    for kind, part in parts.items():
        for measure in CELL_MEASURES:
            prefix = "choice_" if measure.startswith("choice") else ""
            for what in ("chance", "majority"):
                if measure in part and number(part.get(prefix + what)) is not None:
                    found[f"{measure}{kind}_{what}"] = float(part[prefix + what])
    return found


def columns(name: str, estimate: Estimate) -> Row:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def measures(row: Row, name: str, results: Row) -> Row:
    """Of the infused facts, of the other groups, and the difference to the controls."""
    found: Row = {}
    infused, control = (estimates(row, set_name, results) for set_name in (name, f"{name}_control"))
    for measure, estimate in infused.items():
        found |= columns(measure, estimate)
    found |= baselines(name, results)
    for group in GROUPS:
        for measure, estimate in estimates(row, f"{name}_{group}", results).items():
            found |= columns(f"{group}/{measure}", estimate)
    for measure in infused.keys() & control.keys() - {"bits"}:
        found |= columns(f"{measure}_minus_control", infused[measure] - control[measure])
    return found


def numbers_of(values: Row) -> Row:
    """As they are, None for what is none."""
    return {name: None if number(value) is None else value for name, value in values.items()}


def account_of(run: Path, name: str, planned: Row) -> Row:
    """Tokens and exposures as realised: mixture.json; of runs without one, the last line of the log and the ledger."""
    account = read_json(run / "mixture.json")
    if account:
        with blame(run / "mixture.json"):
            realised = {source["name"]: source["realised"] for source in account["sources"]}
            return {
                "D": whole(account["realised"]["tokens"]),
                "steps": whole(account["realised"]["steps"]),
                "whole": account["realised"]["steps"] == account["planned"]["steps"],
                "exposures": numbers_of(realised.get(name, {}).get("exposures") or {}),
                "tokens": {source: whole(values["tokens"]) for source, values in realised.items()},
            }
    metrics = read_lines(run / "metrics.jsonl")
    last, exposures = metrics[-1] if metrics else {}, {}
    ledger = read_ledger(run / "exposures" / f"{name}.npy")
    if ledger is not None:
        count = ledger["count"]
        exposures = {"mean": float(count.mean()), "least": int(count.min()), "most": int(count.max())}
    with blame(run / "metrics.jsonl", len(metrics)):
        return {
            "D": whole(last.get("tokens", 0)),
            "steps": whole(last.get("step", -1) + 1),
            "whole": last.get("step", -1) + 1 == read_json(run / "config.json").get("steps"),
            "exposures": exposures,
            "tokens": {source: whole(last.get(f"data/{source}/tokens", 0)) for source in planned},
        }


def facts_of(run: Path, name: str) -> int | None:
    """Facts of a source: entities times slots of its ledger."""
    ledger = read_ledger(run / "exposures" / f"{name}.npy")
    return None if ledger is None else int(ledger.size)


def study_row(run: Path, row: Row, name: str, base: str) -> Row:
    """`row`: the run's of the table of runs."""
    config = read_json(run / "config.json")
    with blame(run / "config.json"):
        options, plan = config["options"], config["plan"]
        budget = whole(options.get("tokens") or whole(options["steps"]) * whole(options["batch-tokens"]))
        planned = float(plan[name]["exposures"]) if name in plan else 0.0
        N, N_nonembedding = whole(config["parameters"]), whole(config["parameters_non_embedding"])
        steps, held = whole(config["steps"]), held_constant(options, name)
        policy = str(options.get("budget") or "replace")
    account = account_of(run, name, plan)
    results = read_results(run, account["steps"], say=False)  # read_runs said it
    tokens, exposures = account["tokens"], account["exposures"]
    infused = name in plan
    out: Row = {
        "run": str(run),
        "state": row["state"],
        "seed": options.get("seed"),
        "data_seed": options.get("data-seed"),
        "N": N,
        "N_nonembedding": N_nonembedding,
        "D": account["D"],
        "D_base": sum(tokens[source] for source in tokens if not in_family(source, name)),
        "budget_tokens": budget,
        "K": facts_of(run, name) if infused else 0,
        "F": float(f"{planned:.9g}"),
        "F_mean": exposures.get("mean") if infused else 0.0,
        "F_least": exposures.get("least") if infused else 0,
        "F_most": exposures.get("most") if infused else 0,
        "share": tokens.get(name, 0) / account["D"] if account["D"] else None,
        "policy": policy,
        "placement": of_source(options, "placement", name),
        "window": of_source(options, "window", name),
        "sources": " ".join(plan),
    }
    with blame(run / "results.json"):
        out |= measures(row, name, results)
    out |= {f"val/{base}/loss": number(row.get(f"val/{base}/loss")), "train/loss": number(row.get("train/loss"))}
    out |= {"held": held, "data": {source: data_of(run, source) for source in plan}}
    return out | {"whole": account["whole"], "warmup": options.get("warmup"), "steps": steps}


def read_study(folders: Iterable[Path], name: str, base: str, left_out: list[Path]) -> pd.DataFrame:
    """A row a run. Five columns are for curves only: `held` (options by name), `data` (by source), `warmup` and `steps`
    as resolved, and `whole` (not stopped before its plan's end). A run with a malformed file is named on stderr and
    left out, as read_runs does."""
    rows, runs = [], read_runs(folders, left_out)
    warn_of_not_finite(runs, (column for column in runs if column.startswith((f"val/{base}/loss", f"know/{name}"))))
    for run, row in zip(runs.index, runs.to_dict("records")):
        try:
            rows.append(study_row(run, row, name, base))
        except DataError as error:
            warn(f"{error}; run {run} is left out")
            left_out.append(run)
    hold_data(rows, name)
    hold_warmup(rows, name)
    return to_frame(rows)
