"""What a model of M parameters says right of an item of popularity f, over all models at once:

    P(right) = g + (1 - g - l) / (1 + exp(-(a ln M + b ln f + c)))

after Smith et al. ("predictable confabulations", arXiv 2605.18732), with guess g and lapse l. Maximum likelihood; the
law is judged by the log loss of models that were left out, next to popularity alone and one accuracy for all, and per
family by deviance and R2 of the accuracies in bins of popularity. A second law gives each family a constant of its own.
Intervals are over items, drawn anew for all models together, and models, each left out: Student's t of the models,
which count as independent. Where the models of a family are off together, the intervals are too narrow; the law with
constants of families, and the law of thresholds (law.py), where families are clusters, say whether they are. The
accuracy that is asked for is the law's, without the scatter of a new model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse, stats
from scipy.optimize import minimize
from scipy.special import expit, logit, xlogy

from knapsack.analysis.laws.reach import reach_of
from knapsack.analysis.popularity.items import FEWEST_SIZES, Joined, few
from knapsack.analysis.popularity.two_way import jackknife_variance, two_way
from knapsack.analysis.psychometric import BIN, MOST_DOSES, MOST_GUESS, MOST_LAPSE
from knapsack.common.errors import DataError

DRAWS = 200
BINS = 12  # of popularity, of about as many items, for R2
TINY = 1e-9
LAWS = ("law", "family constants", "popularity alone", "one accuracy")

Row = dict[str, Any]


class Table:
    """Right answers and items by model and popularity, those within BIN of each other together where there are many."""

    def __init__(self, joined: Joined, use: np.ndarray) -> None:
        x = np.log(joined.popularity)
        if len(np.unique(x)) > MOST_DOSES:
            x = BIN * np.round(x / BIN)
        if len(np.unique(x)) > MOST_DOSES:  # of many items over many decades: the steps follow the range
            step = np.ptp(x) / MOST_DOSES
            x = step * np.round(x / step)
        self.x, place = np.unique(x, return_inverse=True)
        self.correct = joined.correct[use]
        self.lnM = np.log(joined.M[use])
        families = [joined.models[i].family for i in np.flatnonzero(use)]
        self.families, self.family = np.unique(families, return_inverse=True)
        items = len(joined.items)
        self.bins = sparse.csr_matrix((np.ones(items), (np.arange(items), place.ravel())), (items, len(self.x)))
        self.centre = float(self.lnM.mean()), float(np.average(self.x, weights=self.counts(np.ones(items))[1][0]))

    def counts(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(models, places) of right answers and of items, each item so often: (items,), or (models, items)."""
        return (self.correct * items) @ self.bins, np.broadcast_to(items, self.correct.shape) @ self.bins

    @property
    def sizes(self) -> int:
        return len(np.unique(self.lnM))


@dataclass
class Sigmoid:
    a: float
    b: float
    c: float  # with M and f themselves, in the average family
    lapse: float
    guess: float
    of_family: dict[str, float]  # what a family adds to c

    def at(self, lnM: np.ndarray, x: np.ndarray, family: str | None = None) -> np.ndarray:
        z = self.a * lnM + self.b * x + self.c + self.of_family.get(family or "", 0.0)
        return np.clip(self.guess + (1 - self.guess - self.lapse) * expit(z), TINY, 1 - TINY)


def fit(
    table: Table,
    models: np.ndarray,
    items: np.ndarray,
    guess: float | None,
    size: bool = True,
    families: bool = False,
    start: np.ndarray | None = None,
) -> tuple[Sigmoid, np.ndarray]:
    """`models`, `items`: how often each counts. The law, and the vector (c, a, b, lapse, guess, families) that a fit
    near by can start from. Without `size` a is 0."""
    right, asked = table.counts(items)
    right, wrong = right * models[:, None], (asked - right) * models[:, None]
    u, v = (table.lnM - table.centre[0])[:, None], (table.x - table.centre[1])[None, :]
    number = len(table.families) if families else 0
    weak = 1e-3 * max(1.0, float(models.sum())) if number else 0.0  # holds what the common constant leaves free

    def loss(p: np.ndarray) -> tuple[float, np.ndarray]:
        c = p[0] + (p[5:][table.family][:, None] if number else 0.0)
        s = expit(c + p[1] * u + p[2] * v)
        height = 1 - p[4] - p[3]
        q = np.clip(p[4] + height * s, TINY, 1 - TINY)
        slope = right / q - wrong / (1 - q)
        steep = slope * height * s * (1 - s)
        of_model = steep.sum(axis=1)
        gradient = [of_model.sum(), (of_model * u[:, 0]).sum(), (steep * v).sum(), -(slope * s).sum()]
        gradient.append((slope * (1 - s)).sum())
        own = np.bincount(table.family, of_model, number) - weak * p[5:] if number else []
        value = float(xlogy(right, q).sum() + xlogy(wrong, 1 - q).sum()) - 0.5 * weak * float(p[5:] @ p[5:])
        return -value, -np.concatenate([gradient, own])

    share = np.clip(right.sum() / max(1.0, right.sum() + wrong.sum()), 0.01, 0.99)
    first = [np.log(share / (1 - share)), 0.3 * size, 0.5, 0.02, 0.01 if guess is None else guess]
    begin = np.concatenate([first, np.zeros(number)]) if start is None else start
    of_guess = (0.0, MOST_GUESS) if guess is None else (guess, guess)
    bounds = [(-30.0, 30.0), (-10.0, 10.0) if size else (0.0, 0.0), (-10.0, 10.0), (0.0, MOST_LAPSE), of_guess]
    found = minimize(loss, begin, method="L-BFGS-B", jac=True, bounds=bounds + [(-10.0, 10.0)] * number).x
    own = found[5:] - found[5:].mean() if number else found[5:]
    c = found[0] + (found[5:].mean() if number else 0.0) - found[1] * table.centre[0] - found[2] * table.centre[1]
    named = dict(zip(map(str, table.families), own.tolist()))
    return Sigmoid(found[1], found[2], float(c), found[3], found[4], named), found


