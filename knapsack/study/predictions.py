"""What was predicted: dated and hashed before the first run, compared with what was measured.

  {"law": "size", "value": "law/exponents/gamma", "between": [1.06, 1.26]}       a number of the law's JSON
  {"law": "size", "at": {"model": "..."}, "value": "F50", "between": [42, 62]}   of its runs there, geometric mean
  {"block": "M", "at": {"run": "half"}, "measure": "know/bio/accuracy", "between": [0.03, 0.08]}
  {"block": "M", "at": {"run": "half"}, "minus": {"run": "all"}, "measure": ..., "between": [...]}   paired by replicate
  {"hysteresis": "transition", "at": "bio=0.1", "sign": "-"}                      of the slope, in every replicate
  {"hysteresis": "transition", "at": "bio=0.2", "sign": "0", "margin": 0.04}      kept: share right per million tokens
"says" is the sentence for readers; "of": "each" asks it of every replicate, not of their mean. A setting may name
another "block".
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any, NamedTuple

from knapsack.common.errors import UsageError
from knapsack.common.files import dump_json
from knapsack.runs.files import is_there, read_json, write_bytes
from knapsack.study.adaptive import NOT_BEFORE
from knapsack.study.blocks import at, runs_at, settings_said
from knapsack.study.choose import runs_of_law
from knapsack.study.declare import Study
from knapsack.study.fields import need_object, need_text

if TYPE_CHECKING:
    from knapsack.study.hysteresis import Slope  # scipy is slow to load

KEYS = ("says", "law", "block", "hysteresis", "at", "minus", "measure", "value", "between", "sign", "margin", "of")
KINDS = {
    "predictions": "prediction",
    "laws": "law",
    "blocks": "block",
    "data": "step of the data",
}  # of the file, for a sentence
SIGNS = ("+", "0", "-")
HELD, FAILED, OPEN = "held", "failed", "not measured"


class Outcome(NamedTuple):
    name: str
    says: str
    predicted: str
    measured: str
    verdict: str  # HELD, FAILED or OPEN


def check_prediction(name: str, value: Any, study: Study) -> None:
    place = f"{study.path}: predictions: {name}"
    need_object(value, place, KEYS)
    kinds = [kind for kind in ("law", "block", "hysteresis") if kind in value]
    if len(kinds) != 1:
        raise UsageError(f"{place}: expected one of law, block and hysteresis, found {' and '.join(kinds) or 'none'}")
    kind = kinds[0]
    known = {"law": study.laws, "block": study.blocks, "hysteresis": study.hysteresis}[kind]
    if not isinstance(value[kind], str) or value[kind] not in known:
        there = ", ".join(known) or "none"
        raise UsageError(f"{place}: {kind}: there is no {json.dumps(value[kind])}; there are {there}")
    if kind == "hysteresis":
        need_text(value.get("at"), f"{place}: at")
        asked = study.hysteresis[value["hysteresis"]]
        runs_at({asked["axis"]: value["at"]}, asked["above"], study.blocks, f"{place}: at")
        if value.get("sign") not in SIGNS:
            raise UsageError(f"{place}: sign: expected one of {' '.join(SIGNS)}, found {json.dumps(value.get('sign'))}")
        margin = value.get("margin")
        if value["sign"] == "0" and not (is_number(margin) and margin > 0):
            raise UsageError(
                f"{place}: margin: a prediction of 0 declares what counts as none, share right per million tokens "
                f"above 0; found {json.dumps(margin)[:80]}"
            )
        if value["sign"] != "0" and "margin" in value:
            raise UsageError(f"{place}: margin: only of a prediction of 0")
        return
    ends = value.get("between")
    if not isinstance(ends, list) or len(ends) != 2 or not all(is_number(one) for one in ends) or ends[0] > ends[1]:
        raise UsageError(f"{place}: between: expected [low, high], found {json.dumps(ends)[:80]}")
    need_text(value.get("value" if kind == "law" else "measure"), f"{place}: {'value' if kind == 'law' else 'measure'}")
    if value.get("of", "mean") not in ("mean", "each"):
        raise UsageError(f"{place}: of: expected mean or each, found {json.dumps(value['of'])[:80]}")
    if kind == "law" and "at" in value:
        if placing := [block for block in study.laws[value["law"]]["blocks"] if study.blocks[block].placed]:
            raise UsageError(f"{place}: at: block {placing[0]} {NOT_BEFORE}")
        if not any(at(run, value["at"], f"{place}: at") for run in runs_of_law(study, study.laws[value["law"]])):
            raise UsageError(f"{place}: at: no run of the law is at {json.dumps(value['at'])}")
    for key in ("at", "minus") if kind == "block" else ():
        if key in value:
            runs_at(value[key], value["block"], study.blocks, f"{place}: {key}")
    if kind == "block" and "at" not in value:
        said = settings_said(study.blocks[value["block"]])
        raise UsageError(f"{place}: at: expected the setting of the runs that are meant, found none; {said}")


def check_predictions(study: Study) -> None:
    for name, value in study.predictions.items():
        check_prediction(name, value, study)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def hash_of(declared: Any) -> str:
    return hashlib.sha256(json.dumps(declared, sort_keys=True).encode()).hexdigest()


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def file_of(out: Path) -> Path:
    return out / "predictions.json"


def begun_in(study: Study) -> list[str]:
    """Every run of the folder that has begun, also those that the file no longer names."""
    ending = ".flags.json"
    return sorted(path.name.removesuffix(ending) for path in study.folder.glob(f"*{ending}"))


def register(study: Study) -> None:
    """OUT/predictions.json: before any run begins, or with the runs that had begun by then. While none has begun it may
    be written anew; what was written before is kept in it."""
    path, begun = file_of(study.out), begun_in(study)
    found = read_json(path) if is_there(path) else {}
    if found and (begun or found.get("sha256") == hash_of(study.declared)):
        return
    earlier = found.pop("before", [])
    found.pop("format_version", None)
    head = {"format_version": 2, "written": now(), "sha256": hash_of(study.declared), "runs_begun": begun}
    before = [*(earlier if isinstance(earlier, list) else [earlier]), *([found] if found else [])]
    write_bytes(path, dump_json(head | {"declared": study.declared, "before": before}))


class Standing(NamedTuple):
    said: list[str]  # when the predictions were written, and whether they are still the same
    written: str = ""  # the date
    changed: tuple[str, ...] = ()  # names of predictions: themselves, or what they are about


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(part of the file, name in it, what happened to it), of two declarations."""
    found = []
    for part in sorted({*before, *after}):
        was, is_now = before.get(part), after.get(part)
        if not (isinstance(was, dict) and isinstance(is_now, dict)):
            found += [(part, "", "changed")] if was != is_now else []
            continue
        for name in sorted({*was, *is_now}):
            if was.get(name) != is_now.get(name):
                what = "added" if name not in was else "taken out" if name not in is_now else "changed"
                found.append((part, name, what))
    return found


