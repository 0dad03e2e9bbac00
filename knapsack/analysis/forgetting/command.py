"""When facts are learned and forgotten: joins the per-question answers (dev/formats.md, 8) of several checkpoints.

  knapsack curves runs/a --out out/a                                    (a run trained with --per-question on)
  knapsack curves step_1000.jsonl step_2000.jsonl --out out/a           (files of eval_knowledge --per-question)
  knapsack curves runs/a --out out/a --opened 100 --closed 500          (and retention after a window: --window 0.1:0.5)
  knapsack curves runs/1 runs/2 runs/3 --out out/all --window 0.1:0.5   (replicates: intervals over runs)

A fact is known at a step when at least --share of its questions of --kind are right. Writes
  PREFIX.csv   a row a fact: when it was first learned and last forgotten, how often forgotten, exposures then; its dose
               where the run has --exposures NAME=random:LO:HI (and by_dose in PREFIX.json)
  PREFIX.json  curves by step (all, by group, by attribute), exposures needed, retention
  PREFIX.png, and PREFIX.retention.png with --closed or --window

Exposures needed: F50 of a curve with guesses and lapses through all answers at all steps (psychometric.py), 95 % over
entities; "not reached" where half are not right at the largest count. Facts whose lines have no exposures are left out.

--window with --placement: give the part that the placement names, since --eval-at windows evaluates there. Of a source
shown in the whole run, front:0.3 is --window 0:0.3, burst:0.5:0.2 is 0.4:0.6.
What cannot be said of retention is a warning and "refused" in PREFIX.json; the rest is written. Of a run that has not
finished "the end" is its last evaluation: a warning, "unfinished" in PREFIX.json, and the figures' title.

Several run directories are replicates (they differ in seeds and people alone, others are refused): a fact's history is
of one run, curves and retention are means over runs with 95 % over runs (Student's t; people in addition where runs
share them). Of two runs these are wide; the figure draws each run.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from knapsack.analysis.datasets import population_of, source_of
from knapsack.analysis.forgetting import over_runs, retention
from knapsack.analysis.forgetting.histories import histories, known_matrix, summary, write_histories
from knapsack.analysis.held import differing, other_data
from knapsack.analysis.intervals import in_words
from knapsack.analysis.outputs import check_outputs, write_json, write_text
from knapsack.common.arguments import make_parser
from knapsack.common.errors import DataError, ScriptError, UsageError
from knapsack.runs.answer_files import answer_files, run_of
from knapsack.runs.answers import Answers, Chosen, read_answers
from knapsack.runs.files import files_of, read_json, run_state, warn
from knapsack.runs.table import read_runs


def steps_of(paths: list[Path]) -> int:
    """Of the run directories among the paths, as planned: of one, or of replicates."""
    configs = [path / "config.json" for path in paths if (path / "config.json").is_file()]
    planned = {read_json(config).get("steps") for config in configs}
    steps = planned.pop() if len(planned) == 1 else None
    if type(steps) is not int or not 0 <= steps < 1 << 62:
        raise UsageError(
            "--window needs one run directory whose config.json has the steps, or several with the same; give --opened "
            "and --closed as steps"
        )
    return steps


def window_of(args: argparse.Namespace) -> retention.Window | None:
    opened, closed = args.opened, args.closed
    if args.window:
        try:
            begin, end = (float(part) for part in args.window.split(":"))
        except ValueError:
            begin, end = 1.0, 0.0
        if not 0 <= begin < end <= 1 or closed is not None or opened is not None:
            expected = "expected fractions a:b with 0 <= a < b <= 1, without --opened and --closed"
            raise UsageError(f"--window {args.window}: {expected}")
        steps = steps_of(args.paths)
        # as --eval-at windows rounds, and with its 1e-9 (0.3 * 10 is 3)
        opened, closed = math.floor(begin * steps + 1e-9), math.ceil(end * steps - 1e-9)
    if closed is None:
        if opened is not None:
            raise UsageError("--opened needs --closed")
        return None
    return retention.Window(closed, opened, args.lam_horizon, args.lam, args.ratio)


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("curves", __doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="FILE|RUN")
    parser.add_argument("--out", type=Path, required=True, metavar="PREFIX")
    add = parser.add_argument_group("what is read").add_argument
    add("--kind", default="seen", help="seen (default), heldout, question, or all")
    add("--share", type=float, default=0.5, help="of a fact's questions that must be right (0.5)")
    add("--source", help="only facts of this source")
    add("--set", dest="set_name", help="only questions of this set")
    add("--common", action="store_true", help="where steps asked different questions, take those asked at every step")
    window = parser.add_argument_group("retention after a window")
    window.add_argument("--closed", type=int, metavar="STEP", help="it ended here: fit retention after it")
    window.add_argument("--opened", type=int, metavar="STEP", help="and began here: effectivity and retainability too")
    window.add_argument("--window", metavar="a:b", help="the same as fractions of the run's steps (see above)")
    window.add_argument(
        "--lam-horizon", type=int, default=50, metavar="STEPS", help="t_LAM is sought up to this long after (50)"
    )
    window.add_argument("--lam", choices=["mean", "fact"], default="mean", help="t_LAM of the mean, or each fact's own")
    window.add_argument(
        "--ratio", choices=["sums", "facts"], default="sums", help="R(t): of sums over facts, or mean of facts' (Chang)"
    )
    args = parser.parse_args(argv)
    if not args.out.name:
        parser.error(f"--out {args.out}: expected the beginning of files' names")
    if not 0 < args.share <= 1 or args.lam_horizon < 0:
        parser.error("--share must be in (0, 1], --lam-horizon not negative")
    return args


def retained(said: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What cannot be said is a warning; the curves do not depend on it."""
    try:
        return said()
    except ScriptError as error:
        warn(f"no retention: {error}")
        return {"refused": str(error)}


