"""The critical infusion: the exposures F* beyond which a victim loses, over sizes M, facts K and budgets D.

    ln F* = c + a ln M (+ b_K ln K) (+ b_D ln D)                              the sign of a is the data's

One curve R(F) of an infusion study (infusion/collapse.py) is one observation: a bracket [F_lo, F_hi] of its grid, or
"more than F_max" where nothing collapsed. Both are in the likelihood as intervals (evidence.of_thresholds); a midpoint
is never regressed, a censored curve never dropped. Curves scatter about the law, normal in ln F*. Brackets are wide
next to that scatter, so the likelihood may be flat where all are met: intervals are of the profile likelihood, at the
height that gives Student's t where there is no censoring.

Rivals have as many parameters (c, a and the scatter), so that they differ in what is held alone:
    F*            the exposures of a fact                    ln F* = c + a ln M
    K F*          the exposures of all facts together        ln F* = c + a ln M - ln K
    K F* / D      the facts' share of the budget             ln F* = c + a ln M - ln K + ln D
    compute       after 6 M D                                ln F* = c + a (ln M + ln D)
(of curves along which K F is held: F*, compute and K*, the number of facts) and next to them F* = const. The largest
size is left out and predicted; the rival of the largest predictive probability of its brackets is the best, never the
one of the best fit. The null law, "no collapse anywhere", is given up only where more curves have brackets than the
rule claims by chance (LEVEL of them; SINGLE of those that have one run a point).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from scipy.optimize import brentq, minimize
from scipy.special import log_ndtr

from knapsack.analysis.infusion.collapse import LEVEL
from knapsack.analysis.intervals import Estimate
from knapsack.analysis.laws.mixed import LEAST_SD, MOST_SD, RIDGE, standard
from knapsack.common.errors import DataError

FEWEST = 3  # sizes with a bracket
SINGLE = 0.3  # of a false collapse, of a curve of single runs: simulated up to 28 % (dev/results/infusion_coverage.md)
MORE = 4  # times the largest exposure count: where to look for a collapse that was not there
WIDEST = 12.0  # of an interval's end from the estimate, in ln F* or of an exponent: open beyond
TOLD_APART = 2.0  # of ln predictive probability
Row = dict[str, Any]


@dataclass(frozen=True)
class Bracket:
    """What one curve says of F*."""

    M: float
    D: float  # budget, tokens
    policy: str
    low: float  # F_lo; NaN: below the grid
    high: float  # F_hi; NaN: no collapse up to F_lo
    label: str = ""
    K: float = np.nan  # facts, where they are held
    KF: float = np.nan  # exposures of all facts, where these are held
    single: bool = False  # a fall that single runs show, or no point has several runs: not replicated

    @property
    def censored(self) -> bool:
        return not (np.isfinite(self.low) and np.isfinite(self.high))

    @property
    def facts(self) -> float:
        """ln K where F* is, up to ln F*: of a curve of constant K F it is ln K F - ln F*."""
        return float(np.log(self.K if np.isfinite(self.K) else self.KF))


@dataclass(frozen=True)
class Form:
    """A law of one size exponent: ln F* - known(bracket) = c + a size(bracket)."""

    says: str
    known: Callable[[Bracket], float]
    size: Callable[[Bracket], float]
    needs: str = ""  # the number that must vary for it to be a law of its own


def ln_M(row: Bracket) -> float:
    return float(np.log(row.M))


def ln_D(row: Bracket) -> float:
    return float(np.log(row.D))


EXPOSURES = Form("exposures of a fact", lambda row: 0.0, ln_M)
COMPUTE = Form("exposures of a fact, by compute", lambda row: 0.0, lambda row: ln_M(row) + ln_D(row), "D")
CONSTANT = Form("the same for all", lambda row: 0.0, lambda row: 0.0)
FORMS = {  # of curves that hold K
    "F*": EXPOSURES,
    "K F*": Form("exposures of all facts: K F = const at equal M", lambda row: -row.facts, ln_M, "facts"),
    "K F* / D": Form("share of the budget", lambda row: ln_D(row) - row.facts, ln_M, "D"),
    "compute": COMPUTE,
    "constant": CONSTANT,
}
FORMS_OF_KF = {
    "F*": EXPOSURES,
    "K*": Form("number of facts", lambda row: row.facts, ln_M, "facts"),
    "compute": COMPUTE,
    "constant": CONSTANT,
}


def varies(rows: list[Bracket], name: str) -> bool:
    return len({round(float(getattr(row, name)), 3) for row in rows}) > 1


def forms_of(rows: list[Bracket]) -> dict[str, Form]:
    """Those that differ on these curves."""
    forms = FORMS if np.isfinite(rows[0].K) else FORMS_OF_KF
    return {name: form for name, form in forms.items() if not form.needs or varies(rows, form.needs)}


def log_probability(low: np.ndarray, high: np.ndarray, sd: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a normal y of this deviation about its mean in (low, high), taken from the mean, infinite where open: its
    logarithm, and the slopes of that in the mean and in ln sd. Each (n,)."""
    a, b = low / sd, high / sd
    left, right = np.where(a > 0, -b, a), np.where(a > 0, -a, b)  # the lower tail is exact where the upper is not
    upper = log_ndtr(right)
    found = upper + np.log1p(-np.exp(np.minimum(log_ndtr(left) - upper, -1e-12)))
    at_a, at_b = (np.exp(-0.5 * z * z - found) / np.sqrt(2 * np.pi) for z in (a, b))  # densities over the probability
    a, b = (np.where(np.isfinite(z), z, 0.0) for z in (a, b))
    return found, (at_a - at_b) / sd, a * at_a - b * at_b