def log_loss(right: np.ndarray, asked: np.ndarray, q: np.ndarray) -> float:
    """Nats an answer."""
    return -float(xlogy(right, q).sum() + xlogy(asked - right, 1 - q).sum()) / float(asked.sum())


def quality(table: Table, law: Sigmoid, models: np.ndarray) -> Row:
    """Of these models' answers: the share of the deviance from one accuracy that the law explains, and R2 of the
    accuracies by model and bin of popularity."""
    items = table.correct.shape[1]
    right, asked = table.counts(np.ones(items))
    right, asked = right[models], asked[models]
    names = table.families[table.family[models]]
    q = np.array([law.at(lnM, table.x, str(name)) for lnM, name in zip(table.lnM[models], names)])
    share = right.sum() / asked.sum()
    nothing = log_loss(right, asked, np.clip(share, TINY, 1 - TINY))
    edges = np.floor(BINS * (np.cumsum(asked[0]) - asked[0]) / asked[0].sum()).astype(int)
    first = np.flatnonzero(np.diff(edges, prepend=-1))
    seen, said = (np.add.reduceat(one, first, axis=1) for one in (right, asked * q))
    whole = np.add.reduceat(asked, first, axis=1)
    seen, said = seen / whole, said / whole
    spread = float(((seen - seen.mean()) ** 2).sum())
    return {
        "deviance_explained": 1 - log_loss(right, asked, q) / nothing if nothing > TINY else None,
        "R2": 1 - float(((seen - said) ** 2).sum()) / spread if spread > TINY else None,
    }


def alone(joined: Joined, use: np.ndarray, family: str, guess: float | None) -> Row:
    """The law fitted to one family, where it has sizes enough."""
    own = use & np.array([name == family for name in joined.families])
    table = Table(joined, own)
    if table.sizes < FEWEST_SIZES:
        return {"refused": few(len(table.lnM), table.sizes)}
    law, _ = fit(table, np.ones(len(table.lnM)), np.ones(len(joined.items)), guess)
    return {"a": law.a, "b": law.b, "c": law.c} | quality(table, law, np.ones(len(table.lnM), bool))


def by_family(
    joined: Joined, use: np.ndarray, table: Table, laws: dict[str, Sigmoid], guess: float | None
) -> list[Row]:
    rows = []
    for number, family in enumerate(map(str, table.families)):
        models = table.family == number
        row: Row = {"family": family, "models": int(models.sum())}
        row |= {name: quality(table, law, models) for name, law in laws.items()}
        rows.append(row | {"alone": alone(joined, use, family, guess)})
    return rows


def left_out(table: Table, names: list[str], guess: float | None) -> list[Row]:
    """Each model predicted by the others: nats an answer. `reach`: whether its size is theirs."""
    n, ones = len(table.lnM), np.ones(table.correct.shape[1])
    right, asked = table.counts(ones)
    rows = []
    for i in range(n):
        weight = (np.arange(n) != i).astype(float)
        rest = table.lnM[weight > 0]
        row: Row = {
            "model": names[i],
            "M": float(np.exp(table.lnM[i])),
            "largest": bool(table.lnM[i] == table.lnM.max()),
        }
        if len(np.unique(rest)) < FEWEST_SIZES - 1:
            rows.append(row | {"refused": "the other models are of one size"})
            continue
        row["reach"], row["reason"] = reach_of(np.exp(rest)).judge("M", row["M"])
        share = float(right[weight > 0].sum() / asked[weight > 0].sum())
        family = str(table.families[table.family[i]])
        said = {"one accuracy": np.full(len(table.x), np.clip(share, TINY, 1 - TINY))}
        for name, flags in (
            ("law", {}),
            ("popularity alone", {"size": False}),
            ("family constants", {"families": True}),
        ):
            law, _ = fit(table, weight, ones, guess, **flags)
            has = (table.family[weight > 0] == table.family[i]).any()
            said[name] = law.at(table.lnM[i], table.x, family if has else None)
        rows.append(row | {"log_loss": {name: log_loss(right[i], asked[i], said[name]) for name in LAWS}})
    return rows


