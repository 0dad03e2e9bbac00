#!/usr/bin/env python3
"""How `knapsack text` grows with its input: time should be linear, memory a constant.

  dev/bench/text_scale.py                       64 MB
  dev/bench/text_scale.py --mb 64 --mb 256 --mb 1024 --json dev/results/text_scale.json

For each size a corpus is made in a temporary folder: half of it plain text, in which one document of 40 MB (or half the
file, if that is less), half of it .zst with a window of 128 MB, as `zstd --long` writes it. Printed are the speed,
seconds of processors (which others on the machine change less), and the peak of memory of the largest process and of
all of them together (their sum, sampled). Documents are counted again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import zstandard

ROOT = Path(__file__).resolve().parents[2]
MB = 10**6
LONG_DOCUMENT = 40 * MB
WINDOW = 27  # bits
EOT = "\n<|endoftext|>\n"
SAMPLE_SECONDS = 0.1


def make_documents(count: int) -> list[str]:
    """About 2 kB each: words by Zipf's law, sentences, numbers."""
    chance = random.Random(1)
    letters = "etaoinshrdlucmfwypvbgk"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 10))) for _ in range(20_000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    documents = []
    for number in range(count):
        sentences = []
        for _ in range(25):
            said = chance.choices(words, weights, k=chance.randint(5, 20))
            sentences.append(" ".join(said).capitalize() + f" in {chance.randint(1000, 2030)}.")
        documents.append(f"Number {number}. " + " ".join(sentences))
    return documents


def corpus(documents: list[str], size: int, long: int) -> Iterator[tuple[bytes, int]]:
    """Parts of `size` bytes of text, and how many documents end in each; the first document has `long` bytes."""
    written, number = 0, 0
    while written < size:
        document = documents[number % len(documents)]
        ends = written >= long
        part = (document + (EOT if ends else " ")).encode()
        written, number = written + len(part), number + 1
        yield part, ends


def write_corpus(folder: Path, documents: list[str], size: int) -> tuple[list[Path], int, int]:
    """Files, bytes of text, documents."""
    plain, packed = folder / "plain.txt", folder / "packed.txt.zst"
    total, count = 0, 0
    with plain.open("wb") as file:
        for part, ends in corpus(documents, size // 2, min(LONG_DOCUMENT, size // 4)):
            file.write(part)
            total, count = total + len(part), count + ends
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=WINDOW, enable_ldm=True)
    with zstandard.open(packed, "wb", zstandard.ZstdCompressor(compression_params=parameters)) as file:
        for part, ends in corpus(documents[::-1], size // 2, 0):
            file.write(part)
            total, count = total + len(part), count + ends
    return [plain, packed], total, count


def resident(session: int) -> int:
    """Bytes of all processes of a session."""
    pages = 0
    for process in os.listdir("/proc"):
        try:
            if process.isdigit() and os.getsid(int(process)) == session:
                pages += int(Path("/proc", process, "statm").read_text().split()[1])
        except (OSError, IndexError):  # it has ended
            continue
    return pages * os.sysconf("SC_PAGE_SIZE")


def run(command: list[str]) -> dict[str, float]:
    """Seconds, those of processors, and MB of the largest process and of all."""
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    began = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    most, ended = 0, threading.Event()

    def sample() -> None:
        nonlocal most
        while not ended.wait(SAMPLE_SECONDS):
            most = max(most, resident(process.pid))

    sampler = threading.Thread(target=sample)
    sampler.start()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    ended.set()
    sampler.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: ended with {process.returncode}")
    cpu = usage.ru_utime + usage.ru_stime
    return {"seconds": seconds, "cpu_seconds": cpu, "peak_mb": usage.ru_maxrss * 1024 / MB, "all_mb": most / MB}


def measure(folder: Path, documents: list[str], mb: int, workers: list[str]) -> dict[str, float]:
    files, size, count = write_corpus(folder, documents, mb * MB)
    out = folder / "out"
    call = [sys.executable, "-m", "knapsack", "text", *map(str, files), "--tokenizer", str(folder / "tok")]
    row = run([*call, "--out", str(out / "text"), *workers])
    found = json.loads((out / "text.json").read_text())["documents"]
    if found != count:
        sys.exit(f"{mb} MB: {found:,} documents, expected {count:,}")
    for file in [*files, *out.iterdir()]:
        file.unlink()
    return {"mb": size / MB, "mb_per_s": size / MB / row["seconds"]} | row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, action="append", help="size of the text, repeatable (default: 64)")
    parser.add_argument("--workers", metavar="N", help="of knapsack text (default: its own, the cores)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    documents = make_documents(3000)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "small.txt").write_text(EOT.join(documents[:1000]))
        train = ["tokenizer", str(folder / "small.txt"), "--vocab-size", "8000", "--out", str(folder / "tok")]
        run([sys.executable, "-m", "knapsack", *train])
        print(f"{'MB':>8} {'seconds':>8} {'MB/s':>7} {'CPU s':>8} {'peak MB':>8} {'of all':>8}")
        for mb in args.mb or [64]:
            row = measure(folder, documents, mb, ["--workers", args.workers] if args.workers else [])
            rows.append(row)
            values = (row[key] for key in ("mb", "seconds", "mb_per_s", "cpu_seconds", "peak_mb", "all_mb"))
            print("{:8.0f} {:8.1f} {:7.2f} {:8.1f} {:8.0f} {:8.0f}".format(*values), flush=True)
    if args.json:
        args.json.write_text(json.dumps({"command": sys.argv[1:], "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
