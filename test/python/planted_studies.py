"""Studies with known truth: runs of several sizes, horizons and ratios whose people differ, whose seeds scatter, and
who miss what they know now and then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.special import expit

from knapsack.analysis.forgetting.over_runs import OfRun
from knapsack.analysis.infusion.curves import Curve as RetentionCurve
from knapsack.analysis.laws.infusion import Bracket
from knapsack.analysis.laws.placement import Rule, ended, next_level
from knapsack.analysis.points import Point
from knapsack.analysis.psychometric import Cells
from knapsack.runs.answers import Answers

SIZES = (91e3, 155e3, 231e3, 420e3, 659e3)  # parameters
REFERENCE, HORIZON = 231e3, 8e6  # where F50 is as planted: parameters, tokens


@dataclass
class Planted:
    """F50 at REFERENCE and HORIZON, exponents, and the scatter in ln F."""

    F50: float = 150.0
    gamma: float = 1.16
    beta: float = 0.6
    k: float = 3.5
    lapse: float = 0.02
    guess: float = 1 / 227
    people_sd: float = 0.35
    run_sd: float = 0.13
    trunk_sd: float = 0.1
    replicate_sd: float = 0.0  # of what the runs of all sizes with the same seeds and people share
    people: int = 160
    groups: int = 16
    questions: int = 25  # of a person
    doses: tuple[float, float] = (910.0, 1.5)  # of the first group at HORIZON, and the power law's exponent

    def ln_F50(self, M: float, S: float = HORIZON) -> float:
        return np.log(self.F50) - self.gamma * np.log(M / REFERENCE) + (1 - self.beta) * np.log(S / HORIZON)

    def run(self, random: np.random.Generator, ln_F50: float, S: float = HORIZON) -> Cells:
        """The answers at the end of a run."""
        group = np.arange(self.people) % self.groups
        dose = np.maximum(1, np.round(S / HORIZON * self.doses[0] * (1.0 + group) ** -self.doses[1]))
        own = ln_F50 + random.normal(0, self.people_sd, self.people)
        p = self.guess + (1 - self.guess - self.lapse) * expit(self.k * (np.log(dose) - own))
        asked = np.full(self.people, float(self.questions))
        right = random.binomial(self.questions, p).astype(float)
        return Cells(dose, right, asked, np.full(self.people, self.guess), np.arange(self.people))


@dataclass
class Study:
    runs: list[Cells] = field(default_factory=list)
    M: list[float] = field(default_factory=list)
    S: list[float] = field(default_factory=list)
    cluster: list[int] = field(default_factory=list)
    truth: list[float] = field(default_factory=list)  # each run's own ln F50

    def covariates(self) -> dict[str, np.ndarray]:
        return {"M": np.array(self.M), "S": np.array(self.S)}

    def take(self, chosen: np.ndarray) -> Study:
        places = np.flatnonzero(chosen)
        return Study(*([column[i] for i in places] for column in vars(self).values()))


def size_study(random: np.random.Generator, planted: Planted, sizes: tuple = SIZES, replicates: int = 3) -> Study:
    """`cluster`: each run its own; with a replicate_sd the replicate."""
    study = Study()
    common = random.normal(0, planted.replicate_sd, replicates) if planted.replicate_sd else np.zeros(replicates)
    for M in sizes:
        for replicate in range(replicates):
            y = planted.ln_F50(M) + common[replicate] + random.normal(0, planted.run_sd)
            study.runs.append(planted.run(random, y))
            cluster = replicate if planted.replicate_sd else len(study.M)
            for column, value in ((study.M, M), (study.S, HORIZON), (study.cluster, cluster), (study.truth, y)):
                column.append(value)
    return study


def horizon_study(
    random: np.random.Generator,
    planted: Planted,
    sizes: tuple = SIZES[1:4],
    horizons: tuple = (2e6, 6e6, 18e6),
    trunks: int = 3,
) -> Study:
    """Branches of trunks, which share what the trunk happened to learn."""
    study = Study()
    for M in sizes:
        for _ in range(trunks):
            trunk, number = random.normal(0, planted.trunk_sd), len(study.M)
            for S in horizons:
                y = planted.ln_F50(M, S) + trunk + random.normal(0, planted.run_sd)
                study.runs.append(planted.run(random, y, S))
                for column, value in ((study.M, M), (study.S, S), (study.cluster, number), (study.truth, y)):
                    column.append(value)
    return study


def ratio_study(
    random: np.random.Generator,
    critical: float | None = 0.22,
    ratios: tuple = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4),
    replicates: int = 3,
    k: float = 8.0,
    run_sd: float = 0.06,
    level: float = 0.0,
    replicate_sd: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Ratios and accuracies of runs on uniform people, 400 answers each; without a critical one the accuracy is about
    `level` at every ratio, its logit scattered as much as the others'. Replicates of a ratio follow one another; with a
    replicate_sd those of the same number share an effect."""
    x = np.repeat(np.array(ratios), replicates)
    scatter = random.normal(0, run_sd, len(x))
    if replicate_sd:
        scatter += np.tile(random.normal(0, replicate_sd, replicates), len(ratios))
    z = k * (np.log(x / critical) + scatter) if critical else np.log(max(level, 1e-6) / (1 - level)) + k * scatter
    return x, random.binomial(400, 0.004 + 0.976 * expit(z)) / 400


def ratio_run(
    random: np.random.Generator, ratio: float, critical: float | None, run_sd: float, level: float = 0.0, k: float = 8.0
) -> float:
    """One run of such a study."""
    z = k * np.log(ratio / critical) if critical else np.log(max(level, 1e-6) / (1 - level))
    return random.binomial(400, 0.004 + 0.976 * expit(z + k * random.normal(0, run_sd))) / 400


