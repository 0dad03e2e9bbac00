"""Dose and response of one run: P(correct | F) = g + (1 - g - lapse) / (1 + exp(-k (ln F - ln F50))).

F is a dose (exposures, frequency, popularity), F50 the dose half of the way from guessing to 1 - lapse, k the slope in
ln F. The guess g is known of each question (1 / size of its pool), or is fitted within [0, MOST_GUESS]. All answers of
all checkpoints count: where a fact's threshold lies between two evaluations is in the likelihood, and a miss after it
was learned is a lapse, not a new beginning.

The interval of one run is over people: the bootstrap draws entities with all their answers. Over training it takes
several runs (intervals.replicates). An F50 beyond the largest dose is "not reached": a lower bound, not a number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import expit

from knapsack.analysis.intervals import Estimate, share_interval

MOST_GUESS, MOST_LAPSE = 0.25, 0.1
SLOPES = (0.2, 40.0)  # of k; the upper one is a step
BEYOND = 3.0  # in ln F: how far from the doses F50 is sought
BIN = 0.01  # of ln F: doses nearer than this are one, where there are more than MOST_DOSES
MOST_DOSES = 400
NO_DOSE = -50.0  # ln F of what was never shown: all guessing
DRAWS = 400
RISE = 6.63  # twice the log-likelihood that a slope must add, next to the answers' overdispersion: chi2, 1 %
ENDS = (2.5, 97.5)  # percentiles
REACHED, NOT_REACHED, BELOW, FLAT = "reached", "not reached", "below the smallest dose", "no rise"


class Cells(NamedTuple):
    """Answers added up, (n,) each: of one person at one dose with one guess. `dose` is F, `guess` NaN where it is not
    known, `person` a number of the entity."""

    dose: np.ndarray
    right: np.ndarray
    asked: np.ndarray
    guess: np.ndarray
    person: np.ndarray


@dataclass(frozen=True)
class Curve:
    ln_F50: float
    k: float
    lapse: float
    guess: float  # fitted, or the mean of the known ones
    state: str
    loglik: float
    overdispersion: float  # of a person's number of right answers, 1: binomial
    people: int
    answers: int
    doses: tuple[float, float]  # the smallest and largest that was given

    @classmethod
    def of_report(cls, said: dict[str, Any]) -> Curve:
        """Of what report() says."""
        fitted = said["ln_F50"], said["k"], said["lapse"], said["guess"], said["state"], said["loglik"]
        return cls(*fitted, said["overdispersion"], said["people"], said["answers"], tuple(said["doses"]))

    @property
    def F50(self) -> float | None:
        return float(np.exp(self.ln_F50)) if self.state == REACHED else None

    def dose_at(self, target: float) -> float | None:
        """The dose of this accuracy; None where the curve does not reach it, or only beyond the doses given."""
        share = (target - self.guess) / (1 - self.guess - self.lapse)
        if not 0 < share < 1 or self.state == FLAT:
            return None
        dose = float(np.exp(self.ln_F50 + np.log(share / (1 - share)) / self.k))
        return dose if self.doses[0] <= dose <= self.doses[1] else None

    def at(self, dose: np.ndarray) -> np.ndarray:
        """The accuracy."""
        return self.guess + (1 - self.guess - self.lapse) * expit(self.k * (np.log(dose) - self.ln_F50))


def collect(dose: np.ndarray, correct: np.ndarray, person: np.ndarray, guess: np.ndarray | float = np.nan) -> Cells:
    """One answer an element; those of equal person, dose and guess are added up."""
    dose, guess = np.asarray(dose, float), np.broadcast_to(np.asarray(guess, float), np.shape(dose))
    persons, person = np.unique(person, return_inverse=True)
    doses, place = np.unique(dose, return_inverse=True)
    known, chance = np.unique(np.nan_to_num(guess, nan=-1.0), return_inverse=True)
    key = (person.ravel() * len(doses) + place.ravel()) * len(known) + chance.ravel()
    unique, row = np.unique(key, return_inverse=True)
    right = np.bincount(row, np.asarray(correct, float), len(unique))
    asked = np.bincount(row, minlength=len(unique)).astype(float)
    guess = known[unique % len(known)]
    of = unique // len(known)
    return Cells(doses[of % len(doses)], right, asked, np.where(guess < 0, np.nan, guess), persons[of // len(doses)])


class Table:
    """The cells as sparse counts, people by (dose, guess), so that a draw of people is a product."""

    def __init__(self, cells: Cells) -> None:
        x = np.log(np.where(cells.dose > 0, cells.dose, 1.0))
        if len(np.unique(x)) > MOST_DOSES:
            x = BIN * np.round(x / BIN)
        x = np.where(cells.dose > 0, x, NO_DOSE)
        places, column = np.unique(np.stack([x, np.nan_to_num(cells.guess, nan=-1.0)], 1), axis=0, return_inverse=True)
        self.people, row = np.unique(cells.person, return_inverse=True)
        shape, at = (len(self.people), len(places)), (row, column.ravel())
        self.right = sparse.csr_matrix((cells.right, at), shape)
        self.wrong = sparse.csr_matrix((cells.asked - cells.right, at), shape)
        self.x, self.guess = places[:, 0], places[:, 1]
        self.free = bool((self.guess < 0).any())  # the guess is fitted
        shown = cells.dose[cells.dose > 0]
        self.doses = (float(shown.min()), float(shown.max())) if len(shown) else (1.0, 1.0)
        self.span = tuple(map(float, np.log(self.doses)))

    def counts(self, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Right and wrong by place, each person so often."""
        weight = np.ones(len(self.people)) if weight is None else weight
        return self.right.T @ weight, self.wrong.T @ weight

    def chance(self, guess: float) -> np.ndarray:
        return np.where(self.guess < 0, guess, self.guess)

    def probability(self, p: np.ndarray) -> np.ndarray:
        chance = self.chance(p[3])
        return np.clip(chance + (1 - chance - p[2]) * expit(np.exp(p[1]) * (self.x - p[0])), 1e-9, 1 - 1e-9)

    def loss(self, p: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> tuple[float, np.ndarray]:
        """Minus the log-likelihood of (ln F50, ln k, lapse, guess), and its gradient."""
        k, chance = np.exp(p[1]), self.chance(p[3])
        z = k * (self.x - p[0])
        s = expit(z)
        height = 1 - chance - p[2]
        q = np.clip(chance + height * s, 1e-9, 1 - 1e-9)
        slope = right / q - wrong / (1 - q)
        steep = slope * height * s * (1 - s)
        gradient = [-k * steep.sum(), (z * steep).sum(), -(s * slope).sum(), ((1 - s) * slope * (self.guess < 0)).sum()]
        return -float(right @ np.log(q) + wrong @ np.log1p(-q)), -np.array(gradient)

    def fit(self, right: np.ndarray, wrong: np.ndarray, starts: list[np.ndarray]) -> tuple[np.ndarray, float]:
        bounds = [(self.span[0] - BEYOND, self.span[1] + BEYOND), tuple(np.log(SLOPES)), (0.0, MOST_LAPSE)]
        bounds.append((0.0, MOST_GUESS) if self.free else (0.0, 0.0))
        found = [
            minimize(self.loss, start, (right, wrong), "L-BFGS-B", True, bounds=bounds, options={"ftol": 1e-10})
            for start in starts
        ]
        best = min(found, key=lambda one: one.fun)
        return best.x, -float(best.fun)

    def starts(self, right: np.ndarray, wrong: np.ndarray) -> list[np.ndarray]:
        """The two best of a coarse grid."""
        low, high = self.span
        guess = min(0.01, MOST_GUESS) if self.free else 0.0
        grid = [
            np.array([mu, np.log(k), 0.02, guess])
            for mu in np.linspace(low - 0.5, high + 1.5, 17)
            for k in (1.0, 3.0, 9.0)
        ]
        return sorted(grid, key=lambda p: self.loss(p, right, wrong)[0])[:2]

    def overdispersion(self, p: np.ndarray) -> float:
        """Mean square of the people's residuals over what binomial answers would have."""
        q = self.probability(p)
        asked = self.right + self.wrong
        expected, spread = asked @ q, asked @ (q * (1 - q))
        residual = np.asarray(self.right.sum(axis=1)).ravel() - expected
        use = spread > 1e-3
        return float((residual[use] ** 2 / spread[use]).mean()) if use.any() else 1.0


def state_of(table: Table, p: np.ndarray, loglik: float, right: np.ndarray, wrong: np.ndarray, over: float) -> str:
    """A curve that says no more than one accuracy for all doses has no threshold between them."""
    share = right.sum() / (right.sum() + wrong.sum())
    flat = np.clip(share, 1e-9, 1 - 1e-9)
    alone = float(right.sum() * np.log(flat) + wrong.sum() * np.log1p(-flat))
    if 2 * (loglik - alone) < RISE * max(1.0, over):
        chance = float(table.chance(p[3]) @ (right + wrong) / (right + wrong).sum())
        half = chance + (1 - chance) / 2
        return NOT_REACHED if share < 0.5 * half else BELOW if share > 0.5 * (1 + half) else FLAT
    if p[0] > table.span[1]:
        return NOT_REACHED
    return BELOW if p[0] < table.span[0] else REACHED


def fit_curve(cells: Cells) -> Curve:
    table = Table(cells)
    right, wrong = table.counts()
    p, loglik = table.fit(right, wrong, table.starts(right, wrong))
    over = table.overdispersion(p)
    asked = right + wrong
    return Curve(
        float(p[0]),
        float(np.exp(p[1])),
        float(p[2]),
        float(table.chance(p[3]) @ asked / asked.sum()),
        state_of(table, p, loglik, right, wrong, over),
        loglik,
        over,
        len(table.people),
        int(asked.sum()),
        table.doses,
    )


def bootstrap(cells: Cells, curve: Curve, draws: int = DRAWS, seed: int = 1) -> np.ndarray:
    """ln F50, k, lapse and guess (draws, 4) with the people drawn anew; fits start at the curve."""
    table, random = Table(cells), np.random.default_rng(seed)
    start = np.array([curve.ln_F50, np.log(curve.k), curve.lapse, curve.guess if table.free else 0.0])
    found = np.empty((draws, 4))
    for row in found:
        weight = random.multinomial(len(table.people), np.full(len(table.people), 1 / len(table.people)))
        row[:] = table.fit(*table.counts(weight.astype(float)), [start])[0]
    found[:, 1] = np.exp(found[:, 1])
    return found


def interval_of(curve: Curve, drawn: np.ndarray, target: float | None = None) -> tuple[float | None, float | None]:
    """95 % of F50 over people, or of the dose of a target accuracy; an end beyond the doses given is None."""
    values = drawn[:, 0]
    if target is not None:
        share = np.clip((target - drawn[:, 3]) / (1 - drawn[:, 3] - drawn[:, 2]), 1e-9, 1 - 1e-9)
        values = values + np.log(share / (1 - share)) / drawn[:, 1]
    if curve.state == FLAT:
        return None, None
    ends = np.exp(np.percentile(values, ENDS))
    return tuple(float(end) if curve.doses[0] <= end <= curve.doses[1] else None for end in ends)


def binned(cells: Cells, most: int = 12) -> tuple[np.ndarray, list[Estimate]]:
    """Doses and shares right with 95 % over people, in bins of about as many answers where there are more doses; for
    figures."""
    shown = cells.dose > 0
    order = np.argsort(cells.dose[shown], kind="stable")
    dose, right, asked, person = (one[shown][order] for one in (cells.dose, cells.right, cells.asked, cells.person))
    _, place = np.unique(dose, return_inverse=True)
    if place.max(initial=0) >= most:
        first = np.flatnonzero(np.diff(place, prepend=-1))  # a dose is in one bin
        share = (np.cumsum(asked) - asked) / asked.sum()
        place = np.floor(most * share[first]).astype(int)[place]
    places, shares = [], []
    for number in np.unique(place):
        of = place == number
        _, own = np.unique(person[of], return_inverse=True)
        places.append(float(np.exp(np.average(np.log(dose[of]), weights=asked[of]))))
        shares.append(share_interval(np.bincount(own, right[of]), np.bincount(own, asked[of])))
    return np.array(places), shares


def report(cells: Cells, draws: int = DRAWS) -> dict[str, Any]:
    """The curve as JSON. Where F50 is not reached: None, with `more_than` the largest dose; where it is below the
    smallest, `less_than`."""
    curve = fit_curve(cells)
    drawn = bootstrap(cells, curve, draws) if draws else np.empty((0, 4))
    low, high = interval_of(curve, drawn) if draws else (None, None)
    out = {
        "state": curve.state,
        "F50": curve.F50,
        "interval": [low, high],
        "ln_F50": curve.ln_F50,  # of the fit, wherever it lies
        "loglik": curve.loglik,
        "standard_error_ln": float(drawn[:, 0].std(ddof=1)) if curve.state == REACHED and draws > 1 else None,
        "k": curve.k,
        "lapse": curve.lapse,
        "guess": curve.guess,
        "overdispersion": curve.overdispersion,
        "people": curve.people,
        "answers": curve.answers,
        "doses": list(curve.doses),
    }
    if curve.state == NOT_REACHED:
        out["more_than"] = curve.doses[1]
    if curve.state == BELOW:
        out["less_than"] = curve.doses[0]
    return out