def touched(name: str, value: dict[str, Any], study: Study, changes: list[tuple[str, str, str]]) -> bool:
    """Whether a change is of this prediction, or of the law, hysteresis or block that it is about."""
    of = {(part, one) for part, one, _ in changes}
    blocks = [value["block"]] if "block" in value else []
    if "law" in value:
        blocks += study.laws[value["law"]]["blocks"]
    if "hysteresis" in value:
        blocks.append(study.hysteresis[value["hysteresis"]]["above"])
    blocks += [
        value[key]["block"] for key in ("at", "minus") if isinstance(value.get(key), dict) and "block" in value[key]
    ]
    about = {("laws", value.get("law")), ("hysteresis", value.get("hysteresis")), *(("blocks", one) for one in blocks)}
    return any(part in ("replicates", "train", "data") for part, _ in of) or bool(
        of & ({("predictions", name)} | about)
    )


def standing(study: Study) -> Standing:
    path = file_of(study.out)
    found, begun = read_json(path), begun_in(study)
    if not found:
        if not study.predictions:
            return Standing(["The study predicts nothing."])
        said = f"{path.name} is not there"
        return Standing(
            [f"NOT REGISTERED: {said}, though runs have begun." if begun else f"No run has begun: {said} yet."]
        )
    said = []
    digest, written = str(found.get("sha256")), str(found.get("written"))
    before = found.get("declared") if isinstance(found.get("declared"), dict) else {}
    if not study.predictions and not before.get("predictions"):
        said.append("The study predicts nothing.")
    if hash_of(before) != digest:
        said.append(f"CHANGED: {path.name} was edited: what it declares does not have the hash that it names.")
    if late := found.get("runs_begun"):
        said.append(f"WRITTEN LATE: {len(late)} runs had begun before the predictions were written.")
    changes = differences(before, study.declared)
    when = "after the first run began" if begun else "since it was written"
    for part, name, what in changes:
        said.append(f"CHANGED: {KINDS.get(part, part)}{f' {name}' if name else ''} was {what} {when}.")
    if not said:
        said.append(f"Written before the first run began, unchanged since (sha256 {digest[:16]}).")
    said += said_before(found)
    if earlier := [str(one.get("written")) for one in found.get("before") or [] if isinstance(one, dict)]:
        written += f" (before that {', '.join(earlier)})"
    changed = tuple(name for name, value in study.predictions.items() if touched(name, value, study, changes))
    return Standing(said, written, changed)


