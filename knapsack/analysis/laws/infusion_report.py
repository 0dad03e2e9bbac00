"""`knapsack laws RUNS --infused NAME`: from the curves R(F) of an infusion study to the law of their collapse."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from knapsack.analysis.infusion.arguments import check_names, rule_of
from knapsack.analysis.infusion.collapse import LEVEL
from knapsack.analysis.infusion.curves import make_curves
from knapsack.analysis.infusion.report import report as report_curve
from knapsack.analysis.infusion.rows import read_study
from knapsack.analysis.intervals import in_words
from knapsack.analysis.laws.infusion import SINGLE, Bracket, Law, check_null, fit_law, hold_out
from knapsack.analysis.laws.reach import reach_of
from knapsack.common.errors import DataError, UsageError
from knapsack.runs.files import warn

UNITS = {"parameters": "N", "parameters_non_embedding": "N_nonembedding"}
USED = ("bracket", "not_replicated", "censored")  # what a curve can say of F*; single runs count as such (SINGLE)
SAYS = {
    "facts": "the infused facts themselves are lost",
    "early": "the facts shown early are lost",
    "web": "the web's loss rises",
}
Row = dict[str, Any]


def bracket_of(curve: Row, unit: str) -> Bracket:
    reading = curve["collapse"]
    ends = [np.nan if reading[end] is None else float(reading[end]) for end in ("F_lo", "F_hi")]
    facts = {"K": curve["K"], "KF": curve["KF"]}
    known = {name: float(value) for name, value in facts.items() if value is not None}
    budget = float(curve["budget_tokens"])
    single = reading["status"] == "not_replicated" or reading["sigma_seed"] is None
    return Bracket(float(curve[unit]), budget, curve["policy"], *ends, label=curve["label"], single=single, **known)


def row_of(curve: Row, unit: str) -> Row:
    """A curve in the JSON."""
    reading = curve["collapse"]
    said = {name: curve[name] for name in ("label", "K", "KF", "policy", "budget_tokens", "sentence")}
    said |= {name: reading.get(name) for name in ("status", "F_lo", "F_hi", "fall", "notes")}
    points = curve["points"]
    return {"M": curve[unit], **said, "points": len(points), "runs": sum(point["runs"] for point in points)}


def ask(law: Law, rows: list[Bracket], at: dict[str, float]) -> Row:
    """F* of a new curve (exposures replace) at M and what else the law has, or why not."""
    lacking = [name for name in law.covariates if name not in at]
    if lacking:
        return {"at": at, "state": "refused", "reason": f"the law has {', '.join(lacking)} too: say where"}
    values = {name: np.array([getattr(row, name) for row in rows]) for name in at}
    judged = [reach_of(values[name]).judge(name, value) for name, value in at.items()]
    reason = "; ".join(reason for _, reason in judged if reason)
    states = [state for state, _ in judged]
    if "refused" in states:
        return {"at": at, "state": "refused", "reason": reason}
    new = law.fit.new(law.row(at, "replace"), 0.0)
    F = [None if end is None else float(np.exp(end)) for end in new]
    return {"at": at, "state": "extrapolated" if "extrapolated" in states else "inside", "reason": reason, "F": F}


def describe(law: Law, rows: list[Bracket]) -> Row:
    exponents = {name: list(one) for name, one in law.exponents().items()}
    out: Row = {
        "covariates": law.covariates,
        "exponents": exponents,
        "c": float(law.fit.b[0]),
        "sd_curves": law.fit.sd_raised,
        "curves": len(rows),
        "censored_curves": [row.label for row in rows if row.censored],
        "degrees_of_freedom": law.fit.freedom,
        "loglik": law.fit.loglik,
    }
    if ends := exponents.get("K"):
        out["K_F_const"] = {"exponent": -1.0, "inside": is_inside(-1.0, ends), "free_of_K_inside": is_inside(0.0, ends)}
    return out


def is_inside(value: float, ends: list[float | None]) -> bool:
    _, low, high = ends
    return (low is None or low <= value) and (high is None or value <= high)


def analyse(args: argparse.Namespace, folders: list[Path], left_out: list[Path]) -> Row:
    """PREFIX.json but for `left_out`."""
    if args.size not in UNITS:
        raise UsageError(f"--size {args.size}: with --infused M is {' or '.join(UNITS)}")
    study, rule = read_study(folders, args.infused, args.base, left_out), rule_of(args)
    if study.empty:
        raise DataError(f"no run (config.json) below {', '.join(map(str, folders))}")
    check_names(study, rule, args.base)
    curves = [report_curve(curve, rule) for curve in make_curves(study, args.infused, rule.column, args.hold)]
    unit = UNITS[args.size]
    usable = [one for one in curves if one["collapse"]["status"] in USED]
    if lacking := [one["label"] for one in usable if one["K"] is None and one["KF"] is None]:
        raise DataError(f"{lacking[0]}: the number of facts is not known (no ledger in exposures/)")
    rows = [bracket_of(curve, unit) for curve in usable]
    out: Row = {
        "format_version": 1,
        "infused": args.infused,
        "victim": args.victim,
        "measure": rule.column,
        "hold": args.hold,
        "size": args.size,
        "brackets": [row_of(curve, unit) for curve in curves],
        "null": check_null(rows) if rows else None,
    }
    if not rows:
        reasons = "; ".join(curve["sentence"] for curve in curves)
        return out | {"law": {"refused": f"no curve says where retention falls: {reasons}"}, "asked": []}
    try:
        out["holdout"] = hold_out(rows)
    except DataError as error:
        out["holdout"] = {"refused": str(error)}
    try:
        law = fit_law(rows)
    except DataError as error:
        return out | {"law": {"refused": str(error)}, "asked": []}
    out["law"] = describe(law, rows)
    return out | {"asked": [ask(law, rows, at) for at in args.ask]}


def say(out: Row) -> None:
    """The table that people look for."""
    print(f"victim: {out['victim']} ({out['measure']}): where {SAYS[out['victim']]}")
    for row in out["brackets"]:
        print(row["sentence"])
    law, null, held = out["law"], out["null"], out.get("holdout", {})
    if null:
        not_sure = f", {null['not_replicated']} of these not replicated" if null["not_replicated"] else ""
        print(f"curves that collapse: {null['collapsed']} of {null['curves']}{not_sure}; by chance p = {null['p']:.2g}")
        if null["single"]:
            warn(
                f"{null['single']} of {null['curves']} curves are not replicated (one run a point), where a "
                f"collapse is seen by chance in up to {SINGLE:.0%}, not {LEVEL:.0%}: give points several seeds"
            )
    if "refused" in law:
        warn(f"no law: {law['refused']}")
        return
    for name, values in law["exponents"].items():
        print(f"{'a (of M)' if name == 'a' else name:9} {in_words(values, open_end='open')}")
    censored = f"{len(law['censored_curves'])} of {law['curves']} curves are censored"
    print(f"scatter of ln F*: {law['sd_curves']:.2g}; {censored}")
    if both := law.get("K_F_const"):
        verdict = "inside" if both["inside"] else "outside"
        free = "inside" if both["free_of_K_inside"] else "outside"
        print(f"K F = const (exponent -1 of K) is {verdict} the interval, F* free of K (0) {free}")
    if "refused" in held:
        print(f"left out: {held['refused']}")
    else:
        say_holdout(held)
    for one in out["asked"]:
        where = ", ".join(f"{name} = {value:g}" for name, value in one["at"].items())
        found = f", {in_words(one['F'], open_end='open')}" if "F" in one else ""
        print(f"F* at {where}: {one['state']}{found} {one['reason']}".rstrip())


def say_holdout(held: Row) -> None:
    for one in held["laws"]:
        said = one.get("refused") or f"ln P {one['ln_probability']:.2f}, |ln| outside its brackets {one['error']:.2f}"
        print(f"left out M = {held['left_out']:.4g}: {one['law']:9} ({one['says']}): {said}")
    if held["best"]:
        sure = "told apart" if held["told_apart"] else "not told apart from the next"
        print(f"best by what was left out: {held['best']} ({sure})")
