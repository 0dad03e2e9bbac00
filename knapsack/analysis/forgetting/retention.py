"""What is kept after a source's window has closed: share of the known facts, log-probability, effectivity and
retainability (Chang et al. 2024, arXiv 2406.11813), each with the laws of laws.py fitted. Of one run intervals are over
its people, drawn anew with all their facts; what another run would show is not in them. Several runs: over_runs.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from knapsack.analysis.forgetting.laws import fit_laws
from knapsack.analysis.guesses import persons_of
from knapsack.common.errors import DataError, UsageError
from knapsack.runs.answers import Answers
from knapsack.runs.files import warn

DRAWS = 200  # of people


def inliers(values: np.ndarray) -> np.ndarray:
    """Which values are finite and within 1.5 interquartile ranges of the quartiles."""
    finite = np.isfinite(values)
    if finite.sum() < 4:
        return finite
    low, high = np.percentile(values[finite], [25, 75])
    return finite & (values >= low - 1.5 * (high - low)) & (values <= high + 1.5 * (high - low))


def draw_people(answers: Answers, chosen: np.ndarray, draws: int, seed: int = 1) -> np.ndarray:
    """(draws, chosen facts): how often each of these facts (F,) is in a draw of their people."""
    people, of = np.unique(persons_of(answers)[chosen], return_inverse=True)
    random = np.random.default_rng(seed)
    return random.multinomial(len(people), np.full(len(people), 1 / len(people)), draws)[:, of.ravel()].astype(float)


@dataclass
class Window:
    closed: int
    opened: int | None = None
    lam_horizon: int = 50
    lam: str = "mean"  # t_LAM of the mean over facts, or of each fact
    ratio: str = "sums"  # R(t): a ratio of sums over facts, or the mean of the facts' ratios


def last_at_or_before(steps: np.ndarray, step: int) -> int | None:
    index = int(np.searchsorted(steps, step, side="right")) - 1
    return index if index >= 0 else None


class Kept(NamedTuple):
    """Of the facts known at closing the share that is known later."""

    base: int  # row of the closing
    after: np.ndarray  # rows (T,)
    had: np.ndarray  # (F,): known at closing
    t: np.ndarray  # (T,)
    known: np.ndarray  # (T, facts that were known)

    @property
    def curve(self) -> np.ndarray:
        return self.known.mean(axis=1)

    def drawn(self, weight: np.ndarray) -> np.ndarray:
        """(draws, T) of weights (draws, facts that were known)."""
        return weight @ self.known.T / weight.sum(axis=1, keepdims=True)


def kept_of(answers: Answers, known: np.ndarray, window: Window) -> Kept:
    steps = answers.steps
    base = last_at_or_before(steps, window.closed)
    if base is None:
        raise DataError(
            f"no evaluation at or before step {window.closed}, when the window closed (the first is at {steps[0]}); "
            "what was known then cannot be said"
        )
    if steps[base] != window.closed:
        warn(
            f"no evaluation at step {window.closed}; what is known is taken from step {steps[base]}, and t counts from "
            f"{window.closed}"
        )
    after, had = np.flatnonzero(steps > window.closed), known[base]
    if not len(after):
        raise DataError(f"no evaluation after step {window.closed}, when the window closed; the last is at {steps[-1]}")
    if not had.any():
        raise DataError(
            f"no fact was known at step {steps[base]}, when the window closed; nothing can be kept. Try a lower "
            "--share or another --kind"
        )
    return Kept(base, after, had, (steps[after] - window.closed).astype(float), known[np.ix_(after, had)])


def warn_of_ends(shares: np.ndarray) -> int:
    """How many lie between 0 and 1."""
    between = int(((shares > 0) & (shares < 1)).sum())
    if between < 3:
        warn(
            f"only {between} of {len(shares)} shares after the window closed lie between 0 and 1: their fits say "
            "little, the log-probability says more; evaluate more often there"
        )
    return between


def known_retention(answers: Answers, known: np.ndarray, logp: np.ndarray, window: Window) -> dict[str, Any]:
    kept = kept_of(answers, known, window)
    rows = [kept.base, *kept.after]
    return {
        "closed": window.closed,
        "known_at": int(answers.steps[kept.base]),
        "facts": int(kept.had.sum()),
        "points_between_0_and_1": warn_of_ends(kept.curve),
        "t": [0.0, *kept.t.tolist()],
        "share_known": [1.0, *kept.curve.tolist()],
        "mean_log_probability": np.nanmean(logp[rows], axis=1).tolist(),
        "mean_log_probability_known": np.nanmean(logp[np.ix_(rows, np.flatnonzero(kept.had))], axis=1).tolist(),
        "fits": fit_laws(kept.t, kept.curve, kept.drawn(draw_people(answers, kept.had, DRAWS))),
    }


def rows_of(steps: np.ndarray, window: Window) -> tuple[int, np.ndarray]:
    """The row of t_pre, and those among which t_LAM is sought: the maximum after the last encounter, since nothing is
    forgetting while facts are still shown."""
    if window.opened is None:
        raise DataError("--opened STEP is needed for l(t_pre), the log-probability before the window")
    before = last_at_or_before(steps, window.opened)
    if before is None:
        raise DataError(
            f"no evaluation at or before step {window.opened}, when the window opened (the first is at {steps[0]})"
        )
    inside = np.flatnonzero((steps >= window.closed) & (steps <= window.closed + window.lam_horizon))
    if not len(inside):
        raise DataError(
            f"no evaluation from step {window.closed} on, when the window closed, up to {window.lam_horizon} steps "
            "later; try a larger --lam-horizon, or --eval-at windows"
        )
    return before, inside


def gains_by_time(steps: np.ndarray, logp: np.ndarray, before: int, peak: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The times since a fact's own peak (T,), and its gain then (T, F), NaN where there was no evaluation; logp is
    (S, F), peak (F)."""
    found: dict[int, np.ndarray] = {}
    for start in np.unique(peak):
        of = np.flatnonzero(peak == start)
        for row in range(start, len(steps)):
            gain = found.setdefault(int(steps[row] - steps[start]), np.full(logp.shape[1], np.nan))
            gain[of] = logp[row, of] - logp[before, of]
    times = sorted(found)
    return np.array(times), np.stack([found[time] for time in times])


