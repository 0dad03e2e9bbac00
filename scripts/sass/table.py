"""The table of counts and predictions: as JSON for the check, as Markdown for people; and what an older one had."""

from __future__ import annotations

import datetime
import json
import re
import subprocess
from dataclasses import asdict
from typing import Any, NamedTuple

from counts import Kernel, Mix

import model

JSON_FILE, PAGE = "counts.json", "README.md"
HEAD_SIZES = [16, 32, 64, 80, 128]
ORDERS = {"falling level over all rows": None, "by groups of 32,768 tokens": 1 << 15}
ROWS_OF_L2 = [32, 64, 128, 256, 512]  # rows


# ---- JSON -----------------------------------------------------------------------------------------------------------


def facts_of(kernel: Kernel) -> dict[str, Any]:
    facts = asdict(kernel)
    del facts["name"]
    facts["parts"] = {part: {k: v for k, v in mix.items() if v} for part, mix in facts["parts"].items()}
    return facts


def document(kernels: dict[str, Kernel], compiler: str, disassembler: str, arch: str) -> dict[str, Any]:

    def git(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(["git", *arguments], cwd=model.ROOT, capture_output=True, text=True)

    commit = git("describe", "--always", "--abbrev=12", "--exclude", "*").stdout.strip()
    if commit and git("diff", "--quiet", "HEAD", "--", "kernels").returncode != 0:
        commit += ", kernels changed"
    return {
        "compiler": compiler,
        "disassembler": disassembler,
        "arch": arch,
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "commit": commit or "unknown",
        "kernels": {name: facts_of(kernel) for name, kernel in kernels.items()},
        "predicted": {
            f"{step.model.name} on {step.machine.name}": {
                "seconds": round(step.gpu, 5),
                "micro_batch": step.rows,
                "launches": step.launches,
                "parts": {part: round(seconds, 5) for part, seconds in step.parts.items()},
            }
            for step in steps(kernels)
        },
    }


def steps(kernels: dict[str, Kernel]) -> list[model.Step]:
    return [model.predict(m, machine, kernels) for m in model.MODELS for machine in model.MACHINES]


def dump(doc: dict[str, Any]) -> str:
    """A kernel a line, so that a change of one is a change of a line."""
    lines = ["{"]
    for i, (key, value) in enumerate(doc.items()):
        comma = "," if i + 1 < len(doc) else ""
        if isinstance(value, dict):
            rows = [f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in value.items()]
            lines += [f" {json.dumps(key)}: {{", ",\n".join(rows), f" }}{comma}"]
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value)}{comma}")
    return "\n".join([*lines, "}", ""])


def kernels_of(doc: dict[str, Any]) -> dict[str, Kernel]:
    return {
        name: Kernel(name, **{**facts, "parts": {part: Mix(**mix) for part, mix in facts["parts"].items()}})
        for name, facts in doc["kernels"].items()
    }


# ---- what got worse -------------------------------------------------------------------------------------------------


class Change(NamedTuple):
    kernel: str
    count: str
    was: float | None  # None: it was not there
    now: float | None
    worse: bool

    def __str__(self) -> str:
        was, now = ("none" if value is None else f"{value:g}" for value in (self.was, self.now))
        return f"{self.kernel}: {self.count}: was {was}, is {now}"


def measures(kernel: Kernel) -> dict[str, float]:
    """Counts of which fewer are better. A tile's are per product, because tiles of other sizes do other work."""
    found: dict[str, float] = {
        "bytes spilled": kernel.spill_bytes,
        "bytes of local memory": kernel.stack_bytes,
        "stores of less than 4 bytes": kernel.narrow_stores,
        "stores of less than 16 bytes": sum(n for width, n in kernel.stores.items() if int(width) < 16),
    }
    for part, mix in kernel.parts.items():
        per, label = (mix.hmma, " a product") if kernel.unit == "tile" else (1, " a pack")
        for name in ("instructions", "shared_cycles", "mufu", "load_bytes", "store_bytes"):
            found[f"{part}: {name.replace('_', ' ')}{label}"] = round(getattr(mix, name) / per, 4)
    return found


def resident_warps(kernel: Kernel) -> int:
    shared = model.tile_of(kernel).shared_bytes if "tile" in kernel.parts else 0
    return model.blocks_per_sm(kernel, shared, model.MACHINES[0]) * kernel.threads // 32


