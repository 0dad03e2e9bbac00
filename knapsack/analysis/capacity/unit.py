"""Bits of capacity as a unit of size: what `knapsack laws --unit bits=FILE` asks of what `knapsack capacity` wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from knapsack.analysis.capacity.plateau import PLATEAU
from knapsack.analysis.intervals import Estimate
from knapsack.common.errors import DataError
from knapsack.common.numbers import is_number
from knapsack.runs.files import read_json


@dataclass(frozen=True)
class Capacity:
    """What `knapsack laws --unit` asks."""

    column: str  # of the table of runs: what a size is
    sizes: np.ndarray  # (n,), rising
    bits: np.ndarray  # (n,)
    error: float  # relative half width of the exponent of bits in size; NaN where it has none

    def at(self, sizes: np.ndarray) -> np.ndarray:
        """Power laws between the sizes measured; NaN beyond them."""
        x, known = np.log(np.asarray(sizes, float)), np.log(self.sizes)
        within = (x >= known[0] - 1e-6) & (x <= known[-1] + 1e-6)
        return np.where(within, np.exp(np.interp(x, known, np.log(self.bits))), np.nan)


def capacity_of(path: Path) -> Capacity:
    """Of PREFIX.json; sizes with a plateau alone. Raises DataError where there are not two."""
    found = read_json(path)
    if found.get("format_version") == 1:
        raise DataError(
            f"{path}: of an earlier version, whose plateaus are means that are near each other; write it anew"
        )
    try:
        sizes = sorted((one["size"], one["capacity"][0]) for one in found["sizes"] if one["state"] == PLATEAU)
        column, exponent = found["size_column"], found["exponent"]
        numbers = [float(number) for pair in sizes for number in pair]
    except (KeyError, TypeError, ValueError, IndexError):
        raise DataError(f"{path}: not what `knapsack capacity` writes") from None
    if len(sizes) < 2:
        raise DataError(f"{path}: {len(sizes)} sizes with a plateau; at least 2 are needed for a unit of size")
    has_error = exponent and is_number(exponent[1]) and exponent[0] > 0
    error = (exponent[2] - exponent[1]) / 2 / exponent[0] if has_error else np.nan
    return Capacity(column, np.array(numbers[::2]), np.array(numbers[1::2]), error)


def widened(estimate: Estimate, error: float) -> Estimate:
    """An exponent of size, in bits, by the relative error of the exponent of bits; where that is not known (NaN), the
    exponent has no interval."""
    if estimate.low is None:
        return estimate
    if not np.isfinite(error):
        return Estimate(estimate.value)
    value, more = estimate.value, abs(estimate.value) * error
    return Estimate(value, value - np.hypot(value - estimate.low, more), value + np.hypot(estimate.high - value, more))
