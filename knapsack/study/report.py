"""A study's report: predicted next to measured, what failed first; tables over replicates; laws; every command."""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from knapsack.analysis.intervals import replicates
from knapsack.analysis.laws.loss import fit_loss
from knapsack.analysis.outputs import write_text
from knapsack.analysis.style import BLUE, GREY, SHADE, color_of, legend, marker_of, plt, save
from knapsack.common.errors import DataError
from knapsack.runs.files import read_bytes, read_json
from knapsack.runs.runner import Programs, eval_command, is_finished, train_command
from knapsack.runs.table import read_run
from knapsack.study import hysteresis, predictions
from knapsack.study.data import package_environment, relative
from knapsack.study.declare import PACKAGE, Block, Planned, Study, number_of, runs_at, runs_of_law
from knapsack.study.page import Code, Figure, Heading, Part, Table, Text, html_page, markdown

Rows = dict[str, dict[str, Any]]
UNITS = {"parameters": "parameters", "non-embedding": "parameters_non_embedding"}
OF_A_BUILD = ("commit", "compiler", "device", "matmul")  # of config.json
SHARES = ("accuracy", "choice", "reciprocal_rank")  # measures within 0 and 1
TIMES = "Times"  # the last section: all that differs when the same study is run again


class Asked:
    """What the report is made of, read once."""

    def __init__(self, study: Study, programs: Programs) -> None:
        self.study, self.programs = study, programs
        self.figures = study.out / "report"
        self.malformed: list[str] = []
        self.rows: Rows = {}
        for one in study.runs:
            try:
                if is_finished(one.run):
                    self.rows[one.run.name] = read_run(one.run.directory)
            except DataError as error:
                self.malformed.append(str(error))
        self.laws: dict[str, dict[str, Any]] = {}
        self.said: dict[str, tuple[list[str], str]] = {}  # command, what it said
        self.readings = {name: hysteresis.read(study, one, self.rows) for name, one in study.hysteresis.items()}

    def ask_laws(self) -> None:
        self.figures.mkdir(parents=True, exist_ok=True)
        for name, law in self.study.laws.items():
            if "loss" in law:
                self.laws[name] = self.of_loss(law)
                continue
            runs = runs_of_law(self.study, law)
            folders = [str(one.run.directory) for one in runs if one.run.name in self.rows]
            prefix = self.figures / f"law_{name}"
            files = [prefix.with_name(prefix.name + ending) for ending in (".json", ".png", ".svg")]
            for path in files:
                path.unlink(missing_ok=True)
            words = ["laws", *folders, "--out", str(prefix), *shlex.split(law.get("arguments", ""))]
            if not folders:
                self.said[name] = words, "no run of it is finished"
                continue
            done = subprocess.run(
                [sys.executable, "-m", "knapsack", *words], capture_output=True, text=True, env=package_environment()
            )
            self.said[name] = words, (done.stdout + done.stderr).strip()
            self.laws[name] = read_json(files[0])
            files[-1].unlink(missing_ok=True)  # the pages show the PNG

    def pairs_of_loss(self, law: dict[str, Any], column: str) -> tuple[np.ndarray, np.ndarray]:
        """Sizes and losses of the finished runs."""
        runs = [self.rows[run.run.name] for run in runs_of_law(self.study, law) if run.run.name in self.rows]
        pairs = [(row.get(column), row.get(law["loss"])) for row in runs]
        pairs = [pair for pair in pairs if all(map(predictions.is_number, pair))]
        return np.array([x for x, _ in pairs], float), np.array([y for _, y in pairs], float)

    def of_loss(self, law: dict[str, Any]) -> dict[str, Any]:
        """E + A M^-alpha of runs, in each unit of M; what cannot be fitted says why."""
        found: dict[str, Any] = {}
        for unit, column in UNITS.items():
            x, y = self.pairs_of_loss(law, column)
            try:
                one = fit_loss(x, y) if len(x) else None
            except DataError as error:
                found[unit] = {"refused": str(error)}
                continue
            if one is None:
                found[unit] = {"refused": "no run of it is finished"}
                continue
            alpha = list(one.alpha)
            found[unit] = {"E": one.E, "A": one.A, "alpha": alpha, "sizes": one.sizes, "note": one.note}
            found[unit]["alpha + 1"] = [end + 1 if end is not None else None for end in alpha]
        return found


