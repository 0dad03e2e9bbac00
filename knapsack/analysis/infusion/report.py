"""What infusion.py writes: the table's columns with their units, and each curve with its reading and a sentence."""

from __future__ import annotations

import pandas as pd

from knapsack.analysis.infusion.collapse import Rule, read_collapse, spread, trend
from knapsack.analysis.infusion.curves import Curve
from knapsack.analysis.infusion.rows import GROUPS, MEASURES
from knapsack.analysis.intervals import replicates
from knapsack.analysis.points import Point
from knapsack.runs.table import Row

UNITS = {
    "run": ("", "directory"),
    "state": ("", "done, failed or stopped"),
    "seed": ("", "of the weights"),
    "data_seed": ("", "of the order"),
    "N": ("parameters", "without padding of the vocabulary"),
    "N_nonembedding": ("parameters", "without embedding and head"),
    "D": ("tokens", "of the whole run, realised"),
    "D_base": ("tokens", "of the sources outside the infused family, realised"),
    "budget_tokens": (
        "tokens",
        "asked for: with replace D, with append what the base has before exposures come on top",
    ),
    "K": ("facts", "of the infused source"),
    "F": ("exposures/fact", "planned"),
    "F_mean": ("exposures/fact", "realised, mean"),
    "F_least": ("exposures/fact", "realised, least"),
    "F_most": ("exposures/fact", "realised, most"),
    "share": ("1", "of the infused source in D, realised"),
    "policy": ("", "replace: exposures within the budget; append: on top of it"),
    "placement": ("", "option of the infused source"),
    "window": ("", "option of the infused source"),
    "sources": ("", "names of all sources"),
    "train/loss": ("nats/token", "of the last step's batch, all sources"),
}

ENDINGS = ("", "_low", "_high", "_minus_control", "_minus_control_low", "_minus_control_high", "_chance", "_majority")


def unit_of(column: str) -> tuple[str, str]:
    if column in UNITS:
        return UNITS[column]
    if column.startswith("val/"):
        return "nats/token", "validation loss of the base"
    group, _, measure = column.rpartition("/")
    about = [f"question set NAME_{group}" if group else "question set NAME"]
    about += [
        said
        for part, said in (
            ("_minus_control", "minus the controls"),
            ("_low", "95 % interval, lower end"),
            ("_high", "95 % interval, upper end"),
            ("_chance", "of guessing"),
            ("_majority", "of the most frequent answer"),
        )
        if part in measure
    ]
    bits = measure.startswith("bits") and not measure.startswith("bits_share")
    return "bits" if bits else "1", "; ".join(about)


def columns_of(study: pd.DataFrame) -> list[str]:
    """Those that some run has a value for; what identifies a run is always there."""
    plain = [name for name in study if name in UNITS and name != "train/loss"]
    prefixes = ["", *(f"{group}/" for group in GROUPS)]
    wanted = [f"{prefix}{measure}{end}" for prefix in prefixes for measure in MEASURES for end in ENDINGS]
    some = {name for name in study if study[name].notna().any()}
    losses = [name for name in study if name.startswith("val/")] + ["train/loss"]
    return plain + [name for name in wanted if name in some] + losses


def describe(columns: list[str]) -> list[Row]:
    return [dict(zip(("name", "unit", "about"), (name, *unit_of(name)))) for name in columns]


def over_runs(point: Point, measure: str) -> list[float] | None:
    """95 % of the mean over training, Student's t over runs; None of one run, whose interval is over facts alone, and
    of runs that are all alike."""
    values = point.values(measure)
    _, low, high = replicates(values).estimate if len(values) else (None, None, None)
    return None if low is None else [low, high]


def report_point(point: Point, rule: Rule) -> Row:
    measure = rule.column
    K = point.mean("K")
    return {
        "F": point.at,
        "K": int(K) if K is not None else None,
        "runs": len(point.runs),
        "mean": point.mean(measure),
        "sd": spread([point], measure)[0],
        "interval": point.interval(measure),
        "interval_over_runs": over_runs(point, measure),
        "minus_control": point.mean(f"{measure}_minus_control"),
        "minus_control_interval": point.interval(f"{measure}_minus_control"),
        "control": point.mean(f"control/{rule.measure}"),
        "base_loss": point.mean(rule.base_loss),
        **{name: point.mean(name) for name in ("F_mean", "share", "D", "D_base")},
    }


def report(curve: Curve, rule: Rule) -> Row:
    """The curve and its reading, as they are in the JSON file."""
    first = curve.points[0].runs.iloc[0] if curve.points else {}
    out = {
        "label": curve.label,
        "N": curve.N,
        "N_nonembedding": first.get("N_nonembedding"),
        "hold": curve.hold,
        "K": curve.K,
        "KF": curve.KF,
        "policy": curve.policy,
        "budget_tokens": curve.budget,
        "held": curve.held,
        "points": [report_point(point, rule) for point in curve.points],
        "collapse": read_collapse(curve, rule),
        "controls": trend(curve.points, f"control/{rule.measure}", rule.margin),
        "baselines": {what: first.get(f"{rule.column}_{what}") for what in ("chance", "majority")},
        "without_infusion": {
            "runs": len(curve.without.runs),
            "mean": curve.without.mean(rule.column),
            "base_loss": curve.without.mean(rule.base_loss),
        },
        "not_counted": [{"run": run, "why": why} for run, why in curve.not_counted],
    }
    return out | {"sentence": sentence(out, rule)}


def sentence(curve: Row, rule: Rule) -> str:
    reading = curve["collapse"]
    head, status = f"{curve['label']}: {rule.column}", reading["status"]
    if status in ("too_few_points", "too_few_runs"):
        return f"{head}: {status.replace('_', ' ')} ({reading['notes'][-1]})."
    best, falls = ("its peak of", "falls") if rule.of_facts else ("its lowest,", "rises")
    peak = f"has {best} {reading['peak']['value']:.3g} at F = {reading['peak']['F']:g}"
    if status == "nothing_retained":
        said = f"{peak}: nothing retained that could be lost"
    elif status == "censored":
        said = f"{peak} and no collapse inside the grid: F_c > {reading['F_lo']:g} (censored)"
    else:
        low, high = reading["F_lo"], reading["F_hi"]
        said = f"{peak}, {falls} by {reading['fall']:.3g} between F = {low:g} and {high:g} and stays there: "
        if status == "bracket":
            said += f"collapse point in [{low:g}, {high:g}]"
            said += f"; {base_words(reading['base_loss'], rule)}" if rule.of_facts else ""
        else:
            said += "seen in single runs, not replicated: no collapse is claimed"
    controls = curve["controls"]
    if verdict := controls.get("reading"):
        low, high = controls["slope_interval"]
        slope = f"{controls['slope_per_doubling']:+.2g} [{low:+.2g}, {high:+.2g}] per doubling of F"
        said += f". Controls {'NOT flat' if verdict == 'moves' else verdict} (margin {rule.margin:g}): {slope}, "
        said += f"largest difference {controls['largest_difference']:.3g}"
    return f"{head} {said}." + "".join(f" Note: {note}." for note in reading["notes"])


def base_words(loss: Row, rule: Rule) -> str:
    if loss["rise"] is None:
        return f"whether {rule.base_loss} rose there is not known"
    before = f", {loss['rise_before']:+.3g} over the step before" if loss["rise_before"] is not None else ""
    verdict = (
        "rose too: general divergence or displaced text, not of facts alone"
        if loss["rose"]
        else "did not rise: of the facts alone"
    )
    return f"{rule.base_loss} {verdict} ({loss['rise']:+.3g} nats{before})"
