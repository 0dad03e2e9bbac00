"""When facts are learned and forgotten: joins the per-question answers (dev/formats.md, 8) of several checkpoints.

  curves.py runs/a --out out/a                                          (a run trained with --per-question on)
  curves.py step_1000.jsonl step_2000.jsonl --out out/a                 (files of eval_knowledge --per-question)
  curves.py runs/a --out out/a --opened 100 --closed 500                (and retention after a window: --window 0.1:0.5)

A fact is known at a step when at least --share of its questions of --kind are right. Writes
  PREFIX.csv   a row a fact: when it was first learned and last forgotten, how often forgotten, exposures needed
  PREFIX.json  curves by step (all, by group, by attribute), quantiles of the exposures needed, retention
  PREFIX.png, and PREFIX.retention.png with --closed or --window

Exposures needed: the fact's count at the first step from which it stays known to the end; an upper bound, since it was
learned between that step and the one before (exposures_before). Facts not known at the end are censored at their
exposures at the end; quantiles are Kaplan-Meier's. Facts whose lines carry no exposures are left out of them.

--window with --placement: give the part that the placement names, since --eval-at windows evaluates there. Of a source
shown in the whole run, front:0.3 is --window 0:0.3, burst:0.5:0.2 is 0.4:0.6.
What of retention cannot be told is said as a warning and under "refused" in PREFIX.json; the rest is written.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

from knapsack.analysis.forgetting import retention
from knapsack.runs.answers import Answers, Refusal, read_answers, warn
from knapsack.analysis.forgetting.histories import EMPTY, histories, kaplan_meier, known_matrix, summary

COLUMNS = (
    "source",
    "entity",
    "attribute",
    "group",
    "first_learned_step",
    "first_learned_exposures",
    "last_forgotten_step",
    "times_forgotten",
    "known_at_first",
    "known_at_end",
    "exposures_at_end",
    "exposures_needed",
    "exposures_before",
    "never_learned",
    "censored",
)


def write_csv(path: Path, answers: Answers, facts: dict[str, np.ndarray]) -> None:
    columns = [facts[name].tolist() for name in COLUMNS[4:]]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for fact, group, *numbers in zip(answers.facts, answers.group, *columns):
            writer.writerow([*fact, group, *("" if number == EMPTY else number for number in numbers)])


def strict(value: Any) -> Any:
    """JSON has no NaN: null stands for what is not a finite number."""
    if isinstance(value, dict):
        return {name: strict(item) for name, item in value.items()}
    if isinstance(value, list):
        return [strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def draw(out: dict[str, Any], facts: dict[str, np.ndarray], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(11, 8), dpi=140)
    steps, whole = out["steps"], out["all"]
    axes[0, 0].plot(
        steps,
        whole["share_known"],
        "o-",
        color="#0b6e99",
        markersize=3,
        label=f"facts known (share {out['share']:g} of {out['kind']} questions)",
    )
    axes[0, 0].plot(steps, whole["accuracy"], "--", color="#d9730d", label="questions right")
    axes[0, 0].set(xlabel="step", ylabel="share", ylim=(-0.03, 1.03))
    axes[0, 1].plot(
        steps,
        [math.nan if v is None else v for v in whole["mean_nll"]],
        "o-",
        color="#0f7b6c",
        markersize=3,
        label="nll",
    )
    axes[0, 1].set(xlabel="step", ylabel="mean nll (nats an answer)")
    if whole["mean_exposures"]:
        beside = axes[0, 1].twinx()
        beside.plot(steps, whole["mean_exposures"], ":", color="#787774")
        beside.set_ylabel("mean exposures (dotted)")
    part = "by_group" if len(out["by_group"]) > 1 else "by_attribute"
    shown = list(out[part].items())[:12]
    for number, (name, values) in enumerate(shown):
        axes[1, 0].plot(
            steps,
            values["share_known"],
            color=plt.get_cmap("viridis")(number / max(1, len(shown) - 1) * 0.9),
            label=name,
        )
    left_out = len(out[part]) - len(shown)
    axes[1, 0].set(
        xlabel="step",
        ylabel="share of facts known",
        ylim=(-0.03, 1.03),
        title=part.replace("_", " ") + (f" (first 12, {left_out} not shown)" if left_out else ""),
    )
    if out["exposures_needed"]:
        known, told = facts["known_at_end"] == 1, facts["exposures_told"]
        times = np.where(known, facts["exposures_needed"], facts["exposures_at_end"])
        moments, surviving = kaplan_meier(times[told], known[told])
        axes[1, 1].step(
            [0, *moments],
            [0, *(1 - surviving)],
            where="post",
            color="#6940a5",
            label="facts known to stay (Kaplan-Meier)",
        )
        axes[1, 1].set(xlabel="exposures needed (upper bound)", ylabel="share of facts", ylim=(-0.03, 1.03))
    else:
        axes[1, 1].text(0.5, 0.5, "exposures not in the answers", ha="center", transform=axes[1, 1].transAxes)
    for ax in axes.flat:
        ax.grid(alpha=0.25)
        if ax.get_legend_handles_labels()[1]:
            ax.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def window_of(args: argparse.Namespace) -> retention.Window | None:
    opened, closed = args.opened, args.closed
    if args.window:
        try:
            begin, end = (float(part) for part in args.window.split(":"))
        except ValueError:
            begin, end = 1.0, 0.0
        if not 0 <= begin < end <= 1 or closed is not None or opened is not None:
            raise Refusal(
                f"--window {args.window}: expected fractions a:b with 0 <= a < b <= 1, without --opened and --closed", 2
            )
        configs = [path / "config.json" for path in args.paths if (path / "config.json").is_file()]
        try:
            steps = json.loads(configs[0].read_bytes()).get("steps") if len(configs) == 1 else None
        except (OSError, ValueError, AttributeError):
            steps = None
        if not isinstance(steps, int):
            raise Refusal(
                "--window needs one run directory whose config.json tells the steps; give --opened and --closed as "
                "steps",
                2,
            )
        # as --eval-at windows rounds, and with its 1e-9 (0.3 * 10 is 3)
        opened, closed = math.floor(begin * steps + 1e-9), math.ceil(end * steps - 1e-9)
    if closed is None:
        if opened is not None:
            raise Refusal("--opened needs --closed", 2)
        return None
    return retention.Window(closed, opened, args.lam_horizon, args.lam)


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, metavar="FILE|RUN")
    parser.add_argument("--out", type=Path, required=True, metavar="PREFIX")
    parser.add_argument("--kind", default="seen", help="seen (default), heldout, question, or all")
    parser.add_argument("--share", type=float, default=0.5, help="of a fact's questions that must be right (0.5)")
    parser.add_argument("--source", help="only facts of this source")
    parser.add_argument("--set", dest="set_name", help="only questions of this set")
    parser.add_argument(
        "--common", action="store_true", help="where steps asked different questions, take those asked at every step"
    )
    parser.add_argument("--closed", type=int, metavar="STEP", help="a window ended here: fit retention after it")
    parser.add_argument("--opened", type=int, metavar="STEP", help="and began here: effectivity and retainability too")
    parser.add_argument(
        "--window",
        metavar="a:b",
        help="the same as fractions of the run's steps; with --placement those of the part that it names (see above)",
    )
    parser.add_argument(
        "--lam-horizon",
        type=int,
        default=50,
        metavar="STEPS",
        help="t_LAM is sought up to this long after closing (50)",
    )
    parser.add_argument(
        "--lam",
        choices=["mean", "fact"],
        default="mean",
        help="t_LAM of the mean over facts (default) or each fact's own",
    )
    args = parser.parse_args(argv)
    if not 0 < args.share <= 1 or args.lam_horizon < 0:
        parser.error("--share must be in (0, 1], --lam-horizon not negative")
    return args


def retained(answers: Answers, known: np.ndarray, logp: np.ndarray, window: retention.Window) -> dict[str, Any]:
    """What cannot be told is said; the curves do not depend on it."""
    try:
        sources = sorted({source for source, _, _ in answers.facts})
        if len(sources) > 1:
            raise Refusal(f"a window is one source's, the answers are of {', '.join(sources)}; choose with --source")
        return retention.analyse(answers, known, logp, window)
    except Refusal as error:
        warn(f"no retention: {error}")
        return {"refused": str(error)}


def main(argv: list[str]) -> int:
    args = parse_arguments(argv)
    try:
        window = window_of(args)
        answers = read_answers(args.paths, args.kind, args.source, args.set_name, args.common)
        if len(answers.steps) == 1:
            warn(f"only step {answers.steps[0]}: nothing can be said about learning and forgetting between steps")
        known = known_matrix(answers, args.share)
        facts = histories(answers, known)
        out = summary(answers, known, facts, args.share, args.kind)
    except Refusal as error:
        print(f"knapsack curves: {error}", file=sys.stderr)
        return error.code
    if window:
        logp = -np.stack([answers.by_fact(row.astype(float)) for row in answers.nll])
        out["retention"] = retained(answers, known, logp, window)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    at = lambda ending: args.out.with_name(args.out.name + ending)  # noqa: E731
    write_csv(at(".csv"), answers, facts)
    draw(out, facts, at(".png"))
    if window and "refused" not in out["retention"]:
        retention.draw(out["retention"], answers, logp, window, str(at(".retention.png")))
    at(".json").write_text(json.dumps(strict(out), indent=1, allow_nan=False) + "\n")
    needed = out["exposures_needed"]
    print(
        f"{args.out}: {len(answers.facts):,} facts, {len(answers.fact_of):,} questions, {len(answers.steps)} steps; "
        f"known at the end {out['all']['share_known'][-1]:.3g}"
        + (f"; median exposures needed {needed['all']['q50']}" if needed else "")
    )
    return 0
