"""What a study takes, and what would be refused, before anything is made."""

from __future__ import annotations

import contextlib
import math
from typing import NamedTuple

from knapsack.common.errors import ScriptError
from knapsack.common.parallel import available_cores
from knapsack.runs.files import is_there, read_json
from knapsack.runs.grid import Flags
from knapsack.runs.runner import Programs, check_programs, is_finished
from knapsack.study import data
from knapsack.study.blocks import Planned, count, steps_of
from knapsack.study.choose import steps_for
from knapsack.study.declare import Step, Study
from knapsack.study.journal import events_of
from knapsack.study.rates import Clock, Cost, Way, fastest
from knapsack.study.refusals import GIB, Said, by_trainer, refusals, together

VOCABULARY = 50304  # where neither the file nor a tokenizer says it
OUT_OF_MEMORY = "out of memory"  # as the trainer says it
KEEP = 2  # checkpoints, the trainer's default
A_LINE = 260  # bytes of an answer


class Row(NamedTuple):
    """A run's needs."""

    planned: Planned
    tokens: int
    cost: Cost | None
    seconds: float | None
    memory: float | None
    disk: float
    rate: float | None
    source: str  # of the rate


def vocabulary_of(study: Study) -> tuple[int, str]:
    for path in sorted(study.data.glob("*.json")):
        size = read_json(path).get("vocab_size")
        if isinstance(size, int):
            return size, path.name
    return (study.vocabulary, "the file") if study.vocabulary else (VOCABULARY, "nothing: declare vocabulary")


def whole_flags(study: Study, one: Planned) -> Flags:
    """With the model of the trunk, where a run goes on from one."""
    if "model" in one.run.flags or not one.needs:
        return one.run.flags
    trunk = next(other for other in study.runs if other.run.name == one.needs[0])
    return {name: trunk.run.flags[name] for name in ("model",) if name in trunk.run.flags} | one.run.flags


def without_start(flags: Flags) -> Flags:
    return {name: values for name, values in flags.items() if name not in ("init", "branch")}


def shape(flags: Flags) -> str:
    return flags.get("model", ["?"])[0]


def tokens_of(one: Planned) -> tuple[int, int]:
    """(of the run, of them trained here): a branch of a horizon begins at its trunk's checkpoint."""
    flags, place = one.run.flags, f"run {one.run.name}"
    step = count(flags, "batch-tokens", place)
    if "steps" in flags:
        return count(flags, "steps", place) * step, count(flags, "steps", place) * step
    total = steps_of(flags, place) * step
    if "branch" in flags:
        return total, total - int(flags["branch"][0].rpartition("_")[2]) * step
    return total, total


def wall_rates(study: Study) -> dict[str, float]:
    """Tokens per second by model, of runs that were finished in one go, evaluations and all."""
    events = events_of(study)
    found: dict[str, list[float]] = {}
    for one in study.runs:
        kinds = [event["event"] for event in events.get(one.run.name, [])]
        if kinds == ["begins", "done"] and events[one.run.name][1].get("seconds"):
            speed = tokens_of(one)[1] / events[one.run.name][1]["seconds"]
            found.setdefault(shape(whole_flags(study, one)), []).append(speed)
    return {model: sum(speeds) / len(speeds) for model, speeds in found.items()}


def evaluations(flags: Flags, steps: int) -> int:
    """How often a run's questions are asked while it trains; windows are not counted."""
    number = 0
    for word in flags.get("eval-at", ["log"])[0].split(","):
        kind, _, value = word.partition(":")
        number += steps.bit_length() + 2 if kind == "log" else 1
        if kind == "every":
            number += steps // max(1, int(value))
    return number


def disk_of(one: Planned, steps: int, cost: Cost | None) -> float:
    """Checkpoints and answers."""
    flags = one.run.flags
    kept = len(flags.get("checkpoint-at", ["end"])[0].split(","))
    keep = int(flags.get("keep", [str(KEEP)])[0])
    checkpoints = (min(kept, keep) if keep else kept) * (cost.checkpoint if cost else 0)
    if flags.get("per-question") != ["on"]:
        return checkpoints
    questions = flags.get("questions-per-set", ["10000"])[0]
    asked = int(questions) if questions.isdecimal() else 10000
    return checkpoints + evaluations(flags, steps) * asked * A_LINE * len(flags.get("questions", []))