def number(value: Any) -> str:
    return f"{value:.4g}" if predictions.is_number(value) else "-"


Measured = tuple[Any, Any, Any]  # a value and the ends of its interval over people, where it has one


def over_replicates(measured: Iterable[Measured], is_share: bool = False) -> str:
    """The mean with its interval over runs, of a share within 0 and 1; of one run the interval over people."""
    found = [one for one in measured if predictions.is_number(one[0])]
    if not found:
        return "-"
    if len(found) == 1:
        value, low, high = found[0]
        both = predictions.is_number(low) and predictions.is_number(high)
        return number(value) + (f" [{number(low)}, {number(high)}] people" if both else "")
    value, *sides = replicates([value for value, _, _ in found]).estimate
    if sides[0] == sides[1]:  # no scatter is no certainty: often a floor or a ceiling
        return f"{number(value)} (all {len(found)} alike)"
    low, high = (min(1.0, max(0.0, end)) if is_share else end for end in sides)
    return f"{number(value)} [{number(low)}, {number(high)}]"


def settings_of(runs: Iterable[Planned]) -> dict[tuple, list[Planned]]:
    found: dict[tuple, list[Planned]] = {}
    for one in runs:
        found.setdefault(tuple(sorted(one.setting.items())), []).append(one)
    return found


def block_parts(study: Study, block: Block, rows: Rows) -> list[Part]:
    names = list(dict.fromkeys(name for one in block.runs for name in one.setting))
    table = []
    of_block = [one for one in block.runs if one.role != "trunk"]
    if block.placed:
        of_block.sort(key=lambda one: float(block.placed.levels[one.replicate - 1]))
    for setting, runs in settings_of(of_block).items():
        done = [one for one in runs if one.run.name in rows]
        cells = []
        for measure in block.measures:
            names_of = measure, f"{measure}_low", f"{measure}_high"
            values = (tuple(map(rows[one.run.name].get, names_of)) for one in done)
            cells.append(over_replicates(values, any(word in measure.split("/")[-1] for word in SHARES)))
        table.append([*(dict(setting).get(name, "-") for name in names), f"{len(done)} of {len(runs)}", *cells])
    parts: list[Part] = [Heading(f"Block {block.name}"), *([Text(block.about)] if block.about else [])]
    parts += placing_parts(block, rows) if block.placed else []
    parts.append(Table([*names, "runs", *block.measures], table))
    return parts + (paired_parts(study, block, names, rows) if block.baseline is not None else [])


def placing_parts(block: Block, rows: Rows) -> list[Part]:
    """Where the runs of a block went, in order, and why it ended."""
    placed, place = block.placed, block.placed.place
    along = f"{place.flag} {place.value(place.levels[0])} to {place.levels[-1]}"
    said = (
        f"{len(placed.levels)} of at most {place.runs} runs were placed along {along} by {place.measure}, the first "
        f"{place.first} evenly. The rule ends where half of the interval of the critical dose is below {place.width:g} "
        "in ln. "
    )
    said += f"It ended: {placed.why}." if placed.is_over else "It has not ended."
    table = [
        [str(one.replicate), level, number(rows.get(one.run.name, {}).get(place.measure))]
        for one, level in zip(block.runs, placed.levels)
    ]
    return [Text(said), Table(["order", f"{place.flag} {place.source}", place.measure], table)]


