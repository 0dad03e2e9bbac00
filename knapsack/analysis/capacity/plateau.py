"""Where learned bits stop rising with the population, shown by an equivalence test over replicates.

Of one size the two largest populations are compared: d = mean ln bits of the largest - mean ln bits of the next, its
scatter between replicates pooled over the populations of the size that are not known in full (Student's t). A plateau
is shown where the 90 % interval of d lies within +- ln(1 + margin): two one-sided tests, each at LEVEL (TOST,
Schuirmann 1987). That two means are near each other shows nothing, since of few runs they are by chance.
Needed are
  - FEWEST replicates of each of the two;
  - the largest is at least APART times the next, so that there was more to be learned;
  - no more than KNOWN of either is known: what is known in full says nothing of capacity.
Else the capacity is "not shown", and what was learned is a bound from below.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from knapsack.analysis.intervals import Estimate, in_words, pooled_sd, replicates, slope
from knapsack.common.errors import DataError
from knapsack.common.numbers import is_number
from knapsack.runs.files import warn

MARGIN = 0.1  # of bits
LEVEL = 0.05  # of each of the two tests: of calling a plateau what rises by more than the margin
FEWEST = 3
APART, KNOWN = 1.4, 0.9  # of the largest population against the next; share of what was to be learned
PLATEAU, NOT_SHOWN = "plateau", "not shown"
Row = dict[str, Any]


def change_of(values: list[list[float]]) -> Estimate:
    """Bits of the last population over those of the one before, less 1, with the interval of two one-sided tests at
    LEVEL. `values`: above 0, by population; the last two have several."""
    logs = [np.log(of) for of in values]
    sd, freedom = pooled_sd(logs)
    d = float(logs[-1].mean() - logs[-2].mean())
    half = float(stats.t.ppf(1 - LEVEL, freedom)) * sd * math.sqrt(1 / len(logs[-1]) + 1 / len(logs[-2]))
    return Estimate(*(math.expm1(end) for end in (d, d - half, d + half)))


def bits_of(population: Row) -> float:
    return population["bits"][0]


def known(population: Row) -> float:
    """The share of what was to be learned."""
    return bits_of(population) / population["most"]


def why_not_tested(populations: list[Row]) -> str:
    """Empty where the two largest populations may show a plateau."""
    if len(populations) < 2:
        return "one population"
    before, last = populations[-2:]
    if last["most"] < APART * before["most"]:
        return f"the largest population is {last['most'] / before['most']:.2g} times the next, less than {APART:g}"
    if in_full := [one for one in (before, last) if known(one) > KNOWN]:
        return f"{known(in_full[-1]):.0%} is known of {in_full[-1]['most']:,.0f} bits, nearly all"
    if (fewest := min(before["runs"], last["runs"])) < FEWEST:
        runs = "1 run" if fewest == 1 else f"{fewest} runs"
        return f"not replicated enough: {runs} of a population, fewer than {FEWEST}"
    return "" if min(before["values"] + last["values"]) > 0 else "a run has learned nothing"


def of_size(size: float, found: dict[float, list[float]], margin: float = MARGIN) -> Row:
    """The populations of one size, and its capacity. `found`: the replicates' bits by what was to be learned, which
    rises."""
    populations = [
        {"most": most, "runs": len(values), "bits": list(replicates(values).estimate), "values": values}
        for most, values in found.items()
    ]
    out: Row = {"size": size, "state": NOT_SHOWN, "change": None, "why": why_not_tested(populations)}
    if not out["why"]:
        change = change_of([one["values"] for one in populations if known(one) <= KNOWN and min(one["values"]) > 0])
        out["change"] = list(change)
        if 1 / (1 + margin) - 1 < change.low and change.high < margin:
            best = max(populations[-2:], key=bits_of)
            per = [end / size for end in best["bits"]]
            found = {"capacity": best["bits"], "per_size": per, "at": best["most"]}
            return out | {"state": PLATEAU, "populations": populations} | found
        said = f"bits change by {in_words(change, '+.1%')} to the largest population"
        out["why"] = f"{said}, not surely within {margin:.0%}"
    return out | {"populations": populations, "more_than": max(map(bits_of, populations))}


def read_capacity(table: pd.DataFrame, column: str, measure: str, most: str, margin: float = MARGIN) -> Row:
    """PREFIX.json but for its head."""
    use = np.array([all(map(is_number, row)) for row in table[[column, measure, most]].to_numpy()], bool)
    if not use.any():
        raise DataError(f"no run has numbers in {column}, {measure} and {most}")
    if not use.all():
        lacking = ", ".join(map(str, table["run"][~use]))
        warn(f"runs without a number in {column}, {measure} or {most} are left out: {lacking}")
    found: dict[float, dict[float, list[float]]] = {}
    for size, of, bits in sorted(tuple(map(float, row)) for row in table[use][[column, most, measure]].to_numpy()):
        found.setdefault(size, {}).setdefault(round(of, 1), []).append(bits)
    sizes = [of_size(size, populations, margin) for size, populations in found.items()]
    shown = [(one, p) for one in sizes if "at" in one for p in one["populations"] if p["most"] == one["at"]]
    x, y = [one["size"] for one, p in shown for _ in p["values"]], [value for _, p in shown for value in p["values"]]
    exponent = slope(np.log(x), np.log(y)) if len(set(x)) > 1 and min(y) > 0 else None
    return {"margin": margin, "sizes": sizes, "exponent": list(exponent) if exponent else None}
