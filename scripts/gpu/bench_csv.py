#!/usr/bin/env python3
"""What bench_gpu printed, as CSV: a row a case with its time, what it reached and its share of the floor.

  build/cuda-sm_90a/bench_gpu --check | scripts/gpu/bench_csv.py --out bench.csv        (passes through what it reads)

--append goes on in a file that is there. Exit code 1 where a case was WRONG, 3 where there is no case at all.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from pathlib import Path

COLUMNS = ["case", "us", "reached", "unit", "percent_of_floor", "verdict"]
LINE = re.compile(
    r"(?P<case>\S.*?)\s+(?P<us>[\d.]+)\s+(?P<reached>[\d.]+) "
    r"(?P<unit>GB/s|TFLOP/s)\s+(?:(?P<percent_of_floor>\d+) %|-)(?:\s+(?P<verdict>ok|WRONG))?\s*"
)


def read_line(line: str) -> dict[str, str] | None:
    """The columns of a case; None for any other line."""
    match = LINE.fullmatch(line.rstrip("\n"))
    return {name: match[name] or "" for name in COLUMNS} if match else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--append", action="store_true")
    args = parser.parse_args()
    go_on = args.append and args.out.exists()
    before = list(csv.DictReader(args.out.read_text().splitlines())) if go_on else []
    count, wrong = len(before), any(row["verdict"] == "WRONG" for row in before)
    with args.out.open("a" if go_on else "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if not go_on:
            writer.writeheader()
        for line in sys.stdin:
            sys.stdout.write(line)
            sys.stdout.flush()
            if row := read_line(line):
                writer.writerow(row)
                file.flush()  # a benchmark that is stopped leaves what it had
                count, wrong = count + 1, wrong or row["verdict"] == "WRONG"
    if count == 0:
        print("bench_csv.py: no line of a case in what bench_gpu printed", file=sys.stderr)
        return 3
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