def unfinished(files: list[Path], last: int) -> str | None:
    """What is to be said where the answers are of a run that is not done. Raises where they are of two runs."""
    runs = list(dict.fromkeys(run for file in files if (run := run_of(file))))
    if len(runs) > 1:
        raise UsageError(f"answers of {len(runs)} runs ({runs[0]}, {runs[1]}); a fact's history is of one")
    if not runs or (state := run_state(runs[0])) == "done":
        return None
    planned = read_json(runs[0] / "config.json").get("steps", "?")
    return f"run {runs[0]} has not finished (its state is '{state}'): the end is step {last} of {planned}"


def words(needed: dict[str, Any]) -> str:
    """F50 with its interval, or the bound."""
    if needed["F50"] is None:
        bounds = (
            f"{what} {needed[key]:.4g}" for key, what in (("more_than", ">"), ("less_than", "<")) if key in needed
        )
        return f"{next(bounds, '-')} ({needed['state']})"
    low, high = (format(end, ".3g") if end else "-" for end in needed["interval"])
    return f"{needed['F50']:.3g} [{low}, {high}]"


def logp_of(answers: Answers) -> np.ndarray:
    """(steps, facts): of a fact the mean over its questions."""
    return -np.stack([answers.by_fact(row.astype(float)) for row in answers.nll])


