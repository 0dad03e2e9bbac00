"""The runs of a law: what they share, in what they differ, and what each says of its threshold.

A study comes from run directories, whose last answers (dev/formats.md, 8) give the doses and responses of people, or
whose table gives one response at one dose; or from a table as `knapsack runs --format csv|json` writes it or as
somebody typed it, with a response at a dose, or with thresholds (columns F50 with F50_low and F50_high, or F50_error,
the standard error of ln F50; more_than, less_than).
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from knapsack.analysis.guesses import guesses_of, persons_of
from knapsack.analysis.held import REPLICATES, differing, other_data
from knapsack.analysis.laws.evidence import MOST_ANSWERS, cells_of_share
from knapsack.analysis.laws.holdout import Runs, Threshold
from knapsack.analysis.psychometric import (
    BELOW,
    DRAWS,
    NOT_REACHED,
    REACHED,
    Cells,
    Curve,
    bootstrap,
    collect,
    fit_curve,
)
from knapsack.common.errors import DataError, UsageError
from knapsack.common.numbers import is_number
from knapsack.runs.answer_files import answer_files
from knapsack.runs.answers import Chosen, read_answers
from knapsack.runs.files import read_bytes, warn
from knapsack.runs.table import check_columns, finished_runs, read_runs

TABLES = (".csv", ".json")
THRESHOLDS = ("F50", "F50_low", "F50_high", "F50_error", "more_than", "less_than")
SEEDS = (*sorted(REPLICATES), "data_seed")  # columns that tell replicates apart
WIDTH = 2 * 1.96  # of a 95 % interval, in standard errors


@dataclass
class Asked:
    """What of the runs is read: columns of the table of runs."""

    covariates: dict[str, str]  # M, S and others: column
    dose: str | None = None  # None: the exposures of the answers
    response: str | None = None
    chosen: Chosen = field(default_factory=Chosen)
    cluster: str | None = None
    guess: float | None = None
    answers: float = MOST_ANSWERS  # of a response without its answers
    free: tuple[str, ...] = ()  # options that may differ
    draws: int = DRAWS


@dataclass
class Study:
    table: pd.DataFrame  # a row a run, in order
    runs: Runs
    curves: list[Curve | None]  # of each run alone, where it has answers
    drawn: list[np.ndarray]  # of these, their bootstrap over people
    people: bool  # the answers are known by person
    clustered: str = "trunk"  # or "replicate", or the column that was named

    @property
    def names(self) -> list[str]:
        return [str(name) for name in self.table["run"]]


def read_table(path: Path) -> pd.DataFrame:
    """CSV, or JSON as a list of objects."""
    data = read_bytes(path)
    try:
        if path.suffix == ".json":
            rows = json.loads(data.decode("utf-8-sig"))
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise DataError(f"{path}: expected a list of objects, as `knapsack runs --format json` writes it")
            found = pd.DataFrame(rows, dtype=object)
        else:
            found = pd.read_csv(io.StringIO(data.decode("utf-8-sig")))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a table of runs ({str(error)[:200]})") from None
    if found.empty:
        raise DataError(f"{path}: no runs")
    found = found.astype(object).where(found.notna(), None)
    return found if "run" in found else found.assign(run=[f"{path.name}:{i + 1}" for i in range(len(found))])


def read_study(paths: list[Path], asked: Asked, left_out: list[Path]) -> Study:
    """`left_out`: runs with a malformed file, named on stderr."""
    tables = [path for path in paths if path.suffix in TABLES and not path.is_dir()]
    if tables and len(tables) < len(paths):
        raise UsageError("give tables of runs, or run directories, not both")
    table = pd.concat(map(read_table, tables), ignore_index=True) if tables else read_runs(paths, left_out)
    if table.empty:
        raise DataError(f"no run (config.json) below {', '.join(map(str, paths))}")
    if "state" in table and not tables:
        table = finished_runs(table)
    has_thresholds = bool(tables) and asked.response is None and any(name in table for name in THRESHOLDS)
    columns = [*asked.covariates.values(), *(name for name in (asked.dose, asked.response, asked.cluster) if name)]
    if wrong := check_columns(columns, table):
        raise UsageError("\n".join(wrong))
    if not has_thresholds and asked.response is None and (tables or asked.dose):
        raise UsageError("a dose needs its --response, such as know/bio/accuracy_seen; or give columns F50, more_than")
    table = with_numbers(table, [*asked.covariates.values(), *([asked.dose, asked.response] if asked.response else [])])
    check_held(table, asked)
    covariates = {name: table[column].to_numpy(float) for name, column in asked.covariates.items()}
    for name, values in covariates.items():
        if (values <= 0).any():
            raise DataError(f"{name} ({asked.covariates[name]}) is not above 0 in all runs: it has no logarithm")
    runs, clustered = Runs(covariates, clusters(table, asked.cluster), []), asked.cluster or "trunk"
    if not asked.cluster and (replicates := replicates_of(table, runs, asked.dose)) is not None:
        runs.cluster, clustered = replicates, "replicate"
    if has_thresholds:
        runs.thresholds = [threshold_of_row(row) for row in table.to_dict("records")]
        found = Study(table, runs, [None] * len(table), [], False)
    else:
        found = of_responses(table, runs, asked) if asked.response else of_answers(table, runs, asked)
    found.clustered = clustered
    return found


def with_numbers(table: pd.DataFrame, columns: list[str | None]) -> pd.DataFrame:
    """The runs with a finite number in each; others are named and left out."""
    use = np.ones(len(table), bool)
    for name in filter(None, columns):
        for i, (run, value) in enumerate(zip(table["run"], table[name])):
            if not is_number(value):
                warn(f"run {run} has no number in {name}, left out")
                use[i] = False
    if not use.any():
        raise DataError(f"no run has numbers in {', '.join(filter(None, columns))}")
    return table[use]


def check_held(table: pd.DataFrame, asked: Asked) -> None:
    """Runs of equal covariates (and dose) are replicates: an option may differ that a covariate or the dose follows."""
    used = {*asked.covariates.values(), asked.dose, asked.response, asked.cluster} - {None}
    free = {"exposures", *used, *asked.free, *THRESHOLDS}
    for options, names in (({"model"}, {"M"}), ({"tokens", "warmup"}, {"S"})):
        free |= options if names & asked.covariates.keys() else set()
    free |= {"ratio"} if any(name.startswith(("share/", "exposures/", "epochs/")) for name in used) else set()
    free |= {"model"} if asked.dose in ("parameters", "parameters_non_embedding") else set()
    if names := differing(table, free):
        raise UsageError(
            f"the runs differ in {', '.join(names)}, which no law here explains: give fewer runs, make it a covariate "
            f"(--covariate NAME={names[0]}), or say that it does not matter (--free {names[0]})"
        )
    if "source" not in free and (said := other_data(table, equal_facts=False)):
        raise UsageError(f"the runs {said}: give fewer runs, or say that it does not matter (--free source)")


def clusters(table: pd.DataFrame, column: str | None) -> np.ndarray:
    """By a column, else by the trunk that runs were branched from; a run is a trunk of its own."""
    if column:
        return pd.factorize(table[column].map(str))[0]
    trunks = []
    for index, row in table.iterrows():
        branch = row.get("branch")
        path = Path(str(branch[0] if isinstance(branch, list) else branch)) if branch else None
        trunk = path.parent.parent if path is not None and path.parent.name == "checkpoints" else path
        trunks.append(str(trunk.resolve() if trunk is not None else Path(str(index)).resolve()))
    return pd.factorize(np.array(trunks, object))[0]


def seeds_of(table: pd.DataFrame) -> np.ndarray:
    """The replicate of each run, by its seed and data-seed; all one where the table has neither."""
    columns = [table[name].map(str) for name in SEEDS if name in table]
    return pd.factorize(np.array([" ".join(row) for row in zip(*columns)] or [""] * len(table), object))[0]


def replicates_of(table: pd.DataFrame, runs: Runs, dose: str | None) -> np.ndarray | None:
    """Clusters by replicate, where there are no trunks, several replicates, and each is at several settings (of the
    covariates and the dose): what its seeds and people do is then common to these. None elsewhere."""
    replicate = seeds_of(table)
    several = len(np.unique(replicate)) > 1 and len(np.unique(runs.cluster)) == len(table)
    doses = table[dose].map(str) if dose else [""] * len(table)
    settings = pd.factorize(np.array([f"{runs.setting(i)} {one}" for i, one in enumerate(doses)], object))[0]
    at = [len(np.unique(settings[replicate == one])) for one in np.unique(replicate)]
    return replicate if several and min(at) > 1 else None


def threshold_of_row(row: dict[str, Any]) -> Threshold:
    """Of columns F50, its interval or F50_error (of ln F50), more_than, less_than."""

    def number(name: str, least: str, allowed: Callable[[float], bool]) -> float:
        value = row.get(name)
        if value in (None, "") or value != value:
            return np.nan
        try:
            found = float(value)
        except (TypeError, ValueError):
            found = np.nan
        if not np.isfinite(found) or not allowed(found):
            raise DataError(f"run {row['run']}: {name} is '{value}', not a number {least}")
        return found

    def log(name: str) -> float:
        return float(np.log(number(name, "above 0", lambda value: value > 0)))

    def check_order(*names: str) -> None:
        ends = [end for end in map(log, names) if not np.isnan(end)]
        if ends != sorted(ends):
            raise DataError(f"run {row['run']}: expected {' <= '.join(names)}")

    value, low, high = (log(name) for name in ("F50", "more_than", "less_than"))
    if np.isnan(value) and np.isnan(low) and np.isnan(high):
        raise DataError(f"run {row['run']} has neither F50 nor more_than nor less_than")
    check_order("F50_low", "F50", "F50_high")
    check_order("more_than", "less_than")
    if np.isnan(value):
        return Threshold(np.nan, 0.0, low, high)
    ends = log("F50_low"), log("F50_high")
    error = number("F50_error", "of at least 0", lambda value: value >= 0)
    if np.isnan(error) and np.isnan(ends).sum() == 1:
        raise DataError(f"run {row['run']}: F50_low without F50_high, or the other way round, is no interval")
    given = (ends[1] - ends[0]) / WIDTH if np.isnan(error) else error
    return Threshold(value, 0.0 if np.isnan(given) else given)


def of_responses(table: pd.DataFrame, runs: Runs, asked: Asked) -> Study:
    """A run is one dose and one share."""
    dose, share = (table[name].to_numpy(float) for name in (asked.dose, asked.response))
    if (dose <= 0).any() or (share < 0).any() or (share > 1).any():
        raise DataError(f"{asked.dose} must be above 0, {asked.response} a share of 0 to 1")
    guess = asked.guess if asked.guess is not None else 0.0
    runs.answers = [cells_of_share(*one, asked.answers, guess) for one in zip(dose, share)]
    runs.thresholds = [Threshold(np.nan)] * len(table)
    return Study(table, runs, [None] * len(table), [], False)


def cells_of_run(run: Path, asked: Asked) -> Cells:
    """Of its last answers."""
    answers = read_answers(answer_files([run])[-1:], asked.chosen)
    exposures = answers.exposures[-1]
    if (exposures < 0).all():
        raise DataError(f"{run}: its answers have no exposures; name a --dose and a --response of the table of runs")
    use = exposures[answers.fact_of] >= 0
    guess = guesses_of(answers, run) if asked.guess is None else np.full(len(answers.fact_of), asked.guess)
    fact = answers.fact_of[use]
    return collect(exposures[fact], answers.correct[-1][use], persons_of(answers)[fact], guess[use])


def of_answers(table: pd.DataFrame, runs: Runs, asked: Asked) -> Study:
    runs.answers = [cells_of_run(run, asked) for run in table.index]
    curves: list[Curve | None] = []
    draws = []
    for cells in runs.answers:
        curve = fit_curve(cells)
        drawn = bootstrap(cells, curve, asked.draws)
        curves.append(curve)
        draws.append(drawn)
        runs.thresholds.append(threshold_of(curve, float(drawn[:, 0].std(ddof=1))))
    return Study(table, runs, curves, draws, True)


def threshold_of(curve: Curve, error: float) -> Threshold:
    if curve.state == REACHED:
        return Threshold(curve.ln_F50, error)
    low = float(np.log(curve.doses[1])) if curve.state == NOT_REACHED else np.nan
    return Threshold(np.nan, 0.0, low, float(np.log(curve.doses[0])) if curve.state == BELOW else np.nan)