def compare(old: dict[str, Kernel], new: dict[str, Kernel]) -> list[Change]:
    """All that differs, kernel by kernel. A count that is not found any more is worse: nobody would see it grow."""
    changes = []
    for name in sorted(old.keys() | new.keys()):
        if name not in old or name not in new:
            # worse or not, nobody can say: the table must have it
            changes.append(Change(name, "kernels", int(name in old), int(name in new), True))
            continue
        was, now = measures(old[name]), measures(new[name])
        for count in [*was, *(count for count in now if count not in was)]:
            before, after = was.get(count), now.get(count)
            if before != after:
                worse = before is not None and (after is None or after > before)
                changes.append(Change(name, count, before, after, worse))
        warps = [resident_warps(kernel) for kernel in (old[name], new[name])]
        if warps[0] != warps[1]:
            changes.append(Change(name, "warps on an SM", *warps, warps[1] < warps[0]))
        if old[name].registers != new[name].registers:
            changes.append(Change(name, "registers", old[name].registers, new[name].registers, False))
    return changes


# ---- Markdown -------------------------------------------------------------------------------------------------------


def rows(header: list[str], body: list[list[Any]]) -> list[str]:
    def row(cells: list[Any]) -> str:
        return "| " + " | ".join(f"{cell:g}" if isinstance(cell, float) else str(cell) for cell in cells) + " |"

    return [row(header), "|" + "---|" * len(header), *map(row, body), ""]


def by_width(accesses: dict[str, int]) -> str:
    return ", ".join(f"{number} x {width}" for width, number in accesses.items())


def tera(value: float) -> str:
    return f"{value / 1e12:.0f}"


def attention_section(kernels: dict[str, Kernel]) -> list[str]:
    body = []
    machine = model.MACHINES[0]
    for HS in HEAD_SIZES:
        for kernel in (kernel for sizes in model.attention_kernels(kernels, HS) for kernel in sizes):
            tile, mix, ceilings = model.tile_of(kernel), kernel.parts["tile"], model.ceilings(kernel, machine)
            blocks = model.blocks_per_sm(kernel, tile.shared_bytes, machine)
            body.append(
                [
                    re.sub(r"attention_|_kernel.*", "", kernel.name).replace("_", " "),
                    HS,
                    f"{tile.own} x {tile.other}",
                    *(mix.hmma, mix.ldsm, mix.lds, mix.ldgsts, mix.mufu, mix.instructions),
                    mix.shared_cycles * tile.warps,
                    f"**{tera(ceilings['shared'])}**",
                    tera(ceilings["issue"]),
                    kernel.registers,
                    kernel.spill_bytes,
                    f"{blocks} ({blocks * tile.warps})",
                    by_width(kernel.stores),
                ]
            )
    header = ["kernel", "HS", "own x other rows", "HMMA", "LDSM", "LDS", "cp.async", "MUFU", "instructions"]
    header += ["shared cycles", "by shared memory", "by issue", "registers", "spilled", "blocks (warps) on an SM"]
    return [
        "## Attention, a tile",
        "",
        "bf16. Counts are a warp's, shared cycles the block's; ceilings in TFLOP/s on an H100, all tiles counted in "
        "full. `mma.sync`",
        f"itself reaches {tera(model.MMA_SHARE * machine.peak)}. Rows and shared memory follow from the counts.",
        "",
        *rows([*header, "stores x bytes"], body),
    ]


def pack_section(kernels: dict[str, Kernel]) -> list[str]:
    body = []
    for kernel in kernels.values():
        if kernel.unit != "pack":
            continue
        for part, mix in kernel.parts.items():
            body.append(
                [
                    f"`{kernel.name}`",
                    part,
                    *(mix.instructions, mix.mufu, mix.load_bytes, mix.store_bytes),
                    by_width(kernel.loads),
                    by_width(kernel.stores),
                    *(kernel.registers, kernel.spill_bytes, resident_warps(kernel)),
                ]
            )
    header = ["kernel", "part", "instructions", "MUFU", "bytes read", "written", "loads x bytes", "stores x bytes"]
    return [
        "## Elsewhere, a pack of 8 elements",
        "",
        "A thread's, on the way that almost every pack takes: ends of rows and of arrays are left out. `row`: a row's "
        "work by its packs. Accesses by",
        "width: all that the kernel has, ends too.",
        "",
        *rows([*header, "registers", "spilled", "warps on an SM by registers"], body),
    ]


