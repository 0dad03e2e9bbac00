#!/usr/bin/env python3
"""All that on_gpu.sh left in a folder so far: report.json, and a Markdown page out of it: what it ran on, what passed,
what is missing, targets and predictions next to what was measured, the tables.

  report.py runs/on_gpu --out runs/on_gpu/report.md            (report.json goes next to it)

Reads environment.json, status.tsv (the last row of a part counts), PART.log for the lines 'skipped: WHAT: WHY' and its
end, and the parts' tables; dev/bench/targets.json, and predicted steps in dev/results/sass/README.md. What is not there
is left out, a table that cannot be read is named. Exit code 3 then, or where there is no status.tsv.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DRY = "dry run, not a measurement"
MORE = {"experiment": "mixing.png"}
LOG_CHARACTERS = 6000  # of each log, from its end


class Status(NamedTuple):
    part: str
    status: str
    code: int
    seconds: int
    limit: int
    gpu: str
    reason: str


def read_status(path: Path) -> dict[str, Status]:
    rows: dict[str, Status] = {}
    for line in path.read_text().splitlines():
        part, status, code, seconds, limit, gpu, reason = line.split("\t")
        if part in rows and limit == "0":  # there was no time for it this time: what was found before is still true
            if rows[part].limit > 0:
                continue
        rows.pop(part, None)  # parts in the order of their last run
        rows[part] = Status(part, status, 0 if code == "-" else int(code), int(seconds), int(limit), gpu, reason)
    return rows


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines] + [""]


def mebibytes(count: float) -> str:
    return f"{count / 2**20:,.0f}"


def tests(data: Any) -> list[str]:
    rows = (
        [
            row["target"],
            "**FAILED**" if row["verdict"] == "failed" else row["verdict"],
            *(str(row.get(name, "-")) for name in ("passed", "failed", "skipped")),
            f"{row['seconds']} s",
        ]
        for row in data["rows"]
    )
    lines = table(["room", "", "passed", "failed", "skipped", "took"], rows)
    for row in data["rows"]:
        if "said" in row:
            lines += [f"{row['target']}:", "", "```", *row["said"].strip().splitlines()[-25:], "```", ""]
    return lines


def parity(data: Any) -> list[str]:
    lines = [
        f"{data['tokens_a_step']:,} tokens a step, the same shards and order for both; a loss is compared step by step "
        "with that of the CPU backend in fp32.",
        "",
    ]
    rows = []
    for row in data["rows"]:
        verdict = "skipped" if "skipped" in row else "passed" if row["passed"] else "**FAILED**"
        model, precision = row["model"], row["precision"]
        if "error" in row:
            rows.append([row["what"], model, precision, row["error"][:200].replace("\n", " "), "", verdict])
        elif row["what"] == "loss":
            found = (
                f"mean relative difference {row['mean']:.1e} over {row['steps']} steps, worst "
                f"{row['worst']:.1e}; last loss {row['last']:.5f}, CPU {row['last_cpu']:.5f}"
            )
            allowed = f"mean {row['tolerance']:.0e}"
            rows.append(["loss against the CPU", model, precision, found, allowed, verdict])
        elif row["what"] == "bits":
            found = (
                "metrics, weights and moments byte for byte"
                if row["passed"]
                else "other " + ", ".join(row["differing"])
            )
            rows.append(["two runs", model, precision, found, "the same bits", verdict])
        else:
            found = row.get("skipped") or (
                f"relative L2 {row['relative']:.1e}, largest difference {row['largest_difference']:.1e} "
                f"(transformers {row['transformers']}, {row['device']})"
            )
            allowed = f"L2 {row['tolerance']:.0e}"
            rows.append(["logits against transformers", model, precision, found, allowed, verdict])
    rows += [[*what.split(), "", "", "missing"] for what in data.get("missing", [])]
    return lines + table(["what", "model", "precision", "found", "allowed", ""], rows)


def sanitizer(data: Any) -> list[str]:
    rows = data["rows"]
    tools = sorted({row["tool"] for row in rows})
    cells = {
        (row["target"], row["tool"]): row["verdict"] + (f" ({row['errors']})" if row.get("errors") else "")
        for row in rows
    }
    targets = sorted({row["target"] for row in rows})
    return table(
        ["target", *tools], ([target, *(cells.get((target, tool), "-") for tool in tools)] for target in targets)
    )


def bench(rows: Any) -> list[str]:
    if not rows:
        return ["No kernel was timed.", ""]
    wrong = [row["case"] for row in rows if row["verdict"] == "WRONG"]
    lines = [
        "Median time with a cold second-level cache; the floor is the larger of bytes over the data sheet's "
        "bandwidth and flops over its peak.",
        "",
    ]
    if wrong:
        lines += [f"**WRONG: {', '.join(wrong)}**", ""]
    cells = (
        [
            row["case"],
            row["us"],
            f"{row['reached']} {row['unit']}",
            f"{row['percent_of_floor'] or '-'} %",
            row["verdict"] or "-",
        ]
        for row in rows
    )
    return lines + table(["case", "us", "reached", "of floor", "result"], cells)


def peers(data: Any) -> list[str]:
    peak = (
        f"MFU over {data['peak_flops'] / 1e12:.0f} TFLOP/s, the dense bf16 peak"
        if data["peak_flops"]
        else "no MFU: the peak is unknown"
    )
    lines = [
        f"{data['device']}, PyTorch {data['torch']}; medians of alternating rounds; {peak}. Memory is what the "
        "process took of the device's; the start is PyTorch's until its first steps are over, compilation included, "
        "with what was compiled before (see below) in its cache.",
        "",
    ]
    if not data["measurement"]:
        lines[0] = f"{data['device']}, PyTorch {data['torch']}, toy shapes: {DRY}."

    def number(who: dict, name: str, form: Callable[[float], str]) -> str:
        return form(who[name]) if name in who else "-"

    rows = []
    for name, row in data["shapes"].items():
        if "error" in row:
            rows.append([name, "**FAILED**", row["error"][:200].replace("\n", " "), *[""] * 8])
            continue
        ours, torch, rounds = row.get("ours", {}), row.get("torch", {}), row.get("rounds", {}).get("ours", [])
        pair = (ours, torch)
        rows.append(
            [
                name + ("" if row.get("complete") else " (in part)"),
                *(number(who, "tokens_per_s", "{:,.0f}".format) for who in pair),
                number(row, "ratio", "{:.2f}x".format),
                *(number(who, "mfu", "{:.1%}".format) for who in pair),
                *(number(who, "memory_bytes", mebibytes) for who in pair),
                f"{min(rounds) / max(rounds):.0%}" if rounds else "-",
                number(row, "torch_start_seconds", "{:.0f} s".format),
            ]
        )
    attention = sorted({row["attention"] for row in data["shapes"].values() if "attention" in row})
    slowest = "slowest round of ours / fastest"
    head = ["shape", "tokens/s", "PyTorch's", "ratio", "MFU", "PyTorch's", "MiB", "PyTorch's", slowest, "start"]
    lines += table(head, rows)
    if data.get("missing"):
        lines += [f"Missing: {', '.join(data['missing'])}.", ""]
    return lines + [f"PyTorch's attention: {', '.join(attention)}.", ""] if attention else lines


def compilation(data: Any) -> list[str]:
    found = (
        f"{name} {row['cold_start_seconds']:.0f} s"
        if "cold_start_seconds" in row
        else f"{name} {'failed' if 'error' in row else 'not done'}"
        for name, row in data["shapes"].items()
    )
    return [f"PyTorch's start with nothing compiled, next to the compilers of ours: {', '.join(found) or 'none'}.", ""]


def text_block(text: Any) -> list[str]:
    return ["```", *text.rstrip().splitlines(), "```", ""]


def floors(text: Any) -> list[str]:
    lines = text.splitlines()
    return [
        f"The least times of {sum(1 for line in lines[3:] if line.strip())} timed cases are in floors.txt; no "
        "time was measured.",
        "",
    ]


def experiment(rows: Any) -> list[str]:
    def cell(text: str) -> str:
        try:
            number = float(text)
        except ValueError:
            return text or "-"
        return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"

    if not rows:
        return ["No run was done.", ""]
    names = [name for name in rows[0] if name != "run"]
    return table(
        [name.replace("know/synbio/", "") for name in names], ([cell(row[name]) for name in names] for row in rows)
    )


# ---- targets, predictions


def predicted_rates(page: Path, gpu: str) -> dict[str, float]:
    """Tokens/s of models on this GPU, out of the table with the columns model, GPU and M tokens/s."""
    names: list[str] = []
    rates = {}
    for line in page.read_text().splitlines() if page.exists() else ():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if {"model", "GPU", "M tokens/s"} <= set(cells):
            names = cells
        elif len(cells) != len(names):
            names = []
        elif not cells[0].startswith("---"):
            row = dict(zip(names, cells))
            if row["GPU"].split()[0] in gpu:
                rates[row["model"]] = 1e6 * float(row["M tokens/s"])
    return rates


def close_to_targets(found: dict[str, Any], dry: bool) -> list[dict[str, Any]]:
    """A row a target: measured where it was, predicted where that is known."""
    gpu = (found.get("environment") or {}).get("gpu") or "none"
    predicted = predicted_rates(ROOT / "dev/results/sass/README.md", gpu)
    shapes = {} if dry else found.get("peers", {}).get("shapes", {})
    cases = [] if dry else [*(found.get("bench") or []), *(found.get("others") or [])]
    rows = []
    for target in json.loads((ROOT / "dev/bench/targets.json").read_text())["targets"]:
        row = dict(target)
        what, unit = target["what"], target["unit"]
        if unit == "tokens/s" and "tokens_per_s" in shapes.get(what, {}).get("ours", {}):
            row["measured"] = shapes[what]["ours"]["tokens_per_s"]
        for case in cases:
            if case["case"] == what and case["unit"] == unit:
                row["measured"] = float(case["reached"])
        if what in predicted:
            row["predicted"] = predicted[what]
        rows.append(row)
    return rows


def targets(rows: Any) -> list[str]:
    def cell(row: dict[str, Any], name: str) -> str:
        return f"{row[name]:,.0f}" if name in row else "-"

    lines = ["Targets are for an H200. What was not measured has a dash.", ""]
    if any("predicted" in row for row in rows):
        lines[0] += " Predicted by dev/results/sass, for steps of 1M tokens; measured are steps of 65,536."
    else:
        lines[0] += " No step of this GPU is predicted in dev/results/sass."
    return lines + table(
        ["what", "unit", "measured", "target", "of target", "predicted", "of predicted"],
        (
            [
                row["what"],
                row["unit"],
                *(cell(row, name) for name in ("measured", "target")),
                f"{row['measured'] / row['target']:.0%}" if "measured" in row else "-",
                cell(row, "predicted"),
                f"{row['measured'] / row['predicted']:.0%}" if {"measured", "predicted"} <= row.keys() else "-",
            ]
            for row in rows
        ),
    )


# ---- all of it


class Section(NamedTuple):
    part: str
    name: str  # in report.json
    title: str
    file: str
    lines: Callable[[Any], list[str]]


SECTIONS = [
    Section("tests", "tests", "Kernel cases and whole runs", "tests.json", tests),
    Section("parity", "parity", "CUDA against CPU and transformers", "parity.json", parity),
    Section("bench", "bench", "Kernels, share of floor", "bench.csv", bench),
    Section("peers", "peers", "Whole steps next to PyTorch", "peers.json", peers),
    Section("peers", "compilation", "PyTorch's compilations", "compile.json", compilation),
    Section("sanitizer", "sanitizer", "compute-sanitizer", "sanitizer.json", sanitizer),
    Section(
        "experiment", "experiment", "Mixing ratio, real text and synthetic biographies", "experiment.csv", experiment
    ),
    Section("others", "others", "The other kernels, share of floor", "others.csv", bench),
    Section("others", "floors", "Kernels, floors alone", "floors.txt", floors),
    Section("profile", "profile", "Kernels of a training step (Nsight Compute)", "kernels.txt", text_block),
]


def read_table(path: Path) -> Any:
    text = path.read_text()
    if path.suffix == ".json":
        return json.loads(text)
    return list(csv.DictReader(text.splitlines())) if path.suffix == ".csv" else text


def skipped_lines(folder: Path, parts: Iterable[str]) -> list[str]:
    lines = []
    for part in parts:
        log = folder / f"{part}.log"
        for line in log.read_text(errors="replace").splitlines() if log.exists() else []:
            if line.startswith("skipped: "):
                lines.append(f"- {part}: {line.removeprefix('skipped: ')}")
    return list(dict.fromkeys(lines))


def missing_lines(statuses: dict[str, Status]) -> list[str]:
    """What was asked for and is not there, or not in full."""
    lines = []
    for row in statuses.values():
        if row.status == "running":
            lines.append(f"- {row.part}: was running when this was written (it {row.reason}, limit {row.limit} s)")
        elif row.status == "cut off":
            lines.append(f"- {row.part}: cut off, {row.reason}: what it found is below")
        elif row.limit == 0:
            lines.append(f"- {row.part}: {row.reason}")
    return lines


def head(facts: dict[str, Any], found: dict[str, Any], statuses: dict[str, Status], dry: bool) -> list[str]:

    def fact(name: str, before: str = "") -> str:
        return f"{before}{facts[name]}" if facts.get(name) else ""

    gpus = list(dict.fromkeys(row.gpu for row in statuses.values()))
    on = ", ".join(
        filter(
            None,
            [
                fact("gpu") or "no GPU",
                fact("gpu_memory"),
                fact("power_limit", "limit "),
                fact("driver", "driver "),
                fact("nvcc", "nvcc "),
                fact("processor"),
                fact("cores", "cores: "),
                fact("torch", "PyTorch "),
                fact("transformers", "transformers "),
            ],
        )
    )
    lines = [
        f"# {'Dry run of the checks' if dry else 'Checks and measurements'} on a GPU, {fact('date') or 'no date'}",
        "",
        f"Commit {fact('commit') or 'unknown'}. {on}.",
        f"Written at {found['written']}.",
        "",
    ]
    if dry:
        lines += [
            f"**{DRY.capitalize()}**: toy sizes on the CPU, through the same programs and scripts. No number "
            "here says anything about a GPU.",
            "",
        ]
    elif len(gpus) > 1:
        lines += [f"**Parts ran on different GPUs ({', '.join(gpus)})**: the table says which.", ""]
    counts = [row for row in (found.get("tests") or {}).get("rows", []) if "passed" in row]
    sums = ", ".join(f"{sum(row[name] for row in counts)} {name}" for name in ("passed", "failed", "skipped"))
    bold = ("failed", "cut off", "running")
    rows = (
        [
            row.part,
            f"**{row.status}**" if row.status in bold else row.status,
            f"{row.seconds} s",
            row.gpu,
            row.reason or (sums if row.part == "tests" and counts else ""),
        ]
        for row in statuses.values()
    )
    lines += table(["part", "", "took", "GPU", ""], rows)
    missing = missing_lines(statuses)
    return lines + (["## Missing", "", *missing, ""] if missing else [])


def read_folder(folder: Path) -> dict[str, Any]:
    """All that was found, as report.json has it; unreadable: files that cannot be read, and why."""
    statuses = read_status(folder / "status.tsv")
    found: dict[str, Any] = {
        "written": datetime.now().isoformat(sep=" ", timespec="seconds"),
        "dry_run": any("dry run" in row.gpu for row in statuses.values()),
        "parts": [row._asdict() for row in statuses.values()],
        "missing": [line.removeprefix("- ") for line in missing_lines(statuses)],
        "unreadable": {},
    }
    wanted = [("environment", folder / "environment.json")]
    begun = {part for part, row in statuses.items() if row.limit > 0}  # else its tables are of who knows what
    wanted += [(section.name, folder / section.file) for section in SECTIONS if section.part in begun]
    for name, path in wanted:
        if path.exists():
            try:
                found[name] = read_table(path)
            except ValueError as error:
                found["unreadable"][path.name] = f"{type(error).__name__} {error}"
    found["targets"] = close_to_targets(found, found["dry_run"])
    found["skipped"] = skipped_lines(folder, statuses)
    found["logs"] = {
        log.stem: log.read_text(errors="replace")[-LOG_CHARACTERS:] for log in sorted(folder.glob("*.log"))
    }
    return found


def page(folder: Path, found: dict[str, Any]) -> str:
    statuses = {row["part"]: Status(**row) for row in found["parts"]}
    dry = found["dry_run"]
    lines = head(found.get("environment") or {}, found, statuses, dry)
    if not dry and ("peers" in found or "bench" in found):
        lines += ["## Targets and predictions", "", *targets(found["targets"])]
    for section in SECTIONS:
        broken = found["unreadable"].get(section.file)
        if (section.name not in found and not broken) or (section.name == "floors" and "others" in found):
            continue
        lines += [f"## {section.title}" + (f" ({DRY})" if dry else ""), ""]
        try:
            lines += (
                [f"**{section.file} cannot be read**: {broken}", ""] if broken else section.lines(found[section.name])
            )
        except (ValueError, KeyError, TypeError) as error:
            found["unreadable"][section.file] = f"{type(error).__name__} {error}"
            lines += [f"**{section.file} cannot be read**: {type(error).__name__} {error}", ""]
        picture = MORE.get(section.part)
        if picture and (folder / picture).exists():
            lines += [f"![{section.title}]({picture})", ""]
    if found["skipped"]:
        lines += ["## Skipped", "", *found["skipped"], ""]
    for row in statuses.values():
        if row.status == "failed" and row.part in found["logs"]:
            tail = found["logs"][row.part].strip().splitlines()[-15:]
            lines += [f"## The end of {row.part}.log", "", "```", *(line[:300] for line in tail), "```", ""]
    return "\n".join(lines)


def write_report(folder: Path, out: Path) -> dict[str, str]:
    """Both files, each whole at any time; the files that could not be read."""
    found = read_folder(folder)
    text = page(folder, found)
    for path, content in ((out, text), (out.with_suffix(".json"), json.dumps(found, indent=1) + "\n")):
        temporary = path.with_name(f".{path.name}")
        temporary.write_text(content)
        temporary.replace(path)
    return found["unreadable"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    args = parser.parse_args()
    try:
        unreadable = write_report(args.folder, args.out)
    except (OSError, ValueError) as error:
        print(f"error: {args.folder}: {error}; expected what scripts/on_gpu.sh leaves", file=sys.stderr)
        return 3
    if unreadable:
        print(f"error: cannot be read: {', '.join(unreadable)}", file=sys.stderr)
    return 3 if unreadable else 0


if __name__ == "__main__":
    sys.exit(main())