def paired_parts(study: Study, block: Block, names: list[str], rows: Rows) -> list[Part]:
    """What each setting makes of the baseline, by replicate: the same seeds and people."""
    base = runs_at(block.baseline, block.name, study.blocks, "baseline")
    baseline = {one.replicate: rows[one.run.name] for one in base if one.run.name in rows}
    table = []
    for setting, runs in settings_of(one for one in block.runs if one.role != "trunk").items():
        if runs[0] in base:
            continue
        done = [one for one in runs if one.run.name in rows and one.replicate in baseline]
        differences = []
        for measure in block.measures:
            pairs = [(rows[one.run.name].get(measure), baseline[one.replicate].get(measure)) for one in done]
            values = [a - b for a, b in pairs if predictions.is_number(a) and predictions.is_number(b)]
            differences.append(over_replicates((value, None, None) for value in values))
        table.append([*(dict(setting).get(name, "-") for name in names), str(len(done)), *differences])
    at = ", ".join(f"{name} {value}" for name, value in block.baseline.items())
    head = Text(f"Difference to {at}, paired by replicate:")
    return [head, Table([*names, "pairs", *block.measures], table)]


def name_of(block: str, setting: Iterable[tuple[str, str]]) -> str:
    return ", ".join([block, *(value if name == "run" else f"{name} {value}" for name, value in setting)])


def table_parts(study: Study, name: str, rows: Rows) -> list[Part]:
    """Settings of several blocks by one measure, next to differences that are paired by replicate."""
    table = study.tables[name]
    parts: list[Part] = [Heading(f"Table {name}"), *([Text(table["about"])] if table.get("about") else [])]
    against = []
    for setting in table["against"]:
        runs = runs_at(setting, table["blocks"][0], study.blocks, "against")
        label = name_of(runs[0].block, ((key, value) for key, value in setting.items() if key != "block"))
        against.append((label, {one.replicate: one.run.name for one in runs}))
    for measure in table["measures"]:
        lines = []
        for block in table["blocks"]:
            arms = settings_of(one for one in study.blocks[block].runs if one.role != "trunk")
            for setting, runs in arms.items():
                done = {one.replicate: rows[one.run.name].get(measure) for one in runs if one.run.name in rows}
                found = {number: value for number, value in done.items() if predictions.is_number(value)}
                cells = [over_replicates((value, None, None) for value in found.values())]
                for _, others in against:
                    pairs = [(value, rows.get(others.get(number), {}).get(measure)) for number, value in found.items()]
                    differences = [value - other for value, other in pairs if predictions.is_number(other)]
                    is_itself = runs[0].run.name in others.values()
                    cells.append("" if is_itself else over_replicates((one, None, None) for one in differences))
                lines.append([name_of(block, setting), f"{len(found)} of {len(runs)}", *cells])
        parts.append(Table(["arm", "runs", measure, *(f"minus {label}" for label, _ in against)], lines))
    return parts + [
        Text("Differences are paired by replicate: the same people, and the same seeds unless a block sets its own.")
    ]


def ends(bracket: tuple[float | None, float | None], axis: str, falls: str, rises: str) -> str:
    low, high = bracket
    if low is None and high is None:
        return f"at no {axis} do all replicates {falls}, at none {rises}"
    below = f"all replicates {falls} up to {number(low)}" if low is not None else f"at no {axis} do all {falls}"
    above = f"all {rises} from {number(high)}" if high is not None else f"at none that was tried do all {rises}"
    return f"{below}, {above}"