def wanted_section(kernels: dict[str, Kernel]) -> list[str]:
    machine = model.MACHINES[0]
    shared = [
        max(model.ceilings(kernel, machine)["shared"] for kernel in sizes)
        for sizes in model.attention_kernels(kernels, 64)
    ]
    spilled = sum(
        kernel.spill_bytes
        for HS in (32, 64, 80, 128)
        for sizes in model.attention_kernels(kernels, HS)
        for kernel in sizes
    )
    narrow = sum(k.narrow_stores for k in kernels.values() if "<bf16" in k.name and k.name.startswith("attention_"))
    step = model.predict(model.named("pythia-70m"), machine, kernels)
    body = [
        ["attention at HS = 64: ceiling by shared memory, TFLOP/s", ">= 550", ", ".join(map(tera, shared))],
        ["attention, bf16, HS = 32 to 128: bytes spilled", "0", spilled],
        ["classifier: instructions a pack, both passes", "<= 140", model.classifier_instructions(kernels)],
        ["attention: stores of less than 4 bytes", "0", narrow],
        [f"{step.model.name}, 1,048,576 tokens, {machine.name}: predicted step, s", "< 0.85", f"{step.gpu:.3f}"],
    ]
    return ["## What is wanted, and what is", "", *rows(["", "wanted", "is"], body)]


