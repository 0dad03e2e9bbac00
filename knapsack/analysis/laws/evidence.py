"""What a run says of y, the logarithm of its threshold, as a likelihood: so that a run which never reached the target
counts for what it says, "more than this", instead of being dropped or taken for a number.

A run's evidence is one of: its answers, by dose (Answers, tabulated in Evidence.curves); a value with its standard
error; an interval (low, high), open on one side where it is censored.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.special import expit, log_ndtr, ndtr
from scipy.stats import norm

from knapsack.analysis.psychometric import NO_DOSE, Cells

COARSE, FINEST = 0.06, 0.003  # of y: where Answers are computed, at most; the step of the grid, at least
NEGLIGIBLE = -60.0  # of a log-likelihood below its largest
AROUND = 3.0  # of y: the grid beyond the doses
MOST_ANSWERS = 500  # of a share without its answers: beyond it what a run shows is not a matter of counting


class Shape(NamedTuple):
    """Of the dose-response curve, common to all runs of a study."""

    k: float = 3.0
    people: float = 0.3  # standard deviation of a person's own ln F50
    lapse: float = 0.02
    guess: float = 0.0  # where it is not known of the question


class Answers:
    """The answers of several runs, ready for log P(answers of a run | y, shape); a person's own difficulty, normal in
    ln F, is integrated out over all that the run asked about it."""

    def __init__(self, runs: list[Cells]) -> None:
        columns: list[np.ndarray] = []
        often, first, first_of_run = [], [], []
        at = 0
        for number, cells in enumerate(runs):
            persons, places = np.unique(cells.person, return_inverse=True)
            x = np.where(cells.dose > 0, np.log(np.where(cells.dose > 0, cells.dose, 1.0)), NO_DOSE)
            rows = np.stack([x, cells.right, cells.asked - cells.right, np.nan_to_num(cells.guess, nan=-1.0)], axis=1)
            rows, places = rows[np.argsort(places.ravel(), kind="stable")], np.sort(places.ravel())
            weight = np.ones(len(persons))
            if len(rows) == len(persons):  # a cell a person: equal ones are one
                rows, weight = np.unique(rows, axis=0, return_counts=True)
                places = np.arange(len(rows))
            first_of_run.append(len(first))
            first += [at + int(i) for i in np.flatnonzero(np.diff(places, prepend=-1))]
            often += weight.tolist()
            columns.append(np.column_stack([rows, np.full(len(rows), number)]))
            at += len(rows)
        table = np.concatenate(columns)
        self.right, self.wrong = table[:, 1][:, None, None], table[:, 2][:, None, None]
        places, place = np.unique(table[:, [0, 3, 4]], axis=0, return_inverse=True)  # where a probability is needed
        self.x, self.guess, self.run, self.place = *places[:, :2].T, places[:, 2].astype(int), place.ravel()
        self.often, self.first, self.first_of_run = np.array(often, float), np.array(first), np.array(first_of_run)
        self.most = float((self.right + self.wrong).max())  # answers of a person at a dose
        self.free = bool((self.guess < 0).any())  # some guess is not known
        self.runs = len(runs)
        shown = self.x[self.x > NO_DOSE]
        self.span = float(shown.min()), float(shown.max())

    def loglik(self, y: np.ndarray, shape: Shape) -> np.ndarray:
        """y: (runs, T), as is what is returned."""
        nodes = self.nodes(shape)
        weights = np.exp(-0.5 * nodes**2)
        distance = (self.x[:, None] - y[self.run])[:, :, None] - shape.people * nodes
        chance = np.where(self.guess < 0, shape.guess, self.guess)[:, None, None]
        q = np.clip(chance + (1 - chance - shape.lapse) * expit(shape.k * distance), 1e-9, 1 - 1e-9)
        cells = self.right * np.log(q)[self.place] + self.wrong * np.log1p(-q)[self.place]
        nodes = cells if len(self.first) == len(cells) else np.add.reduceat(cells, self.first, axis=0)
        top = nodes.max(axis=2)
        persons = top + np.log(np.exp(nodes - top[:, :, None]) @ (weights / weights.sum()))
        return np.add.reduceat(persons * self.often[:, None], self.first_of_run, axis=0)

    def nodes(self, shape: Shape) -> np.ndarray:
        """Of a standard normal effect, evenly spaced: nearer than the width of what a person's answers say of it."""
        width = 2 / (shape.k * np.sqrt(self.most))
        step = min(0.7, max(0.1, 1.2 * width / max(shape.people, 1e-6)))
        return step * np.arange(-np.ceil(4 / step), np.ceil(4 / step) + 1)

    def tabulate(self, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
        """The grid (G,), whose steps are shorter than the narrowest peak, and the curves (runs, G)."""
        coarse = min(COARSE, 0.2 / shape.k)
        places = np.arange(self.span[0] - AROUND, self.span[1] + AROUND + coarse, coarse)
        found = self.loglik(np.broadcast_to(places, (self.runs, len(places))), shape)
        bend = -np.diff(found, 2, axis=1).min()
        step = max(FINEST, min(0.5 * coarse, 0.7 * coarse / np.sqrt(max(bend, 1e-12))))
        grid = np.arange(places[0], places[-1], step)
        return grid, CubicSpline(places, found, axis=1)(grid)


def cells_of_share(dose: float, share: float, answers: float, guess: float) -> Cells:
    """Of a run that is known by one accuracy at one dose, as if of so many independent answers."""
    n = min(answers, MOST_ANSWERS)
    return Cells(*(np.array([value], float) for value in (dose, share * n, n, guess)), np.array([0]))


@dataclass
class Evidence:
    """Of n runs. `value`, `error`, `low`, `high`: (n,), NaN where a run has none; `curves` (answered, G) on `grid`, of
    the runs where `answered` (n,)."""

    value: np.ndarray
    error: np.ndarray
    low: np.ndarray
    high: np.ndarray
    answered: np.ndarray
    grid: np.ndarray | None = None
    curves: np.ndarray | None = None

    @property
    def step(self) -> float:
        return float(self.grid[1] - self.grid[0])

    @property
    def runs(self) -> int:
        return len(self.value)

    @property
    def censored(self) -> np.ndarray:
        """Runs without a threshold within what was tried: an end of the interval is open, or the answers' likelihood
        does not fall off to one side."""
        open_end = ~np.isfinite(self.value) & ~self.answered & ~(np.isfinite(self.low) & np.isfinite(self.high))
        if self.curves is not None:
            ends = self.curves.max(axis=1) - np.maximum(self.curves[:, 0], self.curves[:, -1])
            open_end[np.flatnonzero(self.answered)[ends < 2]] = True
        return open_end

    def start(self) -> np.ndarray:
        """A first y of each run."""
        middle = np.where(np.isfinite(self.low) & np.isfinite(self.high), (self.low + self.high) / 2, np.nan)
        middle = np.where(np.isnan(middle), np.where(np.isfinite(self.low), self.low + 0.5, self.high - 0.5), middle)
        found = np.where(np.isfinite(self.value), self.value, middle)
        found = np.where(np.isnan(found), np.nanmean(found) if np.isfinite(found).any() else 0.0, found)
        if self.curves is not None:
            found[self.answered] = np.clip(self.grid[self.curves.argmax(axis=1)], self.grid[0] + 2, self.grid[-1] - 2)
        return found

    def log_marginal(self, mean: np.ndarray, sd: float) -> np.ndarray:
        """mean: (n, q) of the run's y, which has this standard deviation about it; the logarithm of the evidence's
        probability."""
        out = np.empty_like(mean)
        for use, found in ((np.isfinite(self.value), self.of_values), (self.of_intervals_at, self.of_intervals)):
            if use.any():
                out[use] = found(use, mean[use], sd)
        if self.curves is not None:
            out[self.answered] = self.of_answers(mean[self.answered], sd)
        return out

    @property
    def of_intervals_at(self) -> np.ndarray:
        return ~np.isfinite(self.value) & ~self.answered

    def of_values(self, use: np.ndarray, mean: np.ndarray, sd: float) -> np.ndarray:
        return norm.logpdf(self.value[use][:, None], mean, np.hypot(sd, self.error[use])[:, None])

    def of_intervals(self, use: np.ndarray, mean: np.ndarray, sd: float) -> np.ndarray:
        low = np.where(np.isnan(self.low[use]), -np.inf, self.low[use])[:, None]
        high = np.where(np.isnan(self.high[use]), np.inf, self.high[use])[:, None]
        a, b = (low - mean) / sd, (high - mean) / sd
        a, b = np.where(a > 0, -b, a), np.where(a > 0, -a, b)  # the lower tail is exact where the upper is not
        upper, lower = log_ndtr(b), log_ndtr(a)
        return upper + np.log1p(-np.exp(np.minimum(lower - upper, -1e-12)))

    @cached_property
    def peaks(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Where the curves are not negligible: y, likelihood over its largest, run, and each run's first."""
        relative = self.curves - self.curves.max(axis=1, keepdims=True)
        run, place = np.nonzero(relative > NEGLIGIBLE)
        return self.grid[place], np.exp(relative[run, place]), run, np.flatnonzero(np.diff(run, prepend=-1))

    def of_answers(self, mean: np.ndarray, sd: float) -> np.ndarray:
        """Beyond the grid the likelihood is that of its ends."""
        y, likelihood, run, first = self.peaks
        z = (y[:, None] - mean[run]) / sd
        inner = np.add.reduceat(likelihood[:, None] * np.exp(-0.5 * z * z), first, axis=0)
        inner *= self.step / (sd * np.sqrt(2 * np.pi))
        top = self.curves.max(axis=1)[:, None]
        for end, sign in ((0, 1), (-1, -1)):
            inner += np.exp(self.curves[:, [end]] - top) * ndtr(sign * (self.grid[end] - mean) / sd)
        return np.log(np.maximum(inner, 1e-300)) + top

    def posterior(self, mean: np.ndarray, sd: float) -> tuple[np.ndarray, np.ndarray]:
        """Of the answered runs' y, given mean (answered,) and sd: mean and standard deviation."""
        weight = self.curves - 0.5 * ((self.grid - mean[:, None]) / sd) ** 2
        weight = np.exp(weight - weight.max(axis=1, keepdims=True))
        weight /= weight.sum(axis=1, keepdims=True)
        centre = weight @ self.grid
        spread = (weight * (self.grid - centre[:, None]) ** 2).sum(axis=1)
        return centre, np.sqrt(np.maximum(spread, self.step**2))


def of_answers(answers: Answers, shape: Shape) -> Evidence:
    nothing = np.full(answers.runs, np.nan)
    grid, curves = answers.tabulate(shape)
    return Evidence(nothing, nothing, nothing, nothing, np.ones(answers.runs, bool), grid, curves)


def of_thresholds(value: np.ndarray, error: np.ndarray, low: np.ndarray, high: np.ndarray) -> Evidence:
    """All in ln; NaN where there is none. A value has an error (0: known exactly), an interval has an end or two."""
    value, error, low, high = (np.asarray(one, float) for one in (value, error, low, high))
    return Evidence(value, np.nan_to_num(error), low, high, np.zeros(len(value), bool))