def draw_curves(reading: hysteresis.Reading, axis: str, path: Path) -> None:
    """What is known after the trunk, a marker a replicate; the line is the slope over the stable phase, which is
    shaded: what the cooldown makes of it comes after."""
    figure, axes = plt.subplots(figsize=(6.4, 3.8))
    trends: dict[tuple[str, int], hysteresis.Trend] = {}
    turn: Counter = Counter()
    for slope in reading.slopes:
        if slope.trend is not None:
            trends[slope.place, turn[slope.place]] = slope.trend
        turn[slope.place] += 1
    phases = [trend.tokens for trend in trends.values()]
    if phases:
        first, last = (pick(phase[i] for phase in phases) / 1e6 for i, pick in ((0, min), (1, max)))
        axes.axvspan(first, last, color=SHADE, alpha=0.5, linewidth=0, label="stable phase")
    for i, place in enumerate(sorted(reading.curves, key=lambda place: number_of(place, axis))):
        for j, (tokens, share) in enumerate(reading.curves[place]):
            look = {"color": color_of(i), "marker": marker_of(i), "fillstyle": "full" if j % 2 == 0 else "none"}
            label = place if j == 0 else None
            axes.plot(tokens / 1e6, share, label=label, markersize=4, linewidth=0.7, alpha=0.7, linestyle=":", **look)
            if (place, j) in trends:
                trend = trends[place, j]
                x = np.array(trend.tokens) / 1e6
                axes.plot(x, trend.middle + trend.slope.value * (x - trend.at), color=color_of(i), linewidth=1.8)
    axes.set(xlabel="million tokens after the trunk", ylabel="exact match", ylim=(-0.03, 1.03))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    save(figure, path)


def hysteresis_parts(name: str, asked: dict[str, Any], reading: hysteresis.Reading, folder: Path) -> list[Part]:
    rows = []
    for one in reading.slopes:
        slope = one.trend.slope if one.trend else None
        shown = "-" if slope is None else number(slope.value)
        if slope is not None and slope.low is not None:
            shown += f" [{number(slope.low)}, {number(slope.high)}]"
        begins = number(one.trend.begins) if one.trend else "-"
        ninety = (
            "-" if one.trend is None or one.trend.ninety is None else f"[{', '.join(map(number, one.trend.ninety))}]"
        )
        rows.append([one.place, str(one.replicate), begins, shown, ninety, one.sign])
    parts: list[Part] = [Heading(f"From above and from below: {name}")]
    if asked.get("about"):
        parts.append(Text(asked["about"]))
    parts += [
        Text(
            "Slope of exact match in the stable phase of runs that begin with what is known, per million tokens, 95 % "
            "over people. + learns, - forgets, ? undecided. A prediction of 0 is held where the 90 % interval is "
            f"inside its margin, of a run that begins the phase with {hysteresis.FLOOR:g} right, and with more than "
            "the margin takes over the phase."
        ),
        Table([asked["axis"], "replicate", "begins with", "slope", "90 %", "sign"], rows),
        Text(f"From above: {ends(reading.above, asked['axis'], 'forget', 'learn')}."),
    ]
    if reading.from_nothing:
        from_below = ends(reading.below, asked["axis"], "end below half", "end above it")
        parts.append(Text(f"From below, of runs that begin with nothing: {from_below}."))
    if reading.curves:
        path = folder / f"hysteresis_{name}.png"
        draw_curves(reading, asked["axis"], path)
        said = "lines are slopes over the stable phase, filled and hollow markers two replicates"
        parts.append(Figure(path, f"What is known after the trunk, by {asked['axis']}: {said}"))
    return parts


def refusal_of(found: dict[str, Any], said: str) -> str:
    """Why there is no law, by the JSON of `knapsack laws`, else by what it said; empty where there is one."""
    if not found:
        return said.rpartition("no law: ")[2].strip() or "nothing was said"
    laws = (
        [found["law"]]
        if "law" in found
        else [law for one in found.get("settings", [found]) for law in one.get("laws", {}).values()]
    )
    reasons = [law.get("refused", "") for law in laws]
    return "; ".join(dict.fromkeys(reasons)) if all(reasons) else ""


