"""Studies: a file declares runs, measures, laws and predictions; plan them, run them, report them.

  knapsack study plan dev/studies/cpu-law.json                 (runs, tokens, hours, memory, disk; what is refused)
  knapsack study run dev/studies/cpu-law.json --jobs 2 --blocks L:1,R (in this order; L:1 is replicate 1 of L)
  knapsack study report dev/studies/cpu-law.json               (OUT/report.html, OUT/report.md)
  knapsack study scale --target gu2025-70m --have-parameters 231k      (what a small study can keep of a large one)

`run` makes the data by the file's commands, then trains and questions the runs, and writes the predictions, hashed and
dated, before the first of them. It may be stopped or killed at any moment: the same command goes on. A run is known by
its options and the content of its data, so one of the same name with others is refused. A block with "place" puts each
run where those before say that it tells most of the critical ratio or exposures, and ends when that is known well
enough. dev/formats.md, 12, has the file; dev/studies has examples. Exit codes of `run`: 1 where a run failed, 75 where
it was stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from knapsack.common.arguments import make_parser, parse_count
from knapsack.common.errors import UsageError
from knapsack.runs.runner import Programs, check_programs, find_program, gpus, start, stop_at_hangup
from knapsack.study import predictions, scale
from knapsack.study.choose import choose
from knapsack.study.declare import Study, read_study, text_before
from knapsack.study.execute import run_study, slots


def add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="the study (JSON)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="its folder (runs/NAME of NAME.json)")
    parser.add_argument("--text", metavar="FILE", help="web text, as for knapsack text")
    parser.add_argument("--train-program", type=Path, metavar="FILE")
    parser.add_argument("--eval-program", type=Path, metavar="FILE")


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("study", __doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    form = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    plan = actions.add_parser("plan", help="what it takes, and what would be refused", description=PLAN, **form)
    run = actions.add_parser("run", help="make the data, train, question", description=RUN, **form)
    report = actions.add_parser("report", help="HTML and Markdown", description=REPORT, **form)
    smaller = actions.add_parser(
        "scale", help="what a small study keeps of a large one", description=scale.__doc__, **form
    )
    scale.add_arguments(smaller)
    for one in (plan, run, report):
        add_common(one)
    for one in (plan, run):
        one.add_argument("--blocks", metavar="A,B:1,...", help="these, in this order (default: all, in the file's)")
        one.add_argument("--jobs", type=parse_count, metavar="N", help="runs at a time (default: one a GPU, else 1)")
    plan.add_argument("--no-timing", action="store_true", help="only rates that are known already")
    run.add_argument("--data-only", action="store_true", help="make the data and leave")
    run.add_argument("--slurm", metavar="PARTITION", help="by Slurm (needs submitit), --jobs at a time")
    run.add_argument("--slurm-hours", type=parse_count, default=24, metavar="H", help="of a job, at most (24)")
    return parser.parse_args(argv)


PLAN = """Runs, tokens, hours, memory and disk of a study, and what would be refused.

Hours are from a rate: of the study's own runs where some are finished, else what the file declares for another machine,
else of a short run of the model on random tokens on this machine, else of the nearest model by FLOPs. Each row says
which; but for the study's own runs evaluations come on top. Rates are kept in OUT/rates.json. The plan proposes how
many runs at a time, by timing it. A block that places its runs is counted with as many as it may have.
"""
RUN = """Makes the data, registers the predictions, trains and questions the runs. The same command goes on."""
REPORT = (
    """Writes OUT/report.md and OUT/report.html: predicted next to measured, tables, laws, figures, every command."""
)


def programs_of(args: argparse.Namespace) -> Programs:
    named = args.train_program or find_program("train_gpt"), args.eval_program or find_program("eval_knowledge")
    return Programs(*(path.absolute() for path in named))


def study_of(args: argparse.Namespace) -> Study:
    out = (args.out or Path("runs") / args.file.stem).absolute()
    text = args.text or text_before(out)
    text = str(Path(text).absolute()) if text and Path(text).exists() else text
    study = read_study(args.file, out, text)
    predictions.check_predictions(study)
    return study


def main(argv: list[str]) -> int:
    args = parse_arguments(argv)
    if args.action == "scale":
        return scale.main(args)
    study, programs = study_of(args), programs_of(args)
    if args.action == "report":
        from knapsack.study.report import write_report  # matplotlib is slow to load

        if not study.folder.is_dir():
            raise UsageError(f"{study.out}: no study was run there; `knapsack study run` comes first")
        asked, files = write_report(study, programs)
        for path in files:
            print(f"{path}: {len(asked.rows)} of {len(study.runs)} runs")
        return 3 if asked.malformed else 0
    chosen = choose(study, args.blocks)
    jobs = args.jobs or (1 if programs.train.name.endswith("_cpu") else max(1, gpus()))
    if args.action == "plan":
        from knapsack.study.plan import print_plan

        return print_plan(study, chosen, programs, jobs, timing=not args.no_timing)
    check_programs(programs)
    stop_at_hangup()
    launcher, environments = start, slots(jobs, programs)
    if args.slurm:
        from knapsack.study.slurm import Slurm

        launcher, environments = Slurm(study, args.slurm, args.slurm_hours, programs), [{} for _ in range(jobs)]
    return run_study(study, [] if args.data_only else chosen, chosen, programs, environments, launcher)