def said_before(found: dict[str, Any]) -> list[str]:
    """A sentence for each earlier registration: what the one that followed it made of it."""
    entries = [one for one in found.get("before") or [] if isinstance(one, dict)]
    said = []
    for one, following in zip(entries, [*entries[1:], found]):
        sides = [side.get("declared") if isinstance(side.get("declared"), dict) else {} for side in (one, following)]
        parts = [
            f"{KINDS.get(part, part)} {name} {what}".replace("  ", " ") for part, name, what in differences(*sides)
        ]
        said.append(
            f"Registered earlier too, before any run began (sha256 {str(one.get('sha256'))[:16]}), then replaced: "
            f"{', '.join(parts) or 'nothing that can be named'}."
        )
    return said


def walk(value: Any, path: str) -> Any:
    """A part of a JSON value: keys, numbers, or key=text of the first object that has it, between slashes; None where
    there is none. Of an estimate [value, low, high] the value, of true and false 1 and 0."""
    for part in path.split("/"):
        key, equals, text = part.partition("=")
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and equals:
            value = next((one for one in value if isinstance(one, dict) and str(one.get(key)) == text), None)
        elif isinstance(value, list) and part.isdecimal():
            value = value[int(part)] if int(part) < len(value) else None
        else:
            return None
    value = value[0] if isinstance(value, list) and value else value
    return int(value) if isinstance(value, bool) else value


def numbers_of(value: dict[str, Any], study: Study, rows: dict[str, dict], laws: dict[str, Any]) -> list[float | None]:
    """What a prediction of a number is about: a number a replicate, or the one of a law. None: not measured."""
    if "law" in value and "at" not in value:
        return [walk(laws.get(value["law"], {}), value["value"])]
    if "law" in value:
        of_run = {row["run"]: row.get(value["value"]) for row in laws.get(value["law"], {}).get("runs", [])}
        runs = runs_of_law(study, study.laws[value["law"]])
        return [of_run.get(run.run.name) for run in runs if at(run, value["at"], "at")]

    def by_replicate(setting: Any) -> dict[int, float | None]:
        runs = runs_at(setting, value["block"], study.blocks, "at")
        return {run.replicate: rows.get(run.run.name, {}).get(value["measure"]) for run in runs}

    found = by_replicate(value["at"])
    if "minus" not in value:
        return list(found.values())
    other = by_replicate(value["minus"])
    return [found[n] - other[n] if is_number(found[n]) and is_number(other.get(n)) else None for n in found]


def judge(study: Study, rows: dict[str, dict], laws: dict[str, Any], slopes: dict[str, list[Slope]]) -> list[Outcome]:
    """`rows`: of the table of finished runs, by name; `laws`: JSON by name; `slopes`: of each hysteresis. What failed
    comes first, then what was not measured: nothing is judged before all its runs are finished."""
    found = []
    for name, value in study.predictions.items():
        says = value.get("says", "")
        if "hysteresis" in value:
            here = [one for one in slopes.get(value["hysteresis"], []) if one.place == value["at"]]
            is_kept = value["sign"] == "0"
            seen = [one.sign_within(value["margin"]) if is_kept else one.sign for one in here]
            asked = study.hysteresis[value["hysteresis"]]
            planned = runs_at({asked["axis"]: value["at"]}, asked["above"], study.blocks, name)
            verdict = HELD if set(seen) == {value["sign"]} else FAILED
            verdict = verdict if len(seen) == len(planned) else OPEN
            predicted = f"sign {value['sign']}" + (f", within {value['margin']:g}" if is_kept else "")
            found.append(Outcome(name, says, predicted, " ".join(seen) or "-", verdict))
            continue
        low, high = value["between"]
        numbers = numbers_of(value, study, rows, laws)
        predicted = f"{low:g} to {high:g}" + (", each" if value.get("of") == "each" else "")
        asked_runs = runs_of_law(study, study.laws[value["law"]]) if "law" in value else []
        placing = [study.blocks[block].placed for block in study.laws[value["law"]]["blocks"]] if "law" in value else []
        unfinished = any(run.run.name not in rows for run in asked_runs)
        unfinished = unfinished or not all(placed.is_over for placed in placing if placed)
        if unfinished or not numbers or not all(is_number(one) for one in numbers):
            shown = ", ".join(f"{one:.4g}" if is_number(one) else "-" for one in numbers) or "-"
            found.append(Outcome(name, says, predicted, shown, OPEN))
            continue
        geometric = "law" in value and "at" in value and min(numbers) > 0
        centre = math.exp(mean(map(math.log, numbers))) if geometric else mean(numbers)
        tested = numbers if value.get("of") == "each" else [centre]
        shown = f"{centre:.4g}" + (f" ({', '.join(f'{one:.3g}' for one in numbers)})" if len(numbers) > 1 else "")
        verdict = HELD if all(low <= one <= high for one in tested) else FAILED
        found.append(Outcome(name, says, predicted, shown, verdict))
    return sorted(found, key=lambda one: (FAILED, OPEN, HELD).index(one.verdict))