def law_parts(asked: Asked) -> list[Part]:
    parts: list[Part] = []
    for name, (words, said) in asked.said.items():
        about = asked.study.laws[name].get("about")
        parts += [Heading(f"Law {name}"), *([Text(about)] if about else []), Code(f"$ {command(words, asked.study)}")]
        found = asked.laws.get(name, {})
        if reason := refusal_of(found, said):
            parts.append(Text(f"No law: {reason}"))
        if rest := [line for line in said.splitlines() if found and not (reason and "no law: " in line)]:
            parts.append(Code("\n".join(rest)))
        figure = asked.figures / f"law_{name}.png"
        if figure.exists():
            parts.append(Figure(figure, f"Law {name}"))
    return parts


def loss_parts(asked: Asked) -> list[Part]:
    parts: list[Part] = []
    for name, law in asked.study.laws.items():
        if "loss" not in law:
            continue
        parts += [Heading(f"Loss {name}"), *([Text(law["about"])] if law.get("about") else [])]
        parts.append(Text(f"{law['loss']} = E + A M^-alpha; alpha + 1 is the exponent gamma that is predicted of it."))
        rows = []
        for unit, one in asked.laws[name].items():
            if "refused" in one:
                rows.append([unit, one["refused"], "-", "-", "-"])
            else:
                both = [over(one[key]) for key in ("alpha", "alpha + 1")]
                rows.append([unit, *both, number(one["E"]), str(one["sizes"])])
        parts.append(Table(["M in", "alpha", "alpha + 1", "E", "sizes"], rows))
        if any("refused" not in one for one in asked.laws[name].values()):
            path = asked.figures / f"loss_{name}.png"
            draw_loss(asked, law, asked.laws[name], path)
            parts.append(Figure(path, f"{law['loss']} against size, with E + A M^-alpha and E"))
    return parts


def draw_loss(asked: Asked, law: dict[str, Any], found: dict[str, Any], path: Path) -> None:
    """A panel a unit of M."""
    fitted = {unit: one for unit, one in found.items() if "refused" not in one}
    figure, axes = plt.subplots(1, len(fitted), squeeze=False, figsize=(3.6 * len(fitted), 3.2), sharey=True)
    for (unit, one), panel in zip(fitted.items(), axes[0]):
        x, y = asked.pairs_of_loss(law, UNITS[unit])
        fine = np.geomspace(x.min() / 1.2, x.max() * 1.2, 100)
        panel.plot(fine, one["E"] + one["A"] * fine ** -one["alpha"][0], color=BLUE, linewidth=1.2)
        panel.plot(x, y, "o", color=BLUE, label="a run")
        panel.axhline(one["E"], color=GREY, linestyle=":", label=f"E = {number(one['E'])}")
        panel.set(xscale="log", xlabel=f"M, {unit}", title=f"alpha = {over(one['alpha'])}")
        legend(panel)
    axes[0][0].set(ylabel=law["loss"])
    save(figure, path)


def over(estimate: list[float | None]) -> str:
    value, low, high = estimate
    return number(value) + (f" [{number(low)}, {number(high)}]" if low is not None else "")


def prediction_parts(asked: Asked) -> tuple[list[Part], str]:
    said, written, changed = predictions.standing(asked.study)
    slopes = {name: reading.slopes for name, reading in asked.readings.items()}
    outcomes = predictions.judge(asked.study, asked.rows, asked.laws, slopes)
    counted = Counter(one.verdict for one in outcomes)
    parts: list[Part] = [Heading("Predicted and measured"), *map(Text, said)]
    if outcomes:
        order = (predictions.FAILED, predictions.HELD, predictions.OPEN)
        parts.append(Text(", ".join(f"{counted[verdict]} {verdict}" for verdict in order) + "."))
        names = {one.name: f"{one.name} (changed)" if one.name in changed else one.name for one in outcomes}
        rows = [[names[one.name], one.predicted, one.measured, one.verdict, one.says] for one in outcomes]
        parts.append(Table(["prediction", "predicted", "measured", "verdict", "in words"], rows))
    return parts, written


