"""What a model of M parameters says right of an item of popularity f, over all models at once:

    P(right) = g + (1 - g - l) / (1 + exp(-z))        z = a ln M + b ln f + c

after Smith et al. ("predictable confabulations", arXiv 2605.18732), with guess g and lapse l. Maximum likelihood.

Intervals are over units (units.py), each left out, and over items, drawn anew for all models together.

What is asked of a new model is not the law's mean: each model's own curve (slope of its own; guess and lapse the law's)
is read at f, and these z are regressed on ln M as thresholds are (laws/mixed.py), with effects of models and of
families. So the interval holds the scatter of a new model, of a new family where there are several.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import expit, xlogy

from knapsack.analysis.intervals import Estimate
from knapsack.analysis.laws.dose import fit_thresholds
from knapsack.analysis.laws.evidence import of_thresholds
from knapsack.analysis.popularity.items import FEWEST_SIZES, Joined, few
from knapsack.analysis.popularity.units import half_width, jackknife_variance, units_of
from knapsack.analysis.psychometric import BIN, MOST_DOSES, MOST_GUESS, MOST_LAPSE
from knapsack.common.errors import DataError

DRAWS = 200  # of items
TINY = 1e-9
WIDE = 3.0  # standard deviation of a model's z about the law's: holds what a model that only guesses leaves open
LOOSE = 0.5  # of a model's own slope about the law's, in parts of it

Reading = Callable[["Sigmoid"], float]


class Sigmoid(NamedTuple):
    a: float
    b: float
    c: float  # in the average family
    lapse: float
    guess: float
    of_family: dict[str, float] = {}  # what a family adds to c

    def z(self, lnM: np.ndarray, x: np.ndarray, family: str = "") -> np.ndarray:
        """x: ln f."""
        return self.a * lnM + self.b * x + self.c + self.of_family.get(family, 0.0)

    def accuracy(self, z: np.ndarray) -> np.ndarray:
        return np.clip(self.guess + (1 - self.guess - self.lapse) * expit(z), TINY, 1 - TINY)

    def at(self, lnM: np.ndarray, x: np.ndarray, family: str = "") -> np.ndarray:
        return self.accuracy(self.z(lnM, x, family))


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
        items = np.arange(len(x))
        self.bins = sparse.csr_matrix((np.ones(len(x)), (items, place.ravel())), (len(x), len(self.x)))
        self.correct = joined.correct[use]  # (n, items)
        self.lnM = np.log(joined.M[use])
        self.names = [joined.models[i].name for i in np.flatnonzero(use)]
        self.families, self.family = np.unique(np.array(joined.families)[use], return_inverse=True)
        self.right, self.asked = self.counts(np.ones(len(x)))
        self.centre = float(self.lnM.mean()), float(np.average(self.x, weights=self.asked[0]))

    def counts(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, places) of right answers and of items, each item so often: (items,), or (n, items)."""
        return (self.correct * items) @ self.bins, np.broadcast_to(items, self.correct.shape) @ self.bins

    @property
    def n(self) -> int:
        return len(self.lnM)


def table_of(joined: Joined) -> Table:
    """Of the models whose size is known. Raises DataError where they cannot say what size does."""
    use = joined.sized
    models, sizes = int(use.sum()), len(np.unique(joined.M[use]))
    if sizes < FEWEST_SIZES:
        raise DataError(few(models, sizes))
    if joined.popularity.min() == joined.popularity.max():
        raise DataError(f"all items have popularity {joined.popularity[0]:g}")
    share = joined.correct[use].mean()
    if share in (0.0, 1.0):
        raise DataError(f"all answers are {'right' if share else 'wrong'}")
    return Table(joined, use)


def fit(
    table: Table,
    models: np.ndarray,
    guess: float | None,
    size: bool = True,
    families: bool = False,
    start: Sigmoid | None = None,
    items: np.ndarray | None = None,
) -> Sigmoid:
    """To these `models` (n,). `guess` None: it is fitted. Without `size` a is 0; with `families` each has a constant.
    `start`: a law near by; `items`: how often each counts, as in Table.counts."""
    right, asked = (table.right, table.asked) if items is None else table.counts(items)
    right, wrong = right[models], (asked - right)[models]
    lnM, x = table.centre
    u, v = (table.lnM[models] - lnM)[:, None], (table.x - x)[None, :]
    number, family = (len(table.families), table.family[models]) if families else (0, None)
    weak = 1e-3 * len(right) if families else 0.0  # holds what the common constant leaves free

    def loss(p: np.ndarray) -> tuple[float, np.ndarray]:
        """Of (a, b, c, lapse, guess, constants of families) with M and f about their means."""
        own = p[5:][family][:, None] if families else 0.0
        s = expit(p[0] * u + p[1] * v + p[2] + own)
        height = 1 - p[4] - p[3]
        q = np.clip(p[4] + height * s, TINY, 1 - TINY)
        slope = right / q - wrong / (1 - q)
        steep = slope * height * s * (1 - s)
        of_model = steep.sum(axis=1)
        gradient = [of_model @ u[:, 0], (steep * v).sum(), of_model.sum(), -(slope * s).sum(), (slope * (1 - s)).sum()]
        constants = np.bincount(family, of_model, number) - weak * p[5:] if families else []
        value = float(xlogy(right, q).sum() + xlogy(wrong, 1 - q).sum()) - 0.5 * weak * float(p[5:] @ p[5:])
        return -value, -np.concatenate([gradient, constants])

    if start is None:
        share = np.clip(right.sum() / (right.sum() + wrong.sum()), 0.01, 0.99)
        level = np.log(share / (1 - share))
        start = Sigmoid(0.3 * size, 0.5, level - 0.3 * size * lnM - 0.5 * x, 0.02, 0.01 if guess is None else guess)
    begin = [start.a, start.b, start.z(lnM, x), start.lapse, start.guess, *[0.0] * number]
    of_guess = (0.0, MOST_GUESS) if guess is None else (guess, guess)
    bounds = [(-10.0, 10.0) if size else (0.0, 0.0), (-10.0, 10.0), (-30.0, 30.0), (0.0, MOST_LAPSE), of_guess]
    a, b, c, lapse, g, *own = minimize(
        loss, begin, method="L-BFGS-B", jac=True, bounds=bounds + [(-10.0, 10.0)] * number
    ).x.tolist()
    mean = float(np.mean(own)) if families else 0.0
    named = {str(name): value - mean for name, value in zip(table.families, own)}
    return Sigmoid(a, b, c + mean - a * lnM - b * x, lapse, g, named)