def ratio_of_sums(gain: np.ndarray, effect: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """sum of gains / sum of effects (draws, T), over the facts that were asked at that time: those that the window did
    not teach count too, so that chance does not choose who is followed."""
    asked = np.isfinite(gain)
    return (weight @ np.where(asked, gain, 0.0).T) / (weight @ np.where(asked, effect, 0.0).T)


def mean_of_ratios(gain: np.ndarray, effect: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Chang et al.: of the facts that gained, without outliers; (draws, T), and how many facts each time has."""
    ratio = np.where(effect > 0, gain / np.where(effect > 0, effect, 1.0), np.nan)
    used = np.stack([inliers(row) for row in ratio])
    total = weight @ used.T
    means = np.divide(weight @ np.where(used, ratio, 0.0).T, total, out=np.full(total.shape, np.nan), where=total > 0)
    return means, used.sum(axis=1).tolist()


class Gains(NamedTuple):
    """Log-probabilities gained by the window, and what is left of them later."""

    before: int  # row of t_pre
    common: int  # row of the mean's t_LAM
    finite: np.ndarray  # (F,): the facts that count
    effect: np.ndarray  # (facts,)
    times: np.ndarray  # (T,)
    gain: np.ndarray  # (T, facts)

    def ratios(self, weight: np.ndarray, ratio: str) -> tuple[np.ndarray, list[int]]:
        """R(t) (draws, T) of weights (draws, facts), and how many facts each time has."""
        if ratio == "sums":
            return ratio_of_sums(self.gain, self.effect, weight), np.isfinite(self.gain).sum(axis=1).tolist()
        return mean_of_ratios(self.gain, self.effect, weight)


def gains_of(answers: Answers, logp: np.ndarray, window: Window, common: int | None = None) -> Gains:
    """`common`: the row of t_LAM, where it is not this run's own."""
    before, inside = rows_of(answers.steps, window)
    finite = np.isfinite(logp[[before, *inside]]).all(axis=0)
    logp = logp[:, finite]
    if not finite.any():
        raise DataError("no fact has a finite log-probability at every evaluation of the window")
    if common is None:
        common = int(inside[int(np.argmax(logp[inside].mean(axis=1)))])
    peak = np.full(logp.shape[1], common) if window.lam == "mean" else inside[np.argmax(logp[inside], axis=0)]
    effect = logp[peak, np.arange(logp.shape[1])] - logp[before]
    if effect.sum() <= 0:
        raise DataError("the mean log-probability did not rise over the window: there is no gain to be kept")
    times, gain = gains_by_time(answers.steps, logp, before, peak)
    return Gains(before, common, finite, effect, times, gain)


def retainability(answers: Answers, logp: np.ndarray, window: Window) -> dict[str, Any]:
    """E = l(t_LAM) - l(t_pre), the gain of the whole window (not of one encounter as in Chang et al.), and
    R(t) = [l(t_LAM + t) - l(t_pre)] / E: the ratio of the sums over all facts, or with window.ratio "facts" the mean of
    the ratios of those that gained, which is too high by regression to the mean."""
    gains = gains_of(answers, logp, window)
    facts = len(gains.effect)
    weight = np.vstack([np.ones(facts), draw_people(answers, gains.finite, DRAWS)])  # of all, then of draws
    ratios, used = gains.ratios(weight, window.ratio)
    return {
        "t_pre": int(answers.steps[gains.before]),
        "t_lam": int(answers.steps[gains.common]),
        "lam": window.lam,
        "ratio": window.ratio,
        "facts": facts,
        "left_out": int((~gains.finite).sum()),
        "facts_without_gain": int((gains.effect <= 0).sum()),
        "effectivity": float(gains.effect.mean()),
        "t": gains.times.tolist(),
        "retainability": ratios[0].tolist(),
        "facts_used": used,
        "fits": fit_laws(gains.times.astype(float), ratios[0], ratios[1:]),
    }


def check_window(answers: Answers, window: Window) -> None:
    sources = sorted({source for source, _, _ in answers.facts})
    if len(sources) > 1:
        raise UsageError(f"a window is one source's, the answers are of {', '.join(sources)}; choose with --source")
    if window.opened is not None and window.opened >= window.closed:
        raise UsageError(f"the window opens at step {window.opened}, not before it closes at {window.closed}")


def analyse(answers: Answers, known: np.ndarray, logp: np.ndarray, window: Window) -> dict[str, Any]:
    """`retention` of PREFIX.json; raises what cannot be said of the facts known, not of their log-probability."""
    check_window(answers, window)
    out = {"of": "this run", "intervals_over": "people"} | known_retention(answers, known, logp, window)
    try:
        return {**out, "log_probability": retainability(answers, logp, window)}
    except DataError as error:
        return {**out, "log_probability": {"refused": str(error)}}
