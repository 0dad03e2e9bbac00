#!/usr/bin/env python3
"""One Markdown page out of what on_gpu.sh left in a folder: what it ran on, what passed, the tables, what was skipped
and why.

  report.py runs/on_gpu --out runs/on_gpu/report.md

Reads environment.json, status.tsv (the last row of a part counts), PART.log for the lines 'skipped: WHAT: WHY', and the
parts' tables; what is not there is left out, a table that cannot be read is named. Exit code 3 then, or where there is
no status.tsv.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

DRY = "dry run, not a measurement"
MORE = {"experiment": "mixing.png"}


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
        if part in rows and limit == "0":  # there was no time for it this time: what it said before stands
            continue
        rows.pop(part, None)  # parts in the order of their last run
        rows[part] = Status(part, status, int(code), int(seconds), int(limit), gpu, reason)
    return rows


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines] + [""]


def mebibytes(count: float) -> str:
    return f"{count / 2**20:,.0f}"


def parity(path: Path) -> list[str]:
    data = json.loads(path.read_text())
    lines = [
        f"{data['model']}, {data['tokens_a_step']:,} tokens a step, the same shards and order for both; a loss "
        "is compared step by step with that of the CPU backend in fp32.",
        "",
    ]
    rows = []
    for row in data["rows"]:
        verdict = "skipped" if "skipped" in row else "passed" if row["passed"] else "**FAILED**"
        if row["what"] == "loss":
            found = (
                f"mean relative difference {row['mean']:.1e} over {row['steps']} steps, worst "
                f"{row['worst']:.1e}; last loss {row['last']:.5f}, CPU {row['last_cpu']:.5f}"
            )
            rows.append(["loss against the CPU", row["precision"], found, f"mean {row['tolerance']:.0e}", verdict])
        elif row["what"] == "bits":
            found = (
                "metrics, weights and moments byte for byte"
                if row["passed"]
                else "other " + ", ".join(row["differing"])
            )
            rows.append(["two runs", row["precision"], found, "the same bits", verdict])
        else:
            found = (
                row.get("skipped")
                or row.get("error")
                or (
                    f"relative L2 {row['relative']:.1e}, largest difference {row['largest_difference']:.1e} "
                    f"(transformers {row['transformers']}, {row['device']})"
                )
            )
            rows.append(["logits against transformers", row["precision"], found, f"L2 {row['tolerance']:.0e}", verdict])
    return lines + table(["what", "precision", "found", "allowed", ""], rows)


def sanitizer(path: Path) -> list[str]:
    rows = json.loads(path.read_text())["rows"]
    tools = sorted({row["tool"] for row in rows})
    cells = {
        (row["target"], row["tool"]): row["verdict"] + (f" ({row['errors']})" if row["errors"] else "") for row in rows
    }
    targets = sorted({row["target"] for row in rows})
    return table(
        ["target", *tools], ([target, *(cells.get((target, tool), "-") for tool in tools)] for target in targets)
    )


def bench(path: Path) -> list[str]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
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


def peers(path: Path) -> list[str]:
    data = json.loads(path.read_text())
    peak = (
        f"MFU over {data['peak_flops'] / 1e12:.0f} TFLOP/s, the dense bf16 peak"
        if data["peak_flops"]
        else "no MFU: the peak is unknown"
    )
    lines = [
        f"{data['device']}, PyTorch {data['torch']}; medians of alternating rounds; {peak}. Memory is what the "
        "process took of the device's.",
        "",
    ]
    if not data["measurement"]:
        lines[0] = f"{data['device']}, PyTorch {data['torch']}, toy shapes: {DRY}."
    rows = []
    for name, row in data["shapes"].items():
        if "error" in row:
            rows.append([name, "**FAILED**", row["error"][:200].replace("\n", " "), *[""] * 6])
            continue
        ours, torch = row["ours"], row["torch"]
        spread = min(row["rounds"]["ours"]) / max(row["rounds"]["ours"])
        mfu = (f"{who['mfu']:.1%}" if "mfu" in who else "-" for who in (ours, torch))
        rows.append(
            [
                name,
                f"{ours['tokens_per_s']:,.0f}",
                f"{torch['tokens_per_s']:,.0f}",
                f"{row['ratio']:.2f}x",
                *mfu,
                mebibytes(ours["memory_bytes"]),
                mebibytes(torch["memory_bytes"]),
                f"{spread:.0%}",
            ]
        )
    attention = sorted({row["attention"] for row in data["shapes"].values() if "error" not in row})
    lines += table(
        [
            "shape",
            "tokens/s",
            "PyTorch's",
            "ratio",
            "MFU",
            "PyTorch's",
            "MiB",
            "PyTorch's",
            "slowest round of ours / fastest",
        ],
        rows,
    )
    return lines + [f"PyTorch's attention: {', '.join(attention)}.", ""] if attention else lines


def text_block(path: Path) -> list[str]:
    return ["```", *path.read_text().rstrip().splitlines(), "```", ""]


def floors(path: Path) -> list[str]:
    lines = path.read_text().splitlines()
    return [
        f"The least times of {sum(1 for line in lines[3:] if line.strip())} timed cases are in floors.txt; no "
        "time was measured.",
        "",
    ]


def experiment(path: Path) -> list[str]:
    def cell(name: str, text: str) -> str:
        try:
            number = float(text)
        except ValueError:
            return text or "-"
        return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"

    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        return ["No run was done.", ""]
    names = [name for name in rows[0] if name != "run"]
    return table(
        [name.replace("know/synbio/", "") for name in names],
        ([cell(name, row[name]) for name in names] for row in rows),
    )


class Section(NamedTuple):
    part: str
    title: str
    file: str
    lines: Callable[[Path], list[str]]


SECTIONS = [
    Section("parity", "CUDA against CPU and transformers", "parity.json", parity),
    Section("bench", "Kernels, share of floor", "bench.csv", bench),
    Section("bench", "Kernels, floors alone", "floors.txt", floors),
    Section("peers", "Whole steps beside PyTorch", "peers.json", peers),
    Section("profile", "Kernels of a training step (Nsight Compute)", "kernels.txt", text_block),
    Section("experiment", "Mixing ratio, real text and synthetic biographies", "experiment.csv", experiment),
    Section("sanitizer", "compute-sanitizer", "sanitizer.json", sanitizer),
]


def test_counts(log: Path) -> str:
    found = (
        re.findall(r"^\d+ passed, \d+ failed(?:, \d+ skipped)?", log.read_text(errors="replace"), re.MULTILINE)
        if log.exists()
        else []
    )
    return found[-1] if found else ""


def skipped_lines(folder: Path, parts: Iterable[str]) -> list[str]:
    lines = []
    for part in parts:
        log = folder / f"{part}.log"
        for line in log.read_text(errors="replace").splitlines() if log.exists() else []:
            if line.startswith("skipped: "):
                lines.append(f"- {part}: {line.removeprefix('skipped: ')}")
    return list(dict.fromkeys(lines))


def head(folder: Path, statuses: dict[str, Status], dry: bool) -> list[str]:
    facts: dict[str, Any] = (
        json.loads((folder / "environment.json").read_text()) if (folder / "environment.json").exists() else {}
    )

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
    rows = (
        [
            row.part,
            row.status if row.status != "failed" else "**failed**",
            f"{row.seconds} s",
            row.gpu,
            row.reason or (test_counts(folder / "tests.log") if row.part == "tests" else ""),
        ]
        for row in statuses.values()
        if row.part != "report"
    )
    return lines + table(["part", "", "took", "GPU", ""], rows)


def report(folder: Path) -> tuple[str, list[str]]:
    """The page, and the files that could not be read."""
    statuses = read_status(folder / "status.tsv")
    dry = any("dry run" in row.gpu for row in statuses.values())
    lines, unreadable = head(folder, statuses, dry), []
    for section in SECTIONS:
        path = folder / section.file
        if (
            section.part not in statuses
            or not path.exists()
            or (section.file == "floors.txt" and (folder / "bench.csv").exists())
        ):
            continue
        lines += [f"## {section.title}" + (f" ({DRY})" if dry else ""), ""]
        try:
            lines += section.lines(path)
        except (ValueError, KeyError, TypeError) as error:
            lines += [f"**{section.file} cannot be read**: {type(error).__name__} {error}", ""]
            unreadable.append(section.file)
        picture = MORE.get(section.part)
        if picture and (folder / picture).exists():
            lines += [f"![{section.title}]({picture})", ""]
    skipped = skipped_lines(folder, statuses)
    if skipped:
        lines += ["## Skipped", "", *skipped, ""]
    return "\n".join(lines), unreadable


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    args = parser.parse_args()
    try:
        text, unreadable = report(args.folder)
    except (OSError, ValueError) as error:
        print(f"error: {args.folder}: {error}; expected what scripts/on_gpu.sh leaves", file=sys.stderr)
        return 3
    args.out.write_text(text)
    if unreadable:
        print(f"error: cannot be read: {', '.join(unreadable)}", file=sys.stderr)
    return 3 if unreadable else 0


if __name__ == "__main__":
    sys.exit(main())