def own_levels(table: Table, law: Sigmoid, x: float) -> tuple[np.ndarray, np.ndarray]:
    """Each model's z at ln f = x by a curve of its own, and its standard error over answers: (n,) each. Fisher's
    scoring, held weakly to the law."""
    v = np.stack([np.ones(len(table.x)), table.x - x])  # (2, places)
    begin = np.column_stack([law.z(table.lnM, x), np.full(table.n, law.b)])
    weak = np.diag([WIDE**-2, (LOOSE * max(abs(law.b), 0.1)) ** -2])
    found = begin.copy()
    for _ in range(50):
        z = found @ v
        s, q = expit(z), law.accuracy(z)
        steep = (1 - law.guess - law.lapse) * s * (1 - s) / (q * (1 - q))
        information = np.einsum("ip,jp,mp->mij", v, v, table.asked * steep**2 * q * (1 - q))
        score = (steep * (table.right - table.asked * q)) @ v.T - (found - begin) @ weak
        step = np.linalg.solve(information + weak, score[:, :, None])[:, :, 0]
        found += np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-6:
            break
    information += np.diag([1e-3 * weak[0, 0], weak[1, 1]])  # of the level what the answers say, not what holds it
    return found[:, 0], np.sqrt(np.linalg.inv(information)[:, 0, 0])


class Surface:
    """The law over M and f, with what its intervals need: the law without each unit, and with the items drawn anew, the
    same for all models, and each model's its own."""

    def __init__(self, table: Table, guess: float | None, draws: int = DRAWS) -> None:
        self.table, everyone = table, np.full(table.n, True)
        self.law = fit(table, everyone, guess)
        self.units = units_of(table.families[table.family])
        left = self.units.left_out()
        self.refused = ""  # why there are no intervals
        if min(len(np.unique(table.lnM[rest])) for rest in left) < FEWEST_SIZES - 1:
            unit = "family" if self.units.are_families else "model"
            self.refused = f"a {unit} cannot be left out: the others are of one size"
            left = []
        self.without = [fit(table, rest, guess, start=self.law) for rest in left]
        random, number = np.random.default_rng(1), table.correct.shape[1]

        def drawn(*shape: int) -> list[Sigmoid]:
            weights = (random.multinomial(number, np.full(number, 1 / number), shape) for _ in range(draws))
            return [fit(table, everyone, guess, start=self.law, items=one) for one in weights]

        self.items, self.answers = drawn(), drawn(table.n)

    def item_variances(self, reading: Reading) -> tuple[float, float]:
        """Of what is read from the law: by items, by answers."""
        return tuple(float(np.var([reading(one) for one in laws], ddof=1)) for laws in (self.items, self.answers))

    def interval(self, reading: Reading) -> Estimate:
        """Over units and items."""
        value = reading(self.law)
        if self.refused:
            return Estimate(value)
        variance = jackknife_variance(np.array([reading(one) for one in self.without]))
        half = half_width(variance, *self.item_variances(reading), self.units.freedom)
        return Estimate(value, value - half, value + half)

    def new_model(self, M: float, f: float) -> Estimate:
        """The accuracy of a model that is none of these. Raises DataError where the models are too few."""
        x, nothing = float(np.log(f)), np.full(self.table.n, np.nan)
        levels = of_thresholds(*own_levels(self.table, self.law, x), nothing, nothing)
        law = fit_thresholds(levels, {"M": np.exp(self.table.lnM)}, self.units.of)
        items, answers = self.item_variances(lambda one: one.z(np.log(M), x))  # what they do to all models alike
        z = law.fit.predict(law.row({"M": M}), float(np.sqrt(max(0.0, items - answers))))
        return Estimate(*map(float, self.law.accuracy(np.array(z))))
