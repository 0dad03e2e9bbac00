"""A study's report: predicted next to measured, what failed first; tables over replicates; laws; every command."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from knapsack.analysis.laws.loss import fit_loss
from knapsack.analysis.outputs import write_text
from knapsack.common.errors import DataError
from knapsack.runs.files import read_json
from knapsack.runs.runner import Programs, is_finished
from knapsack.runs.table import read_run
from knapsack.study import hysteresis, predictions
from knapsack.study.blocks import PACKAGE
from knapsack.study.choose import runs_of_law
from knapsack.study.data import package_environment
from knapsack.study.declare import Study
from knapsack.study.figures import draw_curves, draw_loss
from knapsack.study.page import Code, Figure, Heading, Part, Table, Text, html_page, markdown
from knapsack.study.predictions import is_number
from knapsack.study.record import command, command_parts, environment_parts, failure_parts, time_parts
from knapsack.study.tables import Rows, block_parts, number, over, table_parts

UNITS = {"parameters": "parameters", "non-embedding": "parameters_non_embedding"}


def pairs_of_loss(study: Study, law: dict[str, Any], rows: Rows, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Sizes and losses of the finished runs."""
    runs = [rows[run.run.name] for run in runs_of_law(study, law) if run.run.name in rows]
    pairs = [(row.get(column), row.get(law["loss"])) for row in runs]
    pairs = [pair for pair in pairs if all(map(is_number, pair))]
    return np.array([x for x, _ in pairs], float), np.array([y for _, y in pairs], float)


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

    def of_loss(self, law: dict[str, Any]) -> dict[str, Any]:
        """E + A M^-alpha of runs, in each unit of M; what cannot be fitted says why."""
        found: dict[str, Any] = {}
        for unit, column in UNITS.items():
            x, y = pairs_of_loss(self.study, law, self.rows, column)
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


def ends(bracket: tuple[float | None, float | None], axis: str, falls: str, rises: str) -> str:
    low, high = bracket
    if low is None and high is None:
        return f"at no {axis} do all replicates {falls}, at none {rises}"
    below = f"all replicates {falls} up to {number(low)}" if low is not None else f"at no {axis} do all {falls}"
    above = f"all {rises} from {number(high)}" if high is not None else f"at none that was tried do all {rises}"
    return f"{below}, {above}"


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
            pairs = {unit: pairs_of_loss(asked.study, law, asked.rows, column) for unit, column in UNITS.items()}
            draw_loss(pairs, law["loss"], asked.laws[name], path)
            parts.append(Figure(path, f"{law['loss']} against size, with E + A M^-alpha and E"))
    return parts


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
    parts += failure_parts(study, asked.rows)
    parts += [Text(f"Left out: {said}") for said in asked.malformed]
    parts += first
    for name, reading in asked.readings.items():
        parts += hysteresis_parts(name, study.hysteresis[name], reading, asked.figures)
    parts += law_parts(asked) + loss_parts(asked)
    for name in study.tables:
        parts += table_parts(study, name, asked.rows)
    for block in study.blocks.values():
        parts += block_parts(study, block, asked.rows)
    parts += command_parts(study, programs) + environment_parts(study, asked.rows)
    parts += time_parts(study, asked.rows, written)
    texts = {
        study.out / "report.md": markdown(parts, study.out),
        study.out / "report.html": html_page(parts, study.path.stem),
    }
    for path, text in texts.items():
        write_text(path, text.replace(str(study.out), "OUT").replace(f"{PACKAGE.parent}/", ""))
    return asked, list(texts)