class Regression:
    """Interval-censored: X b and normal scatter, by maximum and profile likelihood. X: (n, p), the first column of
    ones."""

    def __init__(self, names: list[str], X: np.ndarray, rows: list[Bracket], known: np.ndarray) -> None:
        self.names, self.X, self.rows, self.known = names, X, rows, known
        self.informed = int(sum(not row.censored for row in rows))
        p = X.shape[1]
        self.freedom = self.informed - p
        if np.linalg.matrix_rank(X) < p:
            raise DataError(f"the curves do not tell {' and '.join(names)} apart: too few different values")
        if self.freedom < 1:
            said = f"{self.informed} curves with a bracket, of {len(rows)}, are too few for {', '.join(names)}"
            raise DataError(f"{said}; {advice(rows)}")
        self.b, self.sd, self.loglik = self.maximise(X, known)
        self.sd_raised = float(self.sd * np.sqrt(self.informed / self.freedom))

    def maximise(
        self, X: np.ndarray, known: np.ndarray, starts: tuple[float, ...] = (0.1, 0.6)
    ) -> tuple[np.ndarray, float, float]:
        """b, the scatter and the log-likelihood at their best; X may have no columns. `starts`: of the scatter."""
        p = X.shape[1]
        A = standard(X) if p and (X[:, 0] == 1).all() else np.eye(p)
        design = X @ A
        low, high = np.log([[row.low, row.high] for row in self.rows]).T - known
        low, high = np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)

        def loss(v: np.ndarray) -> tuple[float, np.ndarray]:
            mean = design @ v[:p]
            found, of_mean, of_sd = log_probability(low - mean, high - mean, float(np.exp(v[p])))
            slopes = np.append(2 * RIDGE * v[:p] - design.T @ of_mean, -of_sd.sum())
            return RIDGE * float(v[:p] @ v[:p]) - float(found.sum()), slopes

        middle = np.where(np.isfinite(low), np.where(np.isfinite(high), (low + high) / 2, low + 0.5), high - 0.5)
        start = np.linalg.lstsq(design, middle, rcond=None)[0]
        bounds = [(None, None)] * p + [(np.log(LEAST_SD), np.log(MOST_SD))]
        tried = [
            minimize(loss, np.append(start, np.log(sd)), jac=True, method="L-BFGS-B", bounds=bounds) for sd in starts
        ]
        best = min(tried, key=lambda one: one.fun)
        return A @ best.x[:p], float(np.exp(best.x[p])), -float(best.fun)

    def profile(self, x: np.ndarray, sign: float = 1.0) -> Estimate:
        """x b with its 95 % interval, an end None where the likelihood does not fall off to that side."""
        value = float(x @ self.b)
        drop = 0.5 * self.informed * np.log1p(stats.t.ppf(0.975, self.freedom) ** 2 / self.freedom)
        # b = B d with d_0 = x b: the other directions are those orthogonal to x
        _, _, rows = np.linalg.svd(x[None, :])
        along, others = self.X @ (x / (x @ x)), self.X @ rows[1:].T
        best = max(self.loglik, self.maximise(others, self.known + along * value)[2])

        def excess(at: float) -> float:
            return best - self.maximise(others, self.known + along * at, (max(self.sd, 0.2),))[2] - drop

        ends = []
        for side in (-1, 1):
            step, far = 0.1, value
            while abs(far - value) < WIDEST and excess(far) < 0:
                near, far, step = far, value + side * step, step * 2
            ends.append(brentq(excess, near, far, xtol=1e-3) if excess(far) >= 0 else None)
        low, high = ends
        return Estimate(value, low, high)

    def new(self, x: np.ndarray, known: float) -> Estimate:
        """ln F* of a new curve at x: the mean's interval and the scatter's together."""
        mean = self.profile(x)
        half = float(stats.t.ppf(0.975, self.freedom)) * self.sd_raised
        low, high = (
            None if end is None else mean.value + side * float(np.hypot(end - mean.value, half))
            for side, end in ((-1, mean.low), (1, mean.high))
        )
        return Estimate(*(None if end is None else end + known for end in (mean.value, low, high)))

    def probability(self, new: Estimate, row: Bracket) -> float:
        """ln P of the bracket of a new curve, Student's t with the width of its interval."""
        quantile = float(stats.t.ppf(0.975, self.freedom))
        halves = [abs(end - new.value) for end in new[1:] if end is not None]
        spread = (max(halves) if halves else WIDEST) / quantile
        low, high = np.log([row.low, row.high])
        below = stats.t.cdf((low - new.value) / spread, self.freedom) if np.isfinite(low) else 0.0
        above = stats.t.sf((high - new.value) / spread, self.freedom) if np.isfinite(high) else 0.0
        return float(np.log(max(1e-12, 1 - below - above)))


