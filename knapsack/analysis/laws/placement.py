"""Where the next run of a dose goes, one run after another, and when there are enough of them.

A run at level x, a ratio or exposures, shows the share s of n answers right. With u = k (ln x - ln F50) + t e, where e
is standard normal, an answer is right with g + (1 - g - lapse) / (1 + exp(-u)): t is what seeds do to the logit, so
that the run is the unit and not the answer. The posterior of (ln F50, k, t) is on a grid; the next run goes to the
level after which the entropy of (ln F50, k) is expected to be least: Kontsevich and Tyler 1999 (psi), with the scatter
t as a nuisance (Prins 2013) and outcomes that are shares. Watson and Pelli 1983 (QUEST) and King-Smith et al. 1994
(ZEST) did so for the threshold alone; Watson 2017 (QUEST+) has the general rule. Runs that are not finished count with
the expected share.

While it may be that nothing rises (one share at all levels, as likely beforehand as a rise), runs are spread evenly, as
in a grid: levels that follow the outcomes would turn scatter into a rise that the test of critical.find takes for one.

The posterior decides where runs go; what is reported is critical.find over the finished runs, as for a fixed grid, and
no run is placed any more once both say the critical dose well enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.special import expit, ndtr, xlogy

from knapsack.analysis.laws import critical
from knapsack.common.errors import DataError

SLOPES = np.geomspace(1.0, 32.0, 11)  # prior of k, uniform in ln k
SCATTER = np.geomspace(0.1, 1.6, 5)  # prior of t, uniform in ln t
BEYOND = 0.25  # of the span of ln x: how far outside of it the prior of ln F50 reaches
A_WIDTH, PLACES = 3, (41, 301)  # places of ln F50 in a width; at least and at most
LAPSE = 0.02
LOGITS = np.arange(-14.0, 14.01, 0.1)  # u, tabulated
EDGES = np.linspace(-4.0, 4.0, 17)  # of the outcomes' bins, as logits
NEGLIGIBLE = 1e-7  # of a place's probability
SURE, ENOUGH = 0.99, 2  # that the critical dose is outside of the levels; with as many runs at the last level there
MAY_BE = 0.05  # from this probability of no rise on, runs are spread
FLAT_LOGITS = np.arange(-6.0, 6.01, 0.5)  # prior of the one share's logit
FEWEST = 10  # finished runs before an interval counts as narrow: of fewer the scatter is a guess
NARROW, ABOVE, BELOW, FLAT, ALL = "narrow", "above the levels", "below the levels", "no rise", "all runs"


@dataclass(frozen=True)
class Rule:
    levels: tuple[float, ...]  # rising; every run is at one of them
    first: int  # runs that are spread evenly over them
    runs: int  # at most
    width: float  # of half of the 95 % interval of ln F50
    guess: float = 0.0
    answers: float = 500.0  # independent ones in a share

    @property
    def opening(self) -> list[float]:
        """The levels of the first runs: both ends, and evenly between."""
        return [self.levels[round(place)] for place in np.linspace(0, len(self.levels) - 1, self.first)]

    def spread(self, order: int) -> float:
        """The level of a run of this order where runs are spread: evenly over the levels, whatever was seen."""
        golden = (np.sqrt(5) - 1) / 2  # any first few of its multiples, modulo 1, are about even
        return self.levels[int(len(self.levels) * (order * golden % 1))]

    @cached_property
    def places(self) -> np.ndarray:
        """(P,) of ln F50, its prior uniform over them."""
        low, high = np.log(self.levels[0]), np.log(self.levels[-1])
        beyond = BEYOND * (high - low)
        count = int(np.clip(A_WIDTH * (high - low + 2 * beyond) / self.width, *PLACES))
        return np.linspace(low - beyond, high + beyond, count)

    def logit(self, level: float) -> np.ndarray:
        """(P, SLOPES): u without the scatter."""
        return SLOPES * (np.log(level) - self.places[:, None])

    def right(self, u: np.ndarray) -> np.ndarray:
        return np.clip(self.guess + (1 - self.guess - LAPSE) * expit(u), 1e-6, 1 - 1e-6)


@lru_cache
def scattering() -> np.ndarray:
    """(SCATTER, LOGITS, LOGITS): how the scatter spreads u, rows adding up to 1."""
    z = (LOGITS[:, None] - LOGITS) / SCATTER[:, None, None]
    weight = np.exp(-0.5 * z * z)
    return weight / weight.sum(axis=2, keepdims=True)


def steps_of(u: np.ndarray) -> np.ndarray:
    """The nearest place in LOGITS."""
    return np.clip(np.rint((u - LOGITS[0]) / (LOGITS[1] - LOGITS[0])).astype(int), 0, len(LOGITS) - 1)


class Posterior:
    """Of (ln F50, k, t) after runs at levels `x` that showed the shares `s`."""

    def __init__(self, rule: Rule, x: Sequence[float], s: Sequence[float]) -> None:
        self.rule = rule
        p = rule.right(LOGITS)
        found = np.zeros((len(rule.places), len(SLOPES), len(SCATTER)))
        flat = np.zeros((len(FLAT_LOGITS), len(SCATTER)))
        for level, share in zip(x, s):
            alone = rule.answers * (share * np.log(p) + (1 - share) * np.log1p(-p))
            scattered = np.log(np.maximum(scattering() @ np.exp(alone - alone.max()), 1e-300)).T
            found += scattered[steps_of(rule.logit(level))]
            flat += scattered[steps_of(FLAT_LOGITS)]
        top = max(found.max(), flat.max())
        rise, no_rise = np.exp(found - top).mean(), np.exp(flat - top).mean()
        self.flat = float(no_rise / (rise + no_rise))
        found = np.exp(found - found.max())
        self.weight = found / found.sum()

    @property
    def of_place(self) -> np.ndarray:
        return self.weight.sum(axis=(1, 2))

    def half_width(self) -> float:
        """Half of the central 95 % of ln F50."""
        low, high = np.interp([0.025, 0.975], np.cumsum(self.of_place), self.rule.places)
        return float(high - low) / 2

    def outside(self) -> str:
        """ABOVE or BELOW where F50 surely is, else empty."""
        places, weight = self.rule.places, self.of_place
        low, high = np.log(self.rule.levels[0]), np.log(self.rule.levels[-1])
        if weight[places > high].sum() > SURE:
            return ABOVE
        return BELOW if weight[places < low].sum() > SURE else ""

    def expected(self, level: float) -> float:
        """The mean share of a run there."""
        shares = scattering() @ self.rule.right(LOGITS)
        return float((self.weight * shares.T[steps_of(self.rule.logit(level))]).sum())

    @cached_property
    def outcomes(self) -> np.ndarray:
        """(LOGITS, SCATTER, bins): probability that a run's own logit is seen in each bin."""
        p = self.rule.right(LOGITS)
        steep = np.gradient(p, LOGITS)
        seen = np.sqrt(SCATTER**2 + (p * (1 - p) / self.rule.answers / np.maximum(steep, 1e-3) ** 2)[:, None])
        below = ndtr((EDGES - LOGITS[:, None, None]) / seen[:, :, None])
        return np.diff(below, axis=2, prepend=0.0, append=1.0)

    def entropy_after(self, level: float) -> float:
        """The entropy of (ln F50, k) that is expected after one more run there."""
        weight, which = self.likely
        steps = steps_of(self.rule.logit(level)).ravel()[which]
        joint = np.einsum("nt,ntb->nb", weight, self.outcomes[steps])
        return float(xlogy(joint.sum(axis=0), joint.sum(axis=0)).sum() - xlogy(joint, joint).sum())

    @cached_property
    def likely(self) -> tuple[np.ndarray, np.ndarray]:
        """(N, SCATTER) of the places of (ln F50, k) that are not improbable, and which they are."""
        flat = self.weight.reshape(-1, len(SCATTER))
        which = np.flatnonzero(flat.sum(axis=1) > NEGLIGIBLE)
        return flat[which], which


