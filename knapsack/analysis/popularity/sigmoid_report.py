"""What is said of the sigmoid (sigmoid.py): its parameters and their intervals, how well it fits by family (deviance,
R2 of the accuracies in bins of popularity, next to constants of families and to a law of each family alone), what it
predicts of models that were left out, next to popularity alone and one accuracy for all, and the answers to questions.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import numpy as np
from scipy.special import xlogy

from knapsack.analysis.laws.reach import reach_of
from knapsack.analysis.popularity.items import FEWEST_SIZES, Joined, few
from knapsack.analysis.popularity.sigmoid import DRAWS, TINY, Sigmoid, Surface, Table, fit, table_of
from knapsack.common.errors import DataError

BINS = 12  # of popularity, of about as many items, for R2
LAWS = ("law", "family constants", "popularity alone", "one accuracy")

Row = dict[str, Any]


def log_loss(right: np.ndarray, asked: np.ndarray, q: np.ndarray) -> float:
    """Nats an answer."""
    return -float(xlogy(right, q).sum() + xlogy(asked - right, 1 - q).sum()) / float(asked.sum())


def share_of(right: np.ndarray, asked: np.ndarray) -> float:
    return float(np.clip(right.sum() / asked.sum(), TINY, 1 - TINY))


def quality(table: Table, law: Sigmoid, models: np.ndarray) -> Row:
    """Of these models' answers: the share of the deviance from one accuracy that the law explains, and R2 of the
    accuracies by model and bin of popularity."""
    right, asked = table.right[models], table.asked[models]
    names = table.families[table.family[models]]
    q = np.array([law.at(lnM, table.x, str(name)) for lnM, name in zip(table.lnM[models], names)])
    nothing = log_loss(right, asked, share_of(right, asked))
    edges = np.floor(BINS * (np.cumsum(asked[0]) - asked[0]) / asked[0].sum()).astype(int)
    first = np.flatnonzero(np.diff(edges, prepend=-1))
    seen, said, whole = (np.add.reduceat(one, first, axis=1) for one in (right, asked * q, asked))
    seen, said = seen / whole, said / whole
    spread = float(((seen - seen.mean()) ** 2).sum())
    return {
        "deviance_explained": 1 - log_loss(right, asked, q) / nothing if nothing > TINY else None,
        "R2": 1 - float(((seen - said) ** 2).sum()) / spread if spread > TINY else None,
    }


def by_family(table: Table, laws: dict[str, Sigmoid], guess: float | None) -> list[Row]:
    rows = []
    for number, family in enumerate(map(str, table.families)):
        models = table.family == number
        row: Row = {"family": family, "models": int(models.sum())}
        row |= {name: quality(table, law, models) for name, law in laws.items()}
        sizes = len(np.unique(table.lnM[models]))
        row["alone"] = {"refused": few(row["models"], sizes)}
        if sizes >= FEWEST_SIZES:
            own = fit(table, models, guess)
            row["alone"] = {"a": own.a, "b": own.b, "c": own.c} | quality(table, own, models)
        rows.append(row)
    return rows


def left_out(table: Table, guess: float | None) -> list[Row]:
    """Each model predicted by all others, nats an answer. `reach`: whether its size is theirs."""
    rows = []
    for i, name in enumerate(table.names):
        rest = np.arange(table.n) != i
        sizes, M = np.exp(table.lnM[rest]), float(np.exp(table.lnM[i]))
        row: Row = {"model": name, "M": M, "largest": bool(table.lnM[i] == table.lnM.max())}
        if len(np.unique(sizes)) < FEWEST_SIZES - 1:
            rows.append(row | {"refused": "the other models are of one size"})
            continue
        row["reach"], row["reason"] = reach_of(sizes).judge("M", M)
        laws = {
            "law": fit(table, rest, guess),
            "family constants": fit(table, rest, guess, families=True),
            "popularity alone": fit(table, rest, guess, size=False),
        }
        has = (table.family[rest] == table.family[i]).any()
        family = str(table.families[table.family[i]]) if has else ""
        said = {name: law.at(table.lnM[i], table.x, family) for name, law in laws.items()}
        said["one accuracy"] = np.full(len(table.x), share_of(table.right[rest], table.asked[rest]))
        row["log_loss"] = {name: log_loss(table.right[i], table.asked[i], said[name]) for name in LAWS}
        rows.append(row)
    return rows


def ask(surface: Surface, at: dict[str, float], popularity: np.ndarray) -> Row:
    """The accuracy of a new model of M parameters on items of popularity f; refused beyond the reach of the models and
    the items."""
    reaches = {"M": reach_of(np.exp(surface.table.lnM)), "f": reach_of(popularity)}
    judged = [reaches[name].judge(name, at[name]) for name in ("M", "f")]
    states, reasons = [state for state, _ in judged], "; ".join(reason for _, reason in judged if reason)
    if "refused" in states:
        return {"at": at, "state": "refused", "reason": reasons}
    try:
        accuracy = list(surface.new_model(at["M"], at["f"]))
    except DataError as error:
        return {"at": at, "state": "refused", "reason": str(error)}
    state = "extrapolated" if "extrapolated" in states else "inside"
    return {"at": at, "state": state, "reason": reasons, "accuracy": accuracy}


def report(joined: Joined, guess: float | None, asked: list[dict[str, float]], draws: int = DRAWS) -> Row:
    """JSON. Raises DataError where the models cannot say what size does."""
    table = table_of(joined)
    surface = Surface(table, guess, draws)
    everyone = np.full(table.n, True)
    law, with_families = surface.law, fit(table, everyone, guess, families=True)
    parameters = {name: surface.interval(attrgetter(name)) for name in ("a", "b", "c")}
    rises = min(law.b, law.b if parameters["b"].low is None else parameters["b"].low) > TINY
    gamma = surface.interval(lambda one: one.a / max(one.b, TINY)) if rises else None
    held = left_out(table, guess)
    scored = [row["log_loss"] for row in held if "log_loss" in row]
    return {
        "models": table.n,
        "items": len(joined.items),
        "intervals": surface.units.describe() | ({"refused": surface.refused} if surface.refused else {}),
        "parameters": {name: list(one) for name, one in parameters.items()},
        "gamma": list(gamma) if gamma else None,
        "guess": law.guess,
        "lapse": law.lapse,
        "all": quality(table, law, everyone),
        "family_constants": {
            "a": with_families.a,
            "b": with_families.b,
            "c": with_families.c,
            "families": with_families.of_family,
            "all": quality(table, with_families, everyone),
        },
        "families": by_family(table, {"law": law, "family constants": with_families}, guess),
        "left_out": held,
        "log_loss": {name: float(np.mean([one[name] for one in scored])) for name in LAWS} if scored else None,
        "asked_of": surface.units.new,
        "asked": [ask(surface, at, joined.popularity) for at in asked],
    }