def command(words: list[str], study: Study, program: str = "knapsack") -> str:
    """Without the machine's folders."""
    return shlex.join([program, *(relative(word, {study.out: "OUT", PACKAGE: PACKAGE.name}) for word in words)])


def command_parts(asked: Asked) -> list[Part]:
    study = asked.study
    lines = [command(step.words, study) for step in study.steps if not step.after]
    for one in study.runs:
        train = [word for word in train_command(one.run, asked.programs.train) if word != "--resume"]
        ask = eval_command(one.run, asked.programs.evaluate)
        lines += [command(words[1:], study, Path(words[0]).name) for words in (train, ask)]
        lines += [command(step.words, study) for step in study.steps if step.after == one.run.name]
    said = "In order; OUT is the study's folder, other paths are from the folder in which the report was asked for."
    return [Heading("The command of every point"), Text(said), Code("\n".join(lines))]


def environment_parts(asked: Asked) -> list[Part]:
    builds: Counter = Counter()
    for one in asked.study.runs:
        if one.run.name in asked.rows:
            config = read_json(one.run.directory / "config.json")
            builds[tuple(str(config.get(name, "-")) for name in OF_A_BUILD)] += 1
    rows = [[*build, str(runs)] for build, runs in sorted(builds.items())]
    machine = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return [Heading("Environment"), Table([*OF_A_BUILD, "runs"], rows), Text(machine + ".")]


def time_parts(asked: Asked, written: str) -> list[Part]:
    path = asked.study.out / "journal.jsonl"
    seconds: dict[str, float] = {}
    first = ""
    for line in read_bytes(path).splitlines() if path.exists() else []:
        try:
            event = json.loads(line)
            run = event["run"]  # a step of the data has none
            first = first or (event["time"] if event["event"] == "begins" else "")
            if "seconds" in event:
                seconds[run] = seconds.get(run, 0.0) + event["seconds"]
        except (ValueError, KeyError, TypeError):  # or cut off by a kill
            continue
    rows = [
        [name, f"{seconds[name]:.0f}" if name in seconds else "-", number(row.get("perf/tokens_per_s"))]
        for name, row in asked.rows.items()
    ]
    said = f"Predictions written {written or '-'}, first run begun {first or '-'}."
    return [Heading(TIMES), Text(said), Table(["run", "seconds (last start)", "tokens/s (median)"], rows)]


def write_report(study: Study, programs: Programs) -> tuple[Asked, list[Path]]:
    asked = Asked(study, programs)
    asked.ask_laws()
    first, written = prediction_parts(asked)
    total, done = len(study.runs), len(asked.rows)
    parts: list[Part] = [Heading(study.path.stem, 1)]
    if study.about:
        parts.append(Text(study.about))
    parts.append(Text(f"{done} of {total} runs are finished. Values are means over replicates with 95 % over runs."))
    missing = Counter(one.block for one in study.runs if one.run.name not in asked.rows)
    if missing:
        said = ", ".join(f"{often} of {len(study.blocks[block].runs)} of {block}" for block, often in missing.items())
        parts.append(Text(f"Not finished: {said}."))
    parts += [Text(f"Left out: {said}") for said in asked.malformed]
    parts += first
    for name, reading in asked.readings.items():
        parts += hysteresis_parts(name, study.hysteresis[name], reading, asked.figures)
    parts += law_parts(asked) + loss_parts(asked)
    for name in study.tables:
        parts += table_parts(study, name, asked.rows)
    for block in study.blocks.values():
        parts += block_parts(study, block, asked.rows)
    parts += command_parts(asked) + environment_parts(asked) + time_parts(asked, written)
    texts = {
        study.out / "report.md": markdown(parts, study.out),
        study.out / "report.html": html_page(parts, study.path.stem),
    }
    for path, text in texts.items():
        write_text(path, text.replace(str(study.out), "OUT").replace(f"{PACKAGE.parent}/", ""))
    return asked, list(texts)