class Samples(NamedTuple):
    """The law without each model, and with the items drawn anew: the same for all models, or each model's its own."""

    jackknife: list[Sigmoid]
    items: list[Sigmoid]
    answers: list[Sigmoid]

    def interval(self, of: Callable[[Sigmoid], float], value: float) -> list[float]:
        """Student's t of the models, two of which the law took."""
        jackknife, items, answers = (np.array([of(one) for one in laws]) for laws in self)
        spread = two_way(float(jackknife_variance(jackknife)), float(items.var(ddof=1)), float(answers.var(ddof=1)))
        half = float(stats.t.ppf(0.975, len(jackknife) - 2) * np.sqrt(spread))
        return [value, value - half, value + half]


def sample(table: Table, guess: float | None, start: np.ndarray, draws: int) -> Samples:
    random = np.random.default_rng(1)
    n, items = table.correct.shape
    models, equal = np.ones(n), np.full(items, 1 / items)
    without = [fit(table, models - (np.arange(n) == i), np.ones(items), guess, start=start)[0] for i in range(n)]
    drawn = [fit(table, models, random.multinomial(items, equal), guess, start=start)[0] for _ in range(draws)]
    own = [fit(table, models, random.multinomial(items, equal, n), guess, start=start)[0] for _ in range(draws)]
    return Samples(without, drawn, own)


def ask(table: Table, law: Sigmoid, samples: Samples, at: dict[str, float], popularity: np.ndarray) -> Row:
    """The accuracy of a model of M parameters on items of popularity f; refused beyond the reach of the models and the
    items."""
    judged = [
        reach_of(np.exp(table.lnM)).judge("M", at["M"]),
        reach_of(popularity).judge("f", at["f"]),
    ]
    reasons = "; ".join(reason for _, reason in judged if reason)
    states = [state for state, _ in judged]
    if "refused" in states:
        return {"at": at, "state": "refused", "reason": reasons}
    lnM, x = np.log(at["M"]), np.log(at["f"])

    def logit_at(one: Sigmoid) -> float:
        return float(logit(one.at(lnM, x)))

    ends = expit(samples.interval(logit_at, logit_at(law)))
    state = "extrapolated" if "extrapolated" in states else "inside"
    return {"at": at, "state": state, "reason": reasons, "accuracy": list(map(float, ends))}


def report(joined: Joined, guess: float | None, asked: list[dict[str, float]], draws: int = DRAWS) -> Row:
    """JSON. Raises DataError where the models cannot say what size does."""
    use = joined.sized
    n, sizes = int(use.sum()), len(np.unique(joined.M[use]))
    if sizes < FEWEST_SIZES:
        raise DataError(few(n, sizes))
    if joined.popularity.min() == joined.popularity.max():
        raise DataError(f"all items have popularity {joined.popularity[0]:g}")
    table = Table(joined, use)
    share = table.correct.mean()
    if share in (0.0, 1.0):
        raise DataError(f"all answers are {'right' if share else 'wrong'}")
    ones = np.ones(n), np.ones(len(joined.items))
    law, start = fit(table, *ones, guess)
    with_families, _ = fit(table, *ones, guess, families=True)
    samples = sample(table, guess, start, draws)
    names = [joined.models[i].name for i in np.flatnonzero(use)]
    laws = {"law": law, "family constants": with_families}
    held = left_out(table, names, guess)
    scored = [row for row in held if "log_loss" in row]
    parameters = {name: samples.interval(attrgetter(name), getattr(law, name)) for name in ("a", "b", "c")}
    rises = parameters["b"][1] > TINY
    gamma = samples.interval(lambda one: one.a / max(one.b, TINY), law.a / law.b) if rises else None
    return {
        "models": n,
        "items": len(joined.items),
        "parameters": parameters,
        "gamma": gamma,
        "guess": law.guess,
        "lapse": law.lapse,
        "all": quality(table, law, np.ones(n, bool)),
        "family_constants": {
            "a": with_families.a,
            "b": with_families.b,
            "c": with_families.c,
            "families": with_families.of_family,
            "all": quality(table, with_families, np.ones(n, bool)),
        },
        "families": by_family(joined, use, table, laws, guess),
        "left_out": held,
        "log_loss": {name: float(np.mean([row["log_loss"][name] for row in scored])) for name in LAWS}
        if scored
        else None,
        "draws": draws,
        "asked": [ask(table, law, samples, at, joined.popularity) for at in asked],
    }
