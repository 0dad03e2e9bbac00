#!/usr/bin/env python3
"""What a run of on_gpu.sh ran on: date, commit, GPU, driver, CUDA, compilers, libraries; one JSON object, null for what
is not there.

environment.py --commit 0123abc --torch python3 --out environment.json [--dry-run]
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path


def output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 and done.stdout.strip() else None


def gpu() -> dict[str, str]:
    line = output(
        "nvidia-smi",
        "--id=0",
        "--query-gpu=name,driver_version,memory.total,power.limit,compute_cap",
        "--format=csv,noheader",
    )
    return (
        dict(zip(("gpu", "driver", "gpu_memory", "power_limit", "compute_capability"), line.split(", ")))
        if line
        else {}
    )


def first_match(pattern: str, text: str | None) -> str | None:
    match = re.search(pattern, text or "")
    return match[1] if match else None


def processor() -> str | None:
    info = Path("/proc/cpuinfo")
    return first_match(r"model name\s*:\s*(.+)", info.read_text() if info.exists() else None)


def version_of(python: str, package: str) -> str | None:
    return output(python, "-c", f"from importlib.metadata import version; print(version('{package}'))")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commit", required=True)
    parser.add_argument("--torch", required=True, metavar="PYTHON", help="the Python of the peer")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--dry-run", action="store_true")
    args = parser.parse_args()
    facts = {"date": datetime.date.today().isoformat(), "commit": args.commit, "dry_run": args.dry_run}
    facts |= dict.fromkeys(("gpu", "driver", "gpu_memory", "power_limit", "compute_capability")) | gpu()
    facts |= {
        "driver_cuda": first_match(r"CUDA Version: ([\d.]+)", output("nvidia-smi")),
        "nvcc": first_match(r"release ([\d.]+)", output("nvcc", "--version")),
        "compiler": (output(os.environ.get("CXX", "g++"), "--version") or "").split("\n")[0] or None,
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
    }
    facts |= {package: version_of(args.torch, package) for package in ("torch", "transformers")}
    args.out.write_text(json.dumps(facts, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