def l2_section(kernels: dict[str, Kernel]) -> list[str]:
    machine, one, several = model.MACHINES[0], model.named("pythia-70m"), model.named("llama-3.2-1b")
    by_groups = "by groups of 32,768 tokens"
    assert (one.T, one.HS) == (several.T, several.HS)
    body = []
    for m, orders in ((one, ORDERS), (several, {by_groups: ORDERS[by_groups]})):
        for kernel in (kernel for sizes in model.attention_kernels(kernels, m.HS) for kernel in sizes):
            own = model.tile_of(kernel).own
            for order, tokens in orders.items():
                shares = [model.attention_share(kernel, m, B, machine, tokens) for B in ROWS_OF_L2]
                name = re.sub(r"attention_|_kernel.*", "", kernel.name).replace("_", " ")
                row = [f"{name}, {own} rows", m.NH // m.KV, order, *(f"{100 * share:.1f} %" for share in shares)]
                body.append(row)
    return [
        "## Where attention's tiles come from",
        "",
        f"The share of tile reads that miss the L2 cache, T = {one.T}, HS = {one.HS}, by the query heads that share "
        "keys and values, the order of",
        f"the work list and the rows of a micro-batch; an LRU model of {machine.l2 >> 20} MiB. The kernels' list goes "
        f"by groups of {model.group_tokens():,} tokens.",
        "",
        *rows(["kernel", "heads", "order", *(f"B = {B}" for B in ROWS_OF_L2)], body),
    ]


def step_section(kernels: dict[str, Kernel]) -> list[str]:
    body, all_steps = [], steps(kernels)
    names = sorted({part for step in all_steps for part in step.parts}, key=model.PARTS.index)
    for step in all_steps:
        tokens = step.model.tokens / step.gpu
        body.append(
            [
                step.model.name,
                step.machine.name,
                f"**{1e3 * step.gpu:.1f}**",
                f"{tokens / 1e6:.3g}",
                *(f"{1e3 * step.parts.get(name, 0):.1f}" for name in names),
                step.launches,
                " / ".join(f"{1e3 * step.host(way):.1f}" for way in model.HOST_SECONDS),
            ]
        )
    header = ["model", "GPU", "step, ms", "M tokens/s", *names, "launches", "host, ms: a stream / a graph"]
    return [
        "## A step, predicted",
        "",
        "1,048,576 tokens in rows of 2,048 (GPT-2: 1,024) but where the name says otherwise; the micro-batch that "
        "fits. Milliseconds on",
        "the GPU; launches without those that cuBLASLt adds for a split sum. The host queues next to it; where its "
        "time is longer,",
        "launches bound the step.",
        "",
        *rows(header, body),
    ]


def constants_section() -> list[str]:
    h100 = model.MACHINES[0]
    rates = ", ".join(f"{size}: {tera(rate)}" for size, rate in model.LAYER_RATES.items())
    body = [
        ["HBM, TB/s that a copy reaches", ", ".join(f"{m.name} {m.hbm / 1e12:g}" for m in model.MACHINES)],
        ["SMs; clock, GHz; peak, TFLOP/s", f"{h100.sms}; {h100.clock / 1e9:g}; {tera(h100.peak)}"],
        ["mma.sync, of the peak", f"{model.MMA_SHARE:g}"],
        ["attention, of its lowest ceiling", f"{model.ATTENTION_SHARE:g}"],
        ["other kernels, of HBM / of issue", f"{model.MEMORY_SHARE:g} / {model.ISSUE_SHARE:g}"],
        ["layers' products, TFLOP/s by smallest dimension", rates],
        ["head's products, TFLOP/s from C = 512 on", tera(model.HEAD_RATE)],
        [
            "a kernel at least, us; a launch on the host, us",
            f"{1e6 * model.KERNEL_SECONDS:g}; "
            + ", ".join(f"{way} {1e6 * seconds:g}" for way, seconds in model.HOST_SECONDS.items()),
        ],
    ]
    return [
        "## The model's constants",
        "",
        "`scripts/sass/model.py` has them with their sources.",
        "",
        *rows(["", ""], body),
    ]


def rest_section(kernels: dict[str, Kernel]) -> list[str]:
    spilling = [[f"`{k.name}`", k.spill_bytes] for k in kernels.values() if k.spill_bytes]
    narrow = [[f"`{k.name}`", k.narrow_stores] for k in kernels.values() if k.narrow_stores and "<bf16" in k.name]
    return [
        "## All kernels",
        "",
        f"{len(kernels)} kernels, most registers {max(k.registers for k in kernels.values())}; "
        + ("these spill:" if spilling else "none spills. ")
        + ("" if spilling else "Stores of less than 4 bytes, at an array's end or a defect:"),
        "",
        *(rows(["kernel", "bytes spilled"], spilling) if spilling else []),
        *(["Stores of less than 4 bytes, at an array's end or a defect:", ""] if spilling else []),
        *rows(["kernel", "stores"], narrow),
    ]


def page(doc: dict[str, Any]) -> str:
    kernels = kernels_of(doc)
    lines = [
        "# Counts of the CUDA kernels, and the step that they predict",
        "",
        "**Predicted** from the instructions that nvcc generated; nothing on this page was measured. Written by "
        f"`make sass UPDATE=1`, {doc['date']},",
        f"at {doc['commit']}; {doc['compiler']}, {doc['arch']}; {doc['disassembler']}. `make sass` fails where a count "
        "is worse than in",
        f"`{JSON_FILE}`. How it counts, and what the model leaves out: `scripts/sass/README.md`.",
        "",
        *wanted_section(kernels),
        *step_section(kernels),
        *attention_section(kernels),
        *pack_section(kernels),
        *l2_section(kernels),
        *constants_section(),
        *rest_section(kernels),
    ]
    return "\n".join(lines).rstrip() + "\n"


# ---- the repository's README ----------------------------------------------------------------------------------------

README_HEADER = ["predicted, not measured", *(f"{m.name}: ms a step | M tokens/s" for m in model.MACHINES)]


def readme_table(doc: dict[str, Any]) -> list[str]:
    """A line a model of the steps of 1,048,576 tokens."""
    body = []
    for m in model.MODELS:
        if m.tokens == 1 << 20:
            times = [doc["predicted"][f"{m.name} on {machine.name}"]["seconds"] for machine in model.MACHINES]
            body.append([m.name, *(f"{1e3 * time:.0f} | {m.tokens / time / 1e6:.3g}" for time in times)])
    lines = rows(README_HEADER, body)
    return [lines[0], "|---|" + "---|---|" * len(model.MACHINES), *lines[2:-1]]


def with_readme_table(text: str, doc: dict[str, Any]) -> str:
    """The README with the table as `doc` has it."""
    new = readme_table(doc)
    begin = text.index(new[0] + "\n")
    end = text.index("\n\n", begin)
    return text[:begin] + "\n".join(new) + text[end:]