def rows_of(study: Study, chosen: list[Planned], clock: Clock, jobs: int) -> tuple[list[Row], list[Said]]:
    threads = max(1, available_cores() // jobs)
    walls, declared = wall_rates(study), study.rates.get("tokens_per_s", {})
    known: dict[str, tuple[float, float, str]] = {}  # rate, FLOPs a token, model
    for model, rate in declared.items():
        with contextlib.suppress(ScriptError):
            flags = whole_flags(study, chosen[0]) | {"model": [model]}
            known[model] = float(rate), clock.cost(without_start(flags)).flops_per_token, model
    rows, wrong = [], []
    for one in sorted(chosen, key=lambda one: shape(whole_flags(study, one))):
        flags = whole_flags(study, one)
        model, cost, memory = shape(flags), None, None
        try:
            cost = clock.cost(without_start(flags))
            memory = cost.memory
        except ScriptError as error:
            if not (study.rates and OUT_OF_MEMORY in str(error)):  # it is planned for another machine
                wrong.append((one.run.name, str(error)))
        rate, source = None, "unknown"
        if model in walls:
            rate, source = walls[model], "earlier runs of the study, with evaluations"
        elif model in declared:
            rate, source = float(declared[model]), f"declared, {study.rates.get('machine', 'of another machine')}"
        elif cost and not declared:
            try:
                timed = clock.time(flags, jobs, threads)
            except ScriptError as error:
                wrong.append((model, str(error)))
                timed = None
            if timed:
                rate, memory = timed.tokens_per_s, timed.memory
                busy = f", when others worked too (load {timed.load:.0f}): too slow" if timed.was_busy else ""
                source = f"timed here, {jobs} x {threads} threads{busy}"
        if rate and cost:
            known[model] = rate, cost.flops_per_token, model
        rows.append(Row(one, tokens_of(one)[1], cost, None, memory, 0.0, rate, source))
    filled = []
    for row in rows:
        if row.rate is None and row.cost and known:
            rate, flops, model = max(known.values(), key=lambda one: one[1])
            row = row._replace(rate=rate * flops / row.cost.flops_per_token, source=f"by FLOPs from {model}")
        step = count(row.planned.run.flags, "batch-tokens", row.planned.run.name)
        disk = disk_of(row.planned, tokens_of(row.planned)[0] // step, row.cost)
        filled.append(row._replace(seconds=row.tokens / row.rate if row.rate else None, disk=disk))
    order = {one.run.name: i for i, one in enumerate(chosen)}
    return sorted(filled, key=lambda row: order[row.planned.run.name]), wrong


def said_of(step: Step) -> str:
    return data.command_of(step) + (f"   (after {step.after})" if step.after else "")


def hours(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    return f"{seconds / 3600:,.1f} h" if seconds >= 36000 else f"{seconds / 60:,.1f} min"


def print_plan(study: Study, chosen: list[Planned], programs: Programs, jobs: int, timing: bool) -> int:
    """Exit code 0, 2 where something would be refused."""
    vocabulary, says = vocabulary_of(study)
    check_programs(programs)
    clock = Clock(study.out, programs.train, vocabulary, timing)
    try:
        rows, wrong = rows_of(study, chosen, clock, jobs)
        print(f"{study.path.name}: {len(chosen)} runs, {sum(row.tokens for row in rows):,} tokens to train")
        print(f"vocabulary {vocabulary}, by {says}\n")
        print(f"{'block':12} {'runs':>5} {'done':>5} {'tokens':>18} {'one at a time':>14} {'disk, GiB':>10}")
        for block in dict.fromkeys(row.planned.block for row in rows):
            of = [row for row in rows if row.planned.block == block]
            seconds = sum(row.seconds for row in of) if all(row.seconds is not None for row in of) else None
            done = sum(is_finished(row.planned.run) for row in of)
            tokens, disk = sum(row.tokens for row in of), sum(row.disk for row in of) / GIB
            print(f"{block:12} {len(of):5} {done:5} {tokens:18,} {hours(seconds):>14} {disk:10.3f}")
        say_placing(study, chosen)
        left = [row for row in rows if not is_finished(row.planned.run)]
        if all(row.seconds is not None for row in left):
            total = sum(row.seconds for row in left)
            print(f"\nnot done yet: {hours(total)} of training one at a time, {hours(total / jobs)} with --jobs {jobs}")
        print(f"\n{'model':24} {'parameters':>12} {'tokens/s':>12} {'memory, GiB':>12}  rate")
        for model in dict.fromkeys(shape(whole_flags(study, row.planned)) for row in rows):
            row = next(row for row in rows if shape(whole_flags(study, row.planned)) == model)
            speed = f"{row.rate:,.0f}" if row.rate else "?"
            size = f"{row.cost.parameters / 1e6:,.2f}M" if row.cost else "?"
            memory = f"{row.memory / GIB:.3f}" if row.memory else "?"
            print(f"{model:24} {size:>12} {speed:>12} {memory:>12}  {row.source}")
        say_sharing(study, rows, clock, programs)
    finally:
        clock.close()
    steps = [step for step in steps_for(study, chosen) if not is_there(data.stamp_of(study, step))]
    print(f"\ndata: {len(steps)} commands to go" + "".join(f"\n  {said_of(step)}" for step in steps))
    refused, not_asked = by_trainer(study, chosen, programs)
    disk, memories = sum(row.disk for row in rows), [row.memory or 0.0 for row in rows]
    refused = together([*wrong, *refused]) + refusals(study, chosen, programs, disk, memories, jobs)
    if not_asked:
        print(f"\nof {not_asked} runs the trainer checks the options alone: their data or trunks are not made yet")
    print("\nwould be refused: " + ("nothing known" if not refused else "".join(f"\n  {one}" for one in refused)))
    return 2 if refused else 0


def say_placing(study: Study, chosen: list[Planned]) -> None:
    """Of blocks that place their runs: those to come are counted as if all were needed."""
    for name in dict.fromkeys(one.block for one in chosen):
        placed, to_come = study.blocks[name].placed, study.blocks[name].to_come
        if placed is None:
            continue
        place = placed.place
        along = f"{place.flag} {place.value(place.levels[0])} to {place.levels[-1]}"
        said = f"at most {len(to_come)} more, counted above" if to_come else f"no more: {placed.why}"
        print(f"{name} places its runs along {along}, at most {place.runs}, until half of the interval of")
        print(f"  the critical dose is below {place.width:g} in ln; placed {len(placed.levels)}, {said}")


def say_sharing(study: Study, rows: list[Row], clock: Clock, programs: Programs) -> None:
    """Which way to share the cores is fastest, of the smallest and the largest model that can be timed; and which one
    makes the runs that are left soonest, each as fast as the nearer of the two for its FLOPs."""
    if not programs.train.name.endswith("_cpu") or study.rates or available_cores() < 2:
        return
    sized = sorted((row for row in rows if row.cost), key=lambda row: row.cost.flops_per_token)
    said, timed = [], []
    for row in {shape(whole_flags(study, row.planned)): row for row in (sized[:1] + sized[-1:])}.values():
        flags = whole_flags(study, row.planned)
        if ways := fastest(clock, flags, available_cores()):
            each = ", ".join(f"{way.jobs} x {way.threads} threads {way.tokens_per_s:,.0f}" for way in ways)
            busy = " (others worked too: ask again when they do not)" if any(way.was_busy for way in ways) else ""
            said.append(f"{shape(flags)}: {each} tokens/s; best --jobs {ways[0].jobs}{busy}")
            timed.append((row.cost.flops_per_token, ways))
    if not said:
        return
    print("\nsharing the cores (timed here):\n  " + "\n  ".join(said))
    left = [row for row in sized if not is_finished(row.planned.run)] or sized
    work = [(row.tokens * row.cost.flops_per_token, row.cost.flops_per_token) for row in left]
    if found := soonest(work, timed):
        (best, least), *others = found
        ratios = (f", {seconds / least:.2f} times as fast as {jobs}" for jobs, seconds in others)
        print(f"  proposed: --jobs {best}" + "".join(ratios))


def soonest(work: list[tuple[float, float]], timed: list[tuple[float, list[Way]]]) -> list[tuple[int, float]]:
    """(jobs, seconds for all), the soonest first. `work`: FLOPs of a run, and of its token; `timed`: of two models,
    FLOPs of a token and the ways to share the cores; those that both have count."""
    found = []
    for jobs in sorted(set.intersection(*({way.jobs for way in ways} for _, ways in timed))):
        seconds = 0.0
        for flops, size in work:
            model, ways = min(timed, key=lambda one: abs(math.log(one[0] / size)))
            seconds += flops / (model * next(way.tokens_per_s for way in ways if way.jobs == jobs))
        found.append((jobs, seconds))
    return sorted(found, key=lambda one: one[1])
