"""What goes with a world: whose questions are trained on (--qa), and how to mix the compact form (--compact)."""

from __future__ import annotations

import numpy as np

from knapsack.common.errors import UsageError
from knapsack.synbio.population import QA_STREAM, Population, random_stream, ranks_in_groups

TRAINED, HELD_OUT = "trained_qa", "held_out_qa"


def trained_on_questions(population: Population, share: float) -> np.ndarray | None:
    """True for the people whose questions are in PREFIX_qa: the same share of every group, as exactly as whole people
    allow. None without --qa."""
    if not 0.0 <= share <= 1.0:
        raise UsageError(f"--qa {share:g}: expected a fraction of the people from 0 to 1")
    if share == 0.0:
        return None
    groups = len(population.group_names)
    key = random_stream(population.seed, QA_STREAM).permutation(len(population))
    sizes = np.bincount(population.group, minlength=groups)
    taken = np.rint(share * sizes).astype(np.int64)
    lacking = np.flatnonzero((taken == 0) | ((taken == sizes) & (share < 1.0)))
    if len(lacking):
        group = int(lacking[0])
        raise UsageError(
            f"--qa {share:g}: {taken[group]} of the {sizes[group]} people of group '{population.group_names[group]}' "
            "would be trained on questions; expected at least one who is and one who is not; try more people or fewer "
            "groups"
        )
    return ranks_in_groups(key, population.group, groups) < taken[population.group]


def question_groups(population: Population, trained: np.ndarray | None) -> tuple[list[str], list[float], np.ndarray]:
    """Names and weights of the question set's groups, and everybody's. With --qa each group of the world is split into
    those whose questions are trained on and the others, its weight in proportion to the people."""
    names, weights = population.group_names, population.group_weights
    if trained is None:
        return names, weights, population.group
    if trained.all():
        halves, half = (TRAINED,), np.zeros(len(population), np.int64)
    else:
        halves, half = (TRAINED, HELD_OUT), (~trained).astype(np.int64)
    group = population.group.astype(np.int64) * len(halves) + half
    counts = np.bincount(group, minlength=len(names) * len(halves)).reshape(len(names), -1)
    shares = counts / counts.sum(axis=1, keepdims=True)
    return (
        list(halves) if len(names) == 1 else [f"{name}/{half}" for name in names for half in halves],
        [float(weight * share) for weight, of_group in zip(weights, shares) for share in of_group],
        group.astype(np.uint32),
    )


def mixing_advice(base: str, biography: float, compact: float) -> list[str]:
    """Mean lengths in tokens, EOT included. A share tau of the biographies' tokens is added in compact form and both
    together keep the mixing ratio r, so that every tau has the same budget."""

    def gain(tau: float) -> float:
        return (1.0 + tau * biography / compact) / (1.0 + tau)

    gains = ", ".join(f"{gain(tau):.2f} at tau = {tau:g}" for tau in (0.1, 0.3, 0.6))
    return [
        f"  for a mixing ratio r and a compact share tau: --ratio {base}=r/(1+tau) "
        f"--ratio {base}_compact=r*tau/(1+tau)",
        f"  a biography has {biography:.1f} tokens, a compact one {compact:.1f} (with EOT); a fact is met more often "
        f"by a factor of {gains}",
    ]
