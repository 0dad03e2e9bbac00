"""Wrong answers that compete with the right one: values that other people have, the same for all templates of a fact.
A value that nobody has would be given away by its never having occurred, without any fact being known. They depend on
the seed, the population and the person, not on who else is asked."""

from __future__ import annotations

import numpy as np

from knapsack.common.errors import UsageError
from knapsack.synbio.population import CANDIDATE_STREAM, Population


def check_candidates(population: Population, count: int) -> None:
    if count < 0:
        raise UsageError(f"--candidates {count}: expected 0 or more")
    for slot in population.slots:
        if count > len(slot.pool) - 1:
            raise UsageError(
                f"--candidates {count}: {slot.name} has {len(slot.pool)} values, so at most "
                f"{len(slot.pool) - 1} wrong ones"
            )


def rivals(population: Population, people: np.ndarray, count: int) -> np.ndarray:
    """(people, slots, count): numbers of values, all different and none the right one."""
    slots = population.slots
    drawn = np.empty((len(people), len(slots), count))
    for row, person in enumerate(people if count else ()):
        seed = np.random.SeedSequence(population.seed, spawn_key=(CANDIDATE_STREAM, int(person)))
        drawn[row] = np.random.default_rng(seed).random((len(slots), count))
    chosen = np.empty(drawn.shape, np.int64)
    for slot, info in enumerate(slots):
        used = np.unique(population.values[:, slot])
        values = used if len(used) > count else np.arange(len(info.pool))  # too few people: the whole pool
        # places in `values`, in ascending order
        taken = np.searchsorted(values, population.values[people, slot]).astype(np.int64)[:, None]
        for k in range(count):
            # A number among those not taken yet, then moved up over the taken ones below it.
            number = (drawn[:, slot, k] * (len(values) - 1 - k)).astype(np.int64)
            for column in taken.T:
                number += number >= column
            chosen[:, slot, k] = values[number]
            taken = np.sort(np.concatenate([taken, number[:, None]], axis=1), axis=1)
    return chosen