@dataclass
class Law:
    """Of all that varies, each with an exponent of its own."""

    fit: Regression
    covariates: list[str]  # M, K or KF, D

    def row(self, values: dict[str, float], policy: str) -> np.ndarray:
        found = [1.0, *(float(np.log(values[name])) for name in self.covariates)]
        return np.array(found + ([float(policy == "append")] if "append" in self.fit.names else []))

    def exponents(self) -> dict[str, Estimate]:
        names = self.fit.names[1:]
        units = np.eye(len(self.fit.names))[1:]
        found = {"a" if name == "ln M" else name: self.fit.profile(unit) for name, unit in zip(names, units)}
        return {name.removeprefix("ln "): one for name, one in found.items()}


def policy_column(rows: list[Bracket]) -> list[np.ndarray]:
    """1 where exposures are appended; none where all runs have one policy."""
    column = np.array([float(row.policy == "append") for row in rows])
    return [column] if np.ptp(column) > 0 else []


def advice(rows: list[Bracket]) -> str:
    """What to run where nothing collapsed."""
    missing = sorted({(row.M, row.low) for row in rows if np.isnan(row.high)})
    if not missing:
        return "run more sizes"
    said = ", ".join(f"M = {M:.4g} up to F = {MORE * F:g}" for M, F in missing[:4]) + (", ..." if missing[4:] else "")
    return f"run {said}, or more facts there: what is infused in all may be what fills a model"


def check_null(rows: list[Bracket]) -> Row:
    """How likely so many brackets are where nothing collapses anywhere."""
    found, single = sum(not np.isnan(row.high) for row in rows), sum(row.single for row in rows)
    of = np.arange(single + 1)  # how many of the curves of single runs; of the others the rest, or more
    p = float(stats.binom.pmf(of, single, SINGLE) @ stats.binom.sf(found - 1 - of, len(rows) - single, LEVEL))
    seen = sum(row.single for row in rows if not np.isnan(row.high))
    said = {"curves": len(rows), "collapsed": found, "single": single, "not_replicated": seen, "p": p}
    return said | {"rejected": bool(found and p < LEVEL)}


