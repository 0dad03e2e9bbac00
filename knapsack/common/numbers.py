"""What is a number, among the cells of tables and JSON files that others wrote."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def is_number(value: Any) -> bool:
    """Finite, and no truth value; a whole number that is beyond a double (JSON has them) is not finite."""
    return (
        isinstance(value, (int, float, np.integer, np.floating))
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max
    )


def number(value: Any) -> float | None:
    """None for what is none: what diverged is written as a string."""
    return float(value) if is_number(value) else None