def of_runs(
    args: argparse.Namespace,
    runs: list[Path],
    window: retention.Window | None,
    chosen: Chosen,
    at: Callable[[str], Path],
) -> None:
    """Replicates: each read on its own, then what they say together."""
    if not all((path / "config.json").is_file() for path in args.paths):
        raise UsageError(
            "give one run, or files of one, or the directories of several runs; not runs and files together"
        )
    left_out: list[Path] = []
    table = read_runs(runs, left_out)
    if left_out:
        raise DataError(f"{left_out[0]}: a malformed file (named above); replicates are read all or not at all")
    names = differing(table)
    if said := f"differ in {', '.join(names)}" if names else other_data(table):
        shown = ", ".join(map(str, table["run"]))
        raise UsageError(f"runs {shown} {said}: they are no replicates; give runs of one setting")
    tables, said, read = [], {}, []
    for run, name in table["run"].items():
        files = answer_files([run])
        answers = read_answers(files, chosen, args.common)
        if early := unfinished(files, int(answers.steps[-1])):
            warn(early)
        known = known_matrix(answers, args.share)
        facts = histories(answers, known)
        said[str(name)] = summary(answers, known, facts, args.share, args.kind, run) | {"unfinished": early}
        facts.insert(0, "run", str(name))
        tables.append(facts)
        population = population_of(run, source_of(run, answers.facts[0][0]))
        read.append(over_runs.OfRun(str(name), answers, known, logp_of(answers), population))
    read = over_runs.at_common_steps(read)
    out = {"format_version": 3, "kind": args.kind, "share": args.share, "steps": read[0].answers.steps.tolist()}
    out |= {"all": over_runs.curve(read), "runs": said}
    if window:
        out["retention"] = retained(lambda: over_runs.analyse(read, window))

    from knapsack.analysis.forgetting import figure  # matplotlib is slow to load, and not needed to refuse

    write_text(at(".csv"), write_histories(pd.concat(tables)))
    figure.draw_runs(out, at(".png"))
    if window and "refused" not in out["retention"]:
        logp = np.stack([np.nanmean(run.logp, axis=1) for run in read], axis=1)
        figure.draw_retention(out, read[0].answers.steps, logp, window, at(".retention.png"))
    write_json(at(".json"), out)
    share = out["all"]["share_known"][-1]
    low, high = out["all"]["share_known_over_runs"][-1]
    print(f"{args.out}: {len(runs)} runs; known at the end {share:.3g} [{low:.3g}, {high:.3g}] over runs")
    for name, fit in out.get("retention", {}).get("fits", {}).items():
        if "refused" not in fit:
            print(
                f"{name}: "
                + ", ".join(
                    f"{key} {in_words([value, *fit['intervals'][key]])}" for key, value in fit["parameters"].items()
                )
            )


def main(argv: list[str]) -> None:
    args = parse_arguments(argv)

    def at(ending: str) -> Path:
        return args.out.with_name(args.out.name + ending)

    outputs = [at(ending) for ending in (".csv", ".json", ".png", ".retention.png")]
    check_outputs([args.out] * (not args.out.is_dir()) + outputs)
    window = window_of(args)
    several = [path for path in args.paths if (path / "config.json").is_file()]
    several = list({os.path.realpath(path): path for path in several}.values())
    chosen = Chosen(None if args.kind == "all" else args.kind, args.source, args.set_name)
    files = answer_files(args.paths)
    check_outputs(outputs, [*files, *files_of(run for run in {run_of(file) for file in files} if run)])
    if len(several) > 1:
        return of_runs(args, several, window, chosen, at)
    answers = read_answers(files, chosen, args.common)
    if early := unfinished(files, int(answers.steps[-1])):
        warn(early)
    if len(answers.steps) == 1:
        warn(f"only step {answers.steps[0]}: nothing can be said about learning and forgetting between steps")
    known = known_matrix(answers, args.share)
    facts = histories(answers, known)
    run = next((run for file in files if (run := run_of(file))), None)
    out = summary(answers, known, facts, args.share, args.kind, run) | {"unfinished": early}
    if lacking := out["nll_not_finite"]:
        warn(f"{lacking} answers have no finite nll; they count as wrong, and are left out of means of nll")
    logp = logp_of(answers)
    if window:
        out["retention"] = retained(lambda: retention.analyse(answers, known, logp, window))

    from knapsack.analysis.forgetting import figure  # matplotlib is slow to load, and not needed to refuse

    write_text(at(".csv"), write_histories(facts))
    figure.draw_curves(out, answers, at(".png"))
    if window and "refused" not in out["retention"]:
        figure.draw_retention(out, answers.steps, logp, window, at(".retention.png"))
    write_json(at(".json"), out)
    needed = out["exposures_needed"]
    print(
        f"{args.out}: {len(answers.facts):,} facts, {len(answers.fact_of):,} questions, {len(answers.steps)} steps; "
        f"known at the end {out['all']['share_known'][-1]:.3g}"
        + (f"; exposures needed {words(needed['all'])}" if needed and needed["all"] else "")
    )
    if window and "refused" not in out["retention"]:
        print("retention: of this run; its intervals are over people, and do not hold what another run would show")
