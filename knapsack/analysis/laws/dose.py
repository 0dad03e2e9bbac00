"""The law of doses, fitted to all answers of all runs at once:

    logit p = k (ln F - c + gamma ln M - (1 - beta) ln S)        y = ln F50 = c - gamma ln M + (1 - beta) ln S

with random effects of runs (and of clusters: trunks, replicates) and of people, guess and lapse. beta = 1: exposures
alone count; beta = 0: their frequency alone, no length of training helps. The same with another dose: F = r gives the
critical ratio, F = M at one ratio the critical size (critical.py).

The shape (k, lapse, people's spread) and the law (b, spread of runs) are maximised in turn, each given the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from knapsack.analysis.intervals import Estimate
from knapsack.analysis.laws.evidence import Answers, Evidence, Shape, of_answers
from knapsack.analysis.laws.mixed import Fit, fit
from knapsack.analysis.psychometric import MOST_GUESS, MOST_LAPSE, SLOPES, Cells

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
LOG_WEIGHTS = np.log(WEIGHTS / WEIGHTS.sum())
ROUNDS, CLOSE = 6, 0.01  # of the turns; of the log-likelihood
SPENT = 2  # k and lapse, where runs of one dose each determine them by their scatter
MOST_PEOPLE = 2.0  # standard deviation of people, ln F


@dataclass
class DoseLaw:
    fit: Fit
    shape: Shape | None  # None: thresholds as given, not answers
    covariates: list[str]  # M, S, ... whose logarithms are in the law

    def row(self, values: dict[str, float]) -> np.ndarray:
        return np.array([1.0, *(np.log(values[name]) for name in self.covariates)])

    def exponents(self) -> dict[str, Estimate]:
        """gamma (of M, F50 falls) and beta (of S), or the bare exponent of another covariate; k is the shape's."""
        named = {"M": ("gamma", -1.0, 0.0), "S": ("beta", -1.0, 1.0)}
        found = {}
        for name in self.covariates:
            label, sign, add = named.get(name, (f"exponent of {name}", 1.0, 0.0))
            found[label] = self.fit.estimate(f"ln {name}", sign, add)
        return found

    def F50(self, values: dict[str, float], error: float = 0.0) -> Estimate:
        """Of a new run."""
        return Estimate(*map(float, np.exp(self.fit.predict(self.row(values), error))))


def design(covariates: dict[str, np.ndarray], n: int) -> tuple[list[str], np.ndarray]:
    """Of n runs. Those that vary; the others are in the constant."""
    varied = [name for name, values in covariates.items() if len(np.unique(values)) > 1]
    return varied, np.column_stack([np.ones(n), *(np.log(covariates[name]) for name in varied)])


def fit_thresholds(evidence: Evidence, covariates: dict[str, np.ndarray], cluster: np.ndarray) -> DoseLaw:
    varied, X = design(covariates, evidence.runs)
    return DoseLaw(fit(["c", *(f"ln {name}" for name in varied)], X, evidence, cluster), None, varied)


class ShapeStep:
    """log P(answers | shape, law), the runs' y integrated at nodes around where they are now."""

    def __init__(self, answers: Answers, evidence: Evidence, mean: np.ndarray, sd: float) -> None:
        centre, spread = evidence.posterior(mean, sd)
        self.answers, self.mean, self.sd, self.centre = answers, mean, sd, centre
        self.spread = spread

    def loglik(self, shape: Shape, narrower: float) -> float:
        """`narrower`: by how much the spread of runs shrinks as the slope grows, which leaves it alone on the logit."""
        sd = max(self.sd / narrower, 1e-3)
        y = self.centre[:, None] + self.spread[:, None] * NODES
        proposal = LOG_WEIGHTS + 0.5 * NODES**2 + np.log(self.spread)[:, None]
        prior = -0.5 * ((y - self.mean[:, None]) / sd) ** 2 - np.log(sd)
        found = self.answers.loglik(y, shape) + prior + proposal
        top = found.max(axis=1)
        return float((top + np.log(np.exp(found - top[:, None]).sum(axis=1))).sum())

    def best(self, shape: Shape, people: bool) -> Shape:
        """`people`: their spread is fitted, not 0."""
        free = np.flatnonzero([True, people, True, self.answers.free])

        def read(v: np.ndarray) -> Shape:
            full = start.copy()
            full[free] = v
            k, spread, lapse, guess = full
            k, spread = np.exp(np.clip([k, spread], np.log(0.05), np.log([SLOPES[1], MOST_PEOPLE])))
            return Shape(k, spread if people else 0.0, MOST_LAPSE * expit(lapse), MOST_GUESS * expit(guess))

        def loss(v: np.ndarray) -> float:
            tried = read(v)
            weak = logit([tried.lapse / MOST_LAPSE, tried.guess / MOST_GUESS]) + 1.5  # holds what nothing determines
            return -self.loglik(tried, tried.k / shape.k) + 1e-3 * float(weak @ weak)

        shares = np.clip([shape.lapse / MOST_LAPSE, shape.guess / MOST_GUESS], 1e-3, 1 - 1e-3)
        start = np.array([np.log(shape.k), np.log(max(shape.people, 0.05)), *logit(shares)])
        corners = np.vstack([start[free], start[free] + np.diag(np.array([0.15, 0.25, 0.5, 0.5])[free])])
        options = {"xatol": 0.01, "fatol": 0.02, "maxfev": 120, "initial_simplex": corners}
        return read(minimize(loss, start[free], method="Nelder-Mead", options=options).x)


def fit_answers(
    runs: list[Cells],
    covariates: dict[str, np.ndarray],
    cluster: np.ndarray,
    people: bool = True,
    start: Shape | None = None,
) -> DoseLaw:
    """A run a Cells, an element of each covariate and of `cluster`. Without `people` a run's answers are independent
    given its own threshold, as where a run is known by its accuracy. `start`: a shape near by, such as of more runs."""
    varied, X = design(covariates, len(runs))
    names = ["c", *(f"ln {name}" for name in varied)]
    answers, shape, law = Answers(runs), start or Shape(people=Shape().people * people), None
    for _ in range(ROUNDS):
        evidence = of_answers(answers, shape)
        before, law = law, fit(names, X, evidence, cluster, law, 0 if people else SPENT)
        if before is not None and abs(law.loglik - before.loglik) < CLOSE:
            break
        spread = float(np.hypot(law.sd_run, law.sd_cluster or 0.0))
        shape = ShapeStep(answers, evidence, X @ law.b, spread).best(shape, people)
    return DoseLaw(law, shape, varied)
