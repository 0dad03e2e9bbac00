"""What is kept after a source's window has closed: share of the known facts, log-probability, effectivity and
retainability (Chang et al. 2024, arXiv 2406.11813), each with the laws of laws.py fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from knapsack.runs.answers import Answers, Refusal, warn
from knapsack.analysis.forgetting.laws import evaluate, fit_laws


def inliers(values: np.ndarray) -> np.ndarray:
    """Finite values within 1.5 interquartile ranges of the quartiles."""
    values = values[np.isfinite(values)]
    if len(values) < 4:
        return values
    low, high = np.percentile(values, [25, 75])
    return values[(values >= low - 1.5 * (high - low)) & (values <= high + 1.5 * (high - low))]


@dataclass
class Window:
    closed: int
    opened: int | None = None
    lam_horizon: int = 50
    lam: str = "mean"  # t_LAM of the mean over facts, or of each fact


def last_at_or_before(steps: np.ndarray, step: int) -> int | None:
    index = int(np.searchsorted(steps, step, side="right")) - 1
    return index if index >= 0 else None


def known_retention(answers: Answers, known: np.ndarray, logp: np.ndarray, window: Window) -> dict[str, Any]:
    steps = answers.steps
    base = last_at_or_before(steps, window.closed)
    if base is None:
        raise Refusal(
            f"no evaluation at or before step {window.closed}, when the window closed (the first is at {steps[0]}); "
            "what was known then cannot be told"
        )
    if steps[base] != window.closed:
        warn(
            f"no evaluation at step {window.closed}; what is known is taken from step {steps[base]}, and t counts from "
            f"{window.closed}"
        )
    after, had = np.flatnonzero(steps > window.closed), known[base]
    if not len(after):
        raise Refusal(f"no evaluation after step {window.closed}, when the window closed; the last is at {steps[-1]}")
    if not had.any():
        raise Refusal(
            f"no fact was known at step {steps[base]}, when the window closed; nothing can be kept. Try a lower "
            "--share or another --kind"
        )
    t = (steps[after] - window.closed).astype(float)
    kept = known[np.ix_(after, had)].mean(axis=1)
    rows = [base, *after]
    between = int(((kept > 0) & (kept < 1)).sum())
    if between < 3:
        warn(
            f"only {between} of {len(kept)} shares after the window closed lie between 0 and 1: their fits say little, "
            "the log-probability says more; evaluate more often there"
        )
    return {
        "closed": window.closed,
        "known_at": int(steps[base]),
        "facts": int(had.sum()),
        "points_between_0_and_1": between,
        "t": [0.0, *t.tolist()],
        "share_known": [1.0, *kept.tolist()],
        "mean_log_probability": np.nanmean(logp[rows], axis=1).tolist(),
        "mean_log_probability_known": np.nanmean(logp[np.ix_(rows, np.flatnonzero(had))], axis=1).tolist(),
        "fits": fit_laws(t, kept),
    }


def retainability(answers: Answers, logp: np.ndarray, window: Window) -> dict[str, Any]:
    """E = l(t_LAM) - l(t_pre), the gain of the whole window (not of one encounter as in Chang et al.), R(t) = [l(t_LAM + t) - l(t_pre)] / E, per fact; means without outliers."""
    steps = answers.steps
    if window.opened is None:
        return {"refused": "--opened STEP is needed for l(t_pre), the log-probability before the window"}
    before = last_at_or_before(steps, window.opened)
    if before is None:
        return {
            "refused": f"no evaluation at or before step {window.opened}, when the window opened "
            f"(the first is at {steps[0]})"
        }
    # the maximum after the last encounter: while facts are still shown, nothing is forgetting
    inside = np.flatnonzero((steps >= window.closed) & (steps <= window.closed + window.lam_horizon))
    if not len(inside):
        return {
            "refused": f"no evaluation from step {window.closed} on, when the window closed, up to {window.lam_horizon} steps "
            "later; try a greater --lam-horizon, or --eval-at windows"
        }
    finite = np.isfinite(logp[[before, *inside]]).all(axis=0)
    logp = logp[:, finite]
    if not finite.any():
        return {"refused": "no fact has a finite log-probability at every evaluation of the window"}
    common = inside[int(np.argmax(logp[inside].mean(axis=1)))]
    peak = np.full(logp.shape[1], common) if window.lam == "mean" else inside[np.argmax(logp[inside], axis=0)]
    facts = np.arange(logp.shape[1])
    effect = logp[peak, facts] - logp[before]
    gained = effect > 0
    curve: dict[int, list[np.ndarray]] = {}
    for start in np.unique(peak[gained]):
        of = np.flatnonzero(gained & (peak == start))
        for row in range(start, len(steps)):
            ratio = (logp[row, of] - logp[before, of]) / effect[of]
            curve.setdefault(int(steps[row] - steps[start]), []).append(ratio)
    t = sorted(curve)
    kept = [inliers(np.concatenate(curve[time])) for time in t]
    means = np.array([values.mean() if len(values) else np.nan for values in kept])
    effects = inliers(effect)
    return {
        "t_pre": int(steps[before]),
        "t_lam": int(steps[common]),
        "lam": window.lam,
        "facts": int(len(effect)),
        "left_out": int((~finite).sum()),
        "facts_without_gain": int((~gained).sum()),
        "effectivity": float(effects.mean()),
        "effectivity_outliers": int(len(effect) - len(effects)),
        "t": t,
        "retainability": means.tolist(),
        "facts_used": [len(values) for values in kept],
        "fits": fit_laws(np.array(t, float), means),
    }


def analyse(answers: Answers, known: np.ndarray, logp: np.ndarray, window: Window) -> dict[str, Any]:
    if window.opened is not None and window.opened >= window.closed:
        raise Refusal(f"the window opens at step {window.opened}, not before it closes at {window.closed}", 2)
    return {**known_retention(answers, known, logp, window), "log_probability": retainability(answers, logp, window)}


def draw(result: dict[str, Any], answers: Answers, logp: np.ndarray, window: Window, path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    chang = result["log_probability"]
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.2), dpi=140)
    curves = [
        (
            result["t"],
            result["share_known"],
            result["fits"],
            "share of the facts known at closing",
            "steps since the window closed",
        )
    ]
    if "refused" not in chang:
        curves.append(
            (
                chang["t"],
                chang["retainability"],
                chang["fits"],
                "retainability R(t)",
                f"steps since t_LAM ({chang['t_lam']})",
            )
        )
    for ax, (t, values, fits, label, below) in zip(axes, curves):
        t, values = np.array(t, float), np.array(values, float)
        ax.plot(t[t > 0], values[t > 0], "ko", markersize=4, label="measured")
        for (name, fit), color in zip(fits.items(), ("#0b6e99", "#d9730d", "#6940a5")):
            if "refused" not in fit:
                fine = np.geomspace(t[t > 0].min(), t.max(), 200)
                quality = "" if fit["r2"] is None else f", R² {fit['r2']:.3f}"
                ax.plot(
                    fine, evaluate(name, fit, fine), color=color, linewidth=1.4, label=name.replace("_", "-") + quality
                )
        ax.set(xscale="log", xlabel=below, ylabel=label)
        ax.legend(frameon=False, fontsize=8)
    if "refused" in chang:
        axes[1].text(
            0.5,
            0.5,
            "no retainability:\n" + chang["refused"],
            ha="center",
            va="center",
            fontsize=8,
            wrap=True,
            transform=axes[1].transAxes,
        )
    axes[2].plot(answers.steps, np.nanmean(logp, axis=1), "o-", color="#0f7b6c", markersize=3)
    axes[2].axvspan(
        answers.steps[0] if window.opened is None else window.opened,
        window.closed,
        color="#e9e5e3",
        zorder=0,
        label="window",
    )
    axes[2].set(xlabel="step", ylabel="mean log-probability (nats an answer)")
    axes[2].legend(frameon=False, fontsize=8)
    for ax in axes:
        ax.grid(alpha=0.25)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