def placed_study(
    random: np.random.Generator, rule: Rule, critical: float | None, run_sd: float, level: float = 0.0, jobs: int = 1
) -> tuple[np.ndarray, np.ndarray, str]:
    """Ratios and accuracies of runs that follow one another, `jobs` at a time, and why they ended."""
    x: list[float] = []
    share: list[float] = []
    pending: list[float] = []
    why = ""
    while pending or not why:
        while not why and len(pending) < jobs:
            why = ended(rule, x, share)
            if why or len(x) + len(pending) >= rule.runs:
                break
            pending.append(next_level(rule, x, share, pending))
        if pending:
            x.append(pending.pop(0))
            share.append(ratio_run(random, x[-1], critical, run_sd, level))
    return np.array(x), np.array(share), why


def retention_curve(
    random: np.random.Generator, grid: tuple, fall: float, replicates: int, seed_sd: float, top: float = 0.8
) -> RetentionCurve:
    """R over exposures, saturating at `top`, lower by `fall` from the grid's fifth place on; 400 facts a run."""
    points = []
    for place, F in enumerate(grid):
        truth = top * (1 - np.exp(-F / 20)) - fall * (place >= 4)
        value = np.clip(random.binomial(400, truth, replicates) / 400 + random.normal(0, seed_sd, replicates), 0, 1)
        half = 1.96 * np.sqrt(truth * (1 - truth) / 400)
        points.append(Point(F, pd.DataFrame({"R": value, "R_low": value - half, "R_high": value + half})))
    for point in points:
        point.runs[["loss", "share", "D"]] = 3.0
    nothing = Point(0.0, pd.DataFrame({"R": []}))
    return RetentionCurve(1000, 400, "replace", 1000000, {}, points, nothing, [])


def brackets(
    random: np.random.Generator,
    a: float = 0.5,
    sizes: tuple = (1e5, 3e5, 1e6, 3e6, 1e7),
    facts: tuple = (400,),
    kappa: float = 0.0,
    budgets: tuple = (1e9,),
    delta: float = 0.0,
    scatter: float = 0.15,
    ratio: float = 2.0,
    largest: float = 1e6,
    replicates: int = 1,
    hold: str = "K",
) -> list[Bracket]:
    """What curves of a grid with this `ratio`, up to its last point within `largest`, say of
    ln F* = ln 100 + a ln M + kappa ln K + delta ln D, all over their middles."""
    found = []
    last = ratio ** np.floor(np.log(largest) / np.log(ratio))
    middle_K, middle_D = (float(np.mean(np.log(values))) for values in (facts, budgets))
    for M in sizes:
        for K in facts:
            for D in budgets:
                for _ in range(replicates):
                    y = np.log(100) + a * np.log(M / 1e6) + kappa * (np.log(K) - middle_K)
                    y += delta * (np.log(D) - middle_D) + random.normal(0, scatter)
                    low = ratio ** np.floor(y / np.log(ratio))
                    ends = (low, low * ratio) if low < last else (last, np.nan)
                    found.append(Bracket(M, D, "replace", *map(float, ends), f"M {M:g} K {K:g} D {D:g}", **{hold: K}))
    return found


def collapsing_curve(
    random: np.random.Generator, grid: tuple, critical: float, runs: int, seed_sd: float = 0.05, facts: int = 400
) -> RetentionCurve:
    """R rises early to .8 and is .55 at all F beyond the critical one."""
    points = []
    for F in grid:
        truth = 0.8 * (1 - np.exp(-F / 4)) - 0.25 * (F > critical)
        value = np.clip(random.binomial(facts, truth, runs) / facts + random.normal(0, seed_sd, runs), 0, 1)
        half = 1.96 * np.sqrt(truth * (1 - truth) / facts)
        points.append(Point(F, pd.DataFrame({"R": value, "R_low": value - half, "R_high": value + half})))
        points[-1].runs[["loss", "share", "D"]] = 3.0
    nothing = Point(0.0, pd.DataFrame({"R": []}))
    return RetentionCurve(1000, facts, "replace", 1000000, {}, points, nothing, [])


def retention_runs(
    random: np.random.Generator,
    runs: int,
    shared: bool,
    kept: Callable[[np.ndarray], np.ndarray] = lambda t: 1.1 - 0.12 * np.log(t),
    fact_sd: float = 0.3,
    wander: float = 0.03,
    own_sd: float = 0.1,
    facts: int = 40,
) -> list[OfRun]:
    """Runs whose window is open from step 0 to 100; R(t) = kept(t) after it. A fact has a part of its own that stays
    for good (`shared`: the same in all runs), a run a shift of its own and a slow walk."""
    t = np.geomspace(5, 2000, 12).round()
    steps = np.concatenate([[0, 100], 100 + t]).astype(int)
    people, gain, found = random.normal(0, fact_sd, facts), random.uniform(2, 4, facts), []
    for run in range(runs):
        own = people if shared else random.normal(0, fact_sd, facts)
        walk = np.cumsum(random.normal(0, wander, len(t))) / np.sqrt(3) + random.normal(0, own_sd)
        after = kept(t)[:, None] + own + walk[:, None]
        logp = -8 + np.vstack([np.zeros(facts), np.ones(facts), after]) * gain
        logp[1:] += random.normal(0, 0.1, (len(steps) - 1, facts))
        names = [("bio", i, "city") for i in range(facts)]
        known, empty = np.ones(logp.shape, bool), np.zeros(logp.shape)
        answers = Answers(steps, names, ["all"] * facts, np.arange(facts), known, -logp, empty)
        found.append(OfRun(f"run {run}", answers, known, logp, "" if shared else str(run)))
    return found
