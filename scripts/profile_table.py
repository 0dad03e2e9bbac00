#!/usr/bin/env python3
"""A table of Nsight Compute's counters, one line a kernel: calls, time, bytes, flops, share of the roof.

  scripts/profile_table.py runs/profile/kernels.csv [--bandwidth 4.8e12] [--tensor 989e12] [--fp32 67e12]

The CSV is `ncu --import REPORT --csv --page raw` with the metrics that scripts/profile.sh asks for. Bytes are those
that crossed the memory bus, flops those that the tensor cores and the FMA pipes did. The roof of a kernel is the larger
of bytes / bandwidth and flops / peak (defaults: H200); its share is the roof over the time measured. What a kernel
should have moved at least is `make bench`'s business.
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import dataclass
from pathlib import Path

TIME, BYTES, REGISTERS = "gpu__time_duration.sum", "dram__bytes.sum", "launch__registers_per_thread"
FMA, TENSOR = "smsp__sass_thread_inst_executed_op_ffma_pred_on.sum", "sm__ops_path_tensor_src_bf16_dst_fp32.sum"
SCALE = {
    "": 1.0,
    "ns": 1e-9,
    "nsecond": 1e-9,
    "us": 1e-6,
    "usecond": 1e-6,
    "ms": 1e-3,
    "msecond": 1e-3,
    "s": 1.0,
    "second": 1.0,
    "byte": 1.0,
    "Kbyte": 1e3,
    "Mbyte": 1e6,
    "Gbyte": 1e9,
    "inst": 1.0,
    "register/thread": 1.0,
}


@dataclass
class Kernel:
    calls: int = 0
    seconds: float = 0.0
    bytes: float = 0.0
    tensor_flops: float = 0.0
    fp32_flops: float = 0.0
    registers: int = 0


def read_kernels(path: Path) -> dict[str, Kernel]:
    """Kernels by name without template arguments, in the order of their first launch."""
    with path.open(newline="") as file:
        rows = [row for row in csv.reader(line for line in file if not line.startswith("==")) if row]
    if len(rows) < 2 or "Kernel Name" not in rows[0]:
        raise ValueError(f"{path}: expected the output of ncu --csv --page raw, found no column 'Kernel Name'")
    names, units = rows[0], rows[1]
    missing = [name for name in (TIME, BYTES) if name not in names]
    if missing:
        raise ValueError(f"{path}: no column {missing[0]}; scripts/profile.sh names the metrics")
    kernels: dict[str, Kernel] = {}
    for row in rows[2:]:

        def number(metric: str, row: list[str] = row) -> float:
            if metric not in names:
                return 0.0
            at = names.index(metric)
            unit = units[at]
            if unit not in SCALE:
                raise ValueError(f"{path}: {metric} is in '{unit}', which is not known here")
            return float(row[at].replace(",", "") or 0) * SCALE[unit]

        name = row[names.index("Kernel Name")].split("(")[0].split("<")[0].split("::")[-1].split(" ")[-1]
        kernel = kernels.setdefault(name, Kernel())
        kernel.calls += 1
        kernel.seconds += number(TIME)
        kernel.bytes += number(BYTES)
        kernel.tensor_flops += number(TENSOR)
        kernel.fp32_flops += 2 * number(FMA)
        kernel.registers = max(kernel.registers, int(number(REGISTERS)))
    return kernels


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--bandwidth", type=float, default=4.8e12, help="bytes per second")
    parser.add_argument("--tensor", type=float, default=989e12, help="dense bf16 FLOP/s")
    parser.add_argument("--fp32", type=float, default=67e12, help="FLOP/s")
    o = parser.parse_args()
    try:
        kernels = read_kernels(o.csv)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    total = sum(k.seconds for k in kernels.values())
    print(
        f"{'kernel':44} {'calls':>6} {'ms':>9} {'time':>6} {'GB':>9} {'TB/s':>6} {'TFLOP':>8} {'TFLOP/s':>8} "
        f"{'of roof':>8} {'regs':>5}"
    )
    for name, k in sorted(kernels.items(), key=lambda item: -item[1].seconds):
        flops = k.tensor_flops + k.fp32_flops
        roof = max(k.bytes / o.bandwidth, k.tensor_flops / o.tensor, k.fp32_flops / o.fp32)
        print(
            f"{name[:44]:44} {k.calls:6} {k.seconds * 1e3:9.3f} {k.seconds / total:6.1%} {k.bytes / 1e9:9.3f} "
            f"{k.bytes / k.seconds / 1e12:6.2f} "
            f"{flops / 1e12:8.3f} {flops / k.seconds / 1e12:8.1f} {roof / k.seconds:8.0%} {k.registers:5}"
        )
    print(f"{'sum':44} {sum(k.calls for k in kernels.values()):6} {total * 1e3:9.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