def fit_law(rows: list[Bracket]) -> Law:
    """Raises DataError, with what to run, where there is no law."""
    null = check_null(rows)
    if not null["rejected"]:
        chance = f"no more than the rule claims by chance (p = {null['p']:.2g})"
        said = (
            f"{null['collapsed']} of {null['curves']} curves collapse, {chance}"
            if null["collapsed"]
            else "none collapses"
        )
        raise DataError(f"{said}: the null law, no collapse anywhere, is not given up; {advice(rows)}")
    sizes = {row.M for row in rows if not row.censored}
    if len(sizes) < FEWEST:
        raise DataError(f"brackets at {len(sizes)} sizes, at least {FEWEST} are needed; {advice(rows)}")
    facts = "K" if np.isfinite(rows[0].K) else "KF"
    columns = {"M": [ln_M(row) for row in rows], facts: [row.facts for row in rows], "D": [ln_D(row) for row in rows]}
    varied = {name: values for name, values in columns.items() if np.ptp(values) > 1e-3}
    policy = policy_column(rows)
    X = np.column_stack([np.ones(len(rows)), *varied.values(), *policy])
    names = ["c", *(f"ln {name}" for name in varied), *(["append"] if policy else [])]
    return Law(Regression(names, X, rows, np.zeros(len(rows))), list(varied))


def outside(value: float, row: Bracket) -> float:
    """|ln| of how far a prediction of ln F* is outside the bracket, 0 inside."""
    low, high = np.log([row.low, row.high])
    return float(max(0.0, low - value if np.isfinite(low) else 0.0, value - high if np.isfinite(high) else 0.0))


def nearest(rest: list[Bracket], row: Bracket) -> float | None:
    """ln F* of the nearest size of curves that are alike otherwise: the middle of its brackets."""
    alike = [one for one in rest if one.policy == row.policy and not varies([one, row], "facts") and one.D == row.D]
    known = [one for one in alike if not one.censored]
    if not known:
        return None
    largest = max(one.M for one in known)
    return float(np.mean([np.log(one.low * one.high) / 2 for one in known if one.M == largest]))


def hold_out(rows: list[Bracket]) -> Row:
    """The largest size left out: of each rival what it predicts, ln P of the brackets there, and how far outside them
    that is (the mean over curves)."""
    largest = max(row.M for row in rows)
    rest, out = [row for row in rows if row.M < largest], [row for row in rows if row.M == largest]
    if len({row.M for row in rest if not row.censored}) < 2:
        raise DataError("fewer than two sizes with a bracket remain without the largest")
    laws: list[Row] = []
    for name, form in forms_of(rows).items():
        said: Row = {"law": name, "says": form.says}
        try:
            laws.append(said | score(form, rest, out))
        except DataError as error:
            laws.append(said | {"refused": str(error)})
    scored = sorted((one for one in laws if "refused" not in one), key=lambda one: -one["ln_probability"])
    near = [nearest(rest, row) for row in out]
    errors = [outside(value, row) for value, row in zip(near, out) if value is not None]
    gap = scored[0]["ln_probability"] - scored[1]["ln_probability"] if len(scored) > 1 else None
    return {
        "left_out": largest,
        "brackets": [[row.low, row.high] for row in out],
        "laws": laws,
        "nearest": {"error": float(np.mean(errors)) if errors else None},
        "best": scored[0]["law"] if scored else None,
        "ahead": gap,
        "told_apart": gap is not None and gap > TOLD_APART,
    }


def score(form: Form, rest: list[Bracket], out: list[Bracket]) -> Row:
    def design(rows: list[Bracket]) -> np.ndarray:
        sizes = np.array([form.size(row) for row in rows])
        columns = [np.ones(len(rows)), *([sizes] if form is not CONSTANT else [])]
        return np.column_stack(columns + [np.array([float(row.policy == "append") for row in rows])] * both)

    both = len(policy_column(rest))
    X = design(rest)
    names = ["c", "a", "append"][: X.shape[1]]
    fit = Regression(names, X, rest, np.array([form.known(row) for row in rest]))
    new = [fit.new(x, form.known(row)) for x, row in zip(design(out), out)]
    chances = [fit.probability(one, row) for one, row in zip(new, out)]
    return {
        "parameters": X.shape[1] + 1,
        "predicted": [[None if end is None else float(np.exp(end)) for end in one] for one in new],
        "ln_probability": float(sum(chances)),
        "error": float(np.mean([outside(one.value, row) for one, row in zip(new, out)])),
    }
