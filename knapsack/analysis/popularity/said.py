"""What `knapsack popularity` prints, and its table of models."""

from __future__ import annotations

import csv
import io
from collections import Counter
from typing import Any

from knapsack.runs.files import warn

Row = dict[str, Any]


# dev/results/popularity_coverage.md
HELD_BY_PREDICTIONS = "  of 200 simulated studies such intervals held in {}: read 95 % so"


def ends(values: list[float | None] | None) -> str:
    if not values or values[0] is None:
        return "-"
    value, low, high = values
    return f"{value:.3g}" + (f" [{low:.3g}, {high:.3g}]" if low is not None and high is not None else "")


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def format_rows(rows: list[Row]) -> str:
    """CSV; thresholds of the items above come last."""
    columns = [name for name in rows[0] if name not in ("cumulative", "rule", "log")]
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    write([*columns, "cumulative", "cumulative_low", "cumulative_high", "rule_threshold", "rule_less_than"])
    for row in rows:
        above, rule = row["cumulative"], row["rule"]
        values = [above["threshold"], *above["interval"], rule["threshold"], rule["less_than"]]
        write([row[name] for name in columns] + values)
    return text.getvalue()


def say(out: Row) -> None:
    """The tables that people look for."""
    width = max(len(row["model"]) for row in out["models"])
    head = f"popularity of {out['target']:g} (95 % over items); of items above: curve, rule (our reading)"
    print(f"{'model':{width}}  {'family':12} {'M':>9}  accuracy  {head}")
    for row in out["models"]:
        value = beyond(row) or ends([row["threshold"], row["threshold_low"], row["threshold_high"]])
        above = ", ".join(beyond(one) or f"{one['threshold']:.4g}" for one in (row["cumulative"], row["rule"]))
        M = f"{row['M']:.4g}" if row["M"] else "?"
        print(f"{row['model']:{width}}  {row['family']:12} {M:>9}  {row['accuracy']:8.3f}  {value}; {above}")
    counts = Counter(row["family"] for row in out["models"])
    families = ", ".join(f"{name} {count}" for name, count in counts.items())
    print(f"models by family (of the name, but for --family and --models): {families}")
    if high := [row["model"] for row in out["models"] if row["lapse_at_bound"]]:
        warn(f"the curve's top is lower than a lapse of 0.1 allows: {', '.join(high)}")
    say_law(out["law"])
    say_sigmoid(out["sigmoid"])


def beyond(row: Row) -> str:
    """Of a threshold that is not within the items; empty for one that is."""
    if row["threshold"] is not None:
        return ""
    for name in ("more_than", "less_than"):
        if row.get(name) is not None:
            return f"{name.replace('_', ' ')} {row[name]:.4g}"
    return "no rise"


def say_law(law: Row) -> None:
    if "refused" in law:
        warn(f"no law of the threshold: {law['refused']}")
        return
    gamma, two_way = ends(law["exponents"].get("gamma")), law["items_and_units"]
    print(f"ln P* = c - gamma ln M: gamma {gamma}, {len(law['censored'])} censored, over {law['over']}")
    said = two_way.get("refused") or f"{ends(two_way['gamma'])}, over items and {two_way['over']}"
    print(f"  within families: {said}")
    for row in law["families"]:
        print(f"  {row['family']}: {row['models']} models, gamma {ends(row.get('gamma'))}")
    held = law["holdout"]
    if "refused" in held:
        print(f"left out: {held['refused']}")
    else:
        scores = ", ".join(f"{row['law']} {row['error']:.2f}" for row in held["laws"] if row["error"] is not None)
        print(f"left out M = {held['left_out']:.4g}, |ln ratio| of P*: {scores or 'not reached there'}")
    for one in law["inferred"]:
        found = one.get("refused") or f"{ends([one['M'], *one['interval']])} {one['note']}".rstrip()
        print(f"size of {one['model']}: {found}")
    for one in law["asked"]:
        value = f", {ends(one['F50'])}" if "F50" in one else ""
        print(f"P* of {law['asked_of']} at M = {one['at']['M']:g}: {one['state']}{value} {one['reason']}".rstrip())
        if value:
            print(HELD_BY_PREDICTIONS.format("89 to 93 %"))


def say_sigmoid(surface: Row) -> None:
    if "refused" in surface:
        warn(f"no sigmoid in M and f: {surface['refused']}")
        return
    said = ", ".join(f"{name} {ends(value)}" for name, value in surface["parameters"].items())
    print(f"logit = a ln M + b ln f + c: {said}; a / b {ends(surface['gamma'])}; {quality_of(surface['all'])}")
    intervals = surface["intervals"]
    print(f"  intervals: {intervals.get('refused') or 'over items and ' + intervals['over']}")
    for row in surface["families"]:
        own = row["alone"]
        alone = f"no law of its own: {own['refused']}" if "refused" in own else f"alone {quality_of(own)}"
        print(f"  {row['family']}: {row['models']} models, {quality_of(row['law'])}, {alone}")
    if surface["log_loss"]:
        scores = ", ".join(f"{name} {value:.4f}" for name, value in surface["log_loss"].items())
        print(f"each model left out, nats an answer: {scores}")
    for one in surface["asked"]:
        value = f", {ends(one['accuracy'])}" if "accuracy" in one else ""
        where = f"M = {one['at']['M']:g}, f = {one['at']['f']:g}"
        print(f"accuracy of {surface['asked_of']} at {where}: {one['state']}{value} {one['reason']}".rstrip())
        if value:
            print(HELD_BY_PREDICTIONS.format("80 to 94 %"))


def quality_of(row: Row) -> str:
    return f"R2 {number(row['R2'])}, deviance explained {number(row['deviance_explained'])}"