def end_of(rule: Rule, outside: str) -> float:
    return rule.levels[-1 if outside == ABOVE else 0]


def next_level(rule: Rule, x: Sequence[float], s: Sequence[float], pending: Sequence[float] = ()) -> float:
    """Where the next run goes, after finished runs at `x` with shares `s` and others at `pending`."""
    begun = len(x) + len(pending)
    if begun < rule.first:
        return rule.opening[begun]
    posterior = Posterior(rule, x, s)
    if outside := posterior.outside():  # one run that happened to fail is no proof
        return end_of(rule, outside)
    if posterior.flat > MAY_BE:
        return rule.spread(begun)
    if pending:
        posterior = Posterior(rule, [*x, *pending], [*s, *map(posterior.expected, pending)])
    return min(rule.levels, key=posterior.entropy_after)


def ended(rule: Rule, x: Sequence[float], s: Sequence[float]) -> str:
    """Why no run follows these; empty where one does."""
    if len(x) >= rule.first:
        posterior = Posterior(rule, x, s)
        if (outside := posterior.outside()) and list(x).count(end_of(rule, outside)) >= ENOUGH:
            return outside
        if len(x) >= FEWEST and posterior.flat > SURE:
            return FLAT
        if len(x) >= FEWEST and posterior.half_width() < rule.width and half_width(rule, x, s) < rule.width:
            return NARROW
    return ALL if len(x) >= rule.runs else ""


def half_width(rule: Rule, x: Sequence[float], s: Sequence[float]) -> float:
    """Of the critical dose that is reported, in ln; infinite where there is none."""
    try:
        at = critical.find(np.array(x), np.array(s), rule.answers, rule.guess, np.arange(len(x))).at
    except DataError:
        return np.inf
    return float(np.log(at.high / at.low)) / 2 if at is not None and at.low > 0 else np.inf
