"""Values of a study's file, each read with the place of what is wrong."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterable
from typing import Any

from knapsack.common.errors import UsageError


def need_object(value: Any, place: str, keys: Iterable[str] | None = None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{place}: expected an object, found {json.dumps(value)[:80]}")
    if keys is not None and (unknown := set(value) - set(keys)):
        raise UsageError(f"{place}: no key {', '.join(sorted(unknown))}; there are {', '.join(keys)}")
    return value


def need_text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{place}: expected a text, found {json.dumps(value)[:80]}")
    return value


def need_words(value: Any, place: str) -> list[str]:
    """As a shell takes it apart."""
    try:
        return shlex.split(need_text(value, place))
    except ValueError as error:
        raise UsageError(f"{place}: {str(error).lower()}: {value[:80]}") from None


def need_list(value: Any, place: str) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [need_text(one, place) for one in values]


def rates_of(value: Any) -> dict[str, Any]:
    need_object(value, "rates", ("machine", "source", "tokens_per_s"))
    for key in ("machine", "source"):
        need_text(value.get(key, ""), f"rates: {key}")
    for model, rate in need_object(value.get("tokens_per_s", {}), "rates: tokens_per_s").items():
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate < math.inf:
            raise UsageError(f"rates: tokens_per_s: {model}: expected a number above 0, found {json.dumps(rate)[:80]}")
    return value


def vocabulary_of(value: Any) -> int | None:
    if value is not None and (type(value) is not int or value < 1):
        raise UsageError(f"vocabulary: expected a whole number above 0, found {json.dumps(value)[:80]}")
    return value


def number_of(place: str | None, what: str) -> float:
    """Of a value of an axis: 0.1 of bio=0.1."""
    if place is None:
        raise UsageError(f"{what}: no such axis: not all runs of the block vary it")
    try:
        return float(place.rpartition("=")[2])
    except ValueError:
        raise UsageError(f"{what}: '{place}' is no number to be put in order") from None
