"""A plain PyTorch training step of the same shapes: forward, backward, clipped AdamW. The peer that cpu_vs_torch.py and
against_peers.py measure.

Run as a program, in a process of its own, under any Python that has torch, with its options as one JSON argument:
{"shape": {...}, "threads": N, "steps": N} trains that many steps and prints {"torch": version, "step_seconds": [...],
...}. With "serve": true in place of the steps it says so once it is ready and then trains as many steps as each line of
its input asks for, a JSON line each: what was compiled stays compiled.

"compile": true is torch.compile in its default mode (shapes fixed), "autocast": true bf16 by torch.autocast with float
weights and moments; neither by default. "device": "cuda" trains on the GPU with both, the residual stream in bf16 too,
and by the fastest of PyTorch's fused attentions. Works with PyTorch 1.13 and newer; compiled, with 2.0 and newer.

What a careful user would write: scaled_dot_product_attention, shared keys and values by its enable_gqa (copied to every
head before PyTorch 2.5, which brought it), weight decay on matrices only, AdamW fused where there is such, gradients
set to None, batches drawn before the clock starts, one read of the loss a step.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HAS_GROUPED_ATTENTION = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 5)


class RmsNorm(nn.Module):
    """nn.RMSNorm, for PyTorch before 2.4."""

    def __init__(self, C: int, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(C)), eps

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def rms_norm(C: int) -> nn.Module:
    return getattr(nn, "RMSNorm", RmsNorm)(C, eps=1e-5)


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """q (B, NH, T, HS); k, v (B, KV, T, HS), where query head h reads head h / (NH/KV)."""
    heads, kv_heads = q.shape[1], k.shape[1]
    if heads != kv_heads and HAS_GROUPED_ATTENTION:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    if heads != kv_heads:
        k, v = (t.repeat_interleave(heads // kv_heads, dim=1) for t in (k, v))
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    T = q.shape[-2]
    mask = torch.ones(T, T, dtype=torch.bool).triu(1)
    scores = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).masked_fill(mask, -math.inf)
    return scores.softmax(-1) @ v


class Block(nn.Module):
    """GPT-2's and Pythia's."""

    def __init__(self, shape: dict) -> None:
        super().__init__()
        C = shape["C"]
        self.heads, self.neox = shape["heads"], shape["family"] == "pythia"
        self.ln1, self.ln2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.qkv, self.proj = nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.fc, self.fcproj = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)

    def attention(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        B, T, C = x.shape
        q, k, v = (t.view(B, T, self.heads, C // self.heads).transpose(1, 2) for t in self.qkv(x).split(C, dim=2))
        if self.neox:
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        return self.proj(causal_attention(q, k, v).transpose(1, 2).reshape(B, T, C))

    def mlp(self, x: Tensor) -> Tensor:
        return self.fcproj(F.gelu(self.fc(x), approximate="none" if self.neox else "tanh"))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        if self.neox:
            return x + self.attention(self.ln1(x), cos, sin) + self.mlp(self.ln2(x))
        x = x + self.attention(self.ln1(x), cos, sin)
        return x + self.mlp(self.ln2(x))


class LlamaBlock(nn.Module):
    """RMS norm, grouped queries, a gated feed-forward, no biases; gate and up are one product, as q, k and v are."""

    def __init__(self, shape: dict) -> None:
        super().__init__()
        C, hidden = shape["C"], shape["F"]
        self.heads, kv_heads = shape["heads"], shape["kv_heads"] or shape["heads"]
        self.widths = [C, C // self.heads * kv_heads, C // self.heads * kv_heads]
        self.ln1, self.ln2 = rms_norm(C), rms_norm(C)
        self.qkv, self.proj = nn.Linear(C, sum(self.widths), bias=False), nn.Linear(C, C, bias=False)
        self.fc, self.fcproj = nn.Linear(C, 2 * hidden, bias=False), nn.Linear(hidden, C, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        B, T, C = x.shape
        parts = self.qkv(self.ln1(x)).split(self.widths, dim=2)
        q, k, v = (part.view(B, T, -1, C // self.heads).transpose(1, 2) for part in parts)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        x = x + self.proj(causal_attention(q, k, v).transpose(1, 2).reshape(B, T, C))
        gate, up = self.fc(self.ln2(x)).chunk(2, dim=2)
        return x + self.fcproj(F.silu(gate) * up)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    D = cos.shape[-1]
    part, rest = x[..., :D], x[..., D:]
    half = torch.cat((-part[..., D // 2 :], part[..., : D // 2]), dim=-1)
    return torch.cat((part * cos + half * sin, rest), dim=-1)


class Gpt(nn.Module):
    def __init__(self, shape: dict) -> None:
        super().__init__()
        C, V, T, family = shape["C"], shape["V"], shape["T"], shape["family"]
        self.wte = nn.Embedding(V, C)
        self.wpe = nn.Embedding(T, C) if family == "gpt2" else None
        block = LlamaBlock if family == "llama" else Block
        self.blocks = nn.ModuleList(block(shape) for _ in range(shape["L"]))
        self.lnf = rms_norm(C) if family == "llama" else nn.LayerNorm(C)
        self.head = nn.Linear(C, V, bias=False)
        if family == "gpt2":
            self.head.weight = self.wte.weight
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)
        D = C // shape["heads"] // (1 if family == "llama" else 4) // 2 * 2
        angles = torch.outer(torch.arange(T), 10000.0 ** (-torch.arange(0, D, 2) / D)).repeat(1, 2)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        self.register_buffer("positions", torch.arange(T))

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        x = self.wte(tokens)
        if self.wpe is not None:
            x = x + self.wpe(self.positions)
        if x.is_cuda:
            x = x.bfloat16()
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        logits = self.head(self.lnf(x))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


def make_adamw(model: nn.Module) -> torch.optim.Optimizer:
    matrices = [p for p in model.parameters() if p.dim() == 2]
    rest = [p for p in model.parameters() if p.dim() != 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    try:
        return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=True)
    except (RuntimeError, TypeError):  # before 2.4: fused needs a GPU
        return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95))


def fastest_attention(shape: dict) -> str:
    """Times the fused attentions alone, forward and backward, at the step's shape; leaves the fastest as the only one
    allowed."""
    switches = {
        "flash": torch.backends.cuda.enable_flash_sdp,
        "cudnn": getattr(torch.backends.cuda, "enable_cudnn_sdp", None),
        "efficient": torch.backends.cuda.enable_mem_efficient_sdp,
    }
    choices = {name: switch for name, switch in switches.items() if switch}

    def allow(chosen: str) -> None:
        torch.backends.cuda.enable_math_sdp(False)
        for name, switch in choices.items():
            switch(name == chosen)

    B, T, heads = shape["B"], shape["T"], shape["heads"]
    kv_heads = shape["kv_heads"] or heads
    q, k, v = (
        torch.randn(B, T, n, shape["C"] // heads, device="cuda", dtype=torch.bfloat16).transpose(1, 2).requires_grad_()
        for n in (heads, kv_heads, kv_heads)
    )
    times = {}
    for name in choices:
        allow(name)
        with contextlib.suppress(RuntimeError):  # not for this head size, or not on this GPU
            marks = [torch.cuda.Event(enable_timing=True) for _ in range(8)]
            for mark in marks:
                mark.record()
                causal_attention(q, k, v).sum().backward()
            torch.cuda.synchronize()
            times[name] = statistics.median(a.elapsed_time(b) for a, b in zip(marks[2:], marks[3:]))
    if not times:
        raise RuntimeError("none of the fused attentions takes this shape")
    best = min(times, key=lambda name: times[name])
    allow(best)
    return best


def memory_bytes(name: str) -> int:
    """VmRSS: what the process has in memory; VmHWM: the most it had since forget_peak."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(found[1]) if found else 0


def forget_peak() -> None:
    with contextlib.suppress(OSError):  # then the peak is that of compilation, too
        Path("/proc/self/clear_refs").write_text("5")


def graphs_compiled() -> int:
    """How often torch.compile has made code: it does so again where it meets what it did not expect."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return dynamo.counters["stats"]["unique_graphs"] if dynamo else 0


class Training:
    BATCHES = 8  # drawn once, taken in turn

    def __init__(self, options: dict) -> None:
        shape, device = options["shape"], options.get("device", "cpu")
        self.imported = memory_bytes("VmRSS")
        self.device, self.micro_steps = device, options.get("micro_steps", 1)
        self.model: nn.Module = Gpt(shape).to(device)
        self.parameters = list(self.model.parameters())
        self.optimizer = make_adamw(self.model)
        self.attention = fastest_attention(shape) if device == "cuda" else "as PyTorch chooses"
        self.autocast = device == "cuda" or options.get("autocast", False)
        if device == "cuda" or options.get("compile"):
            self.model = torch.compile(self.model, dynamic=False)
        self.batches = []
        for _ in range(self.BATCHES):
            rows = torch.randint(0, shape["V"], (shape["B"], shape["T"] + 1), device=device)
            self.batches.append((rows[:, :-1].contiguous(), rows[:, 1:].contiguous()))
        self.taken = 0

    def step(self) -> Tensor:
        for _ in range(self.micro_steps):
            tokens, targets = self.batches[self.taken % self.BATCHES]
            self.taken += 1
            with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.autocast):
                loss = self.model(tokens, targets) / self.micro_steps
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss

    def run(self, steps: int) -> list[float]:
        """Seconds of each step. On a GPU nothing waits between steps: events on its own clock take the time."""
        if self.device == "cuda":
            marks = [torch.cuda.Event(enable_timing=True) for _ in range(steps + 1)]
            marks[0].record()
            for mark in marks[1:]:
                self.step()
                mark.record()
            torch.cuda.synchronize()
            return [1e-3 * a.elapsed_time(b) for a, b in zip(marks, marks[1:])]
        seconds = []
        for _ in range(steps):
            start = time.perf_counter()
            self.step().item()
            seconds.append(time.perf_counter() - start)
        return seconds

    def report(self, steps: int) -> dict:
        seconds = self.run(steps)
        result = {
            "torch": torch.__version__,
            "step_seconds": seconds,
            "attention": self.attention,
            "graphs": graphs_compiled(),
            "peak_bytes": memory_bytes("VmHWM"),
            "imported_bytes": self.imported,
        }
        forget_peak()
        if self.device == "cuda":
            result |= {
                "peak_bytes": torch.cuda.max_memory_reserved(),
                "allocated_bytes": torch.cuda.max_memory_allocated(),
            }
            torch.cuda.reset_peak_memory_stats()
        return result


def main() -> None:
    options = json.loads(sys.argv[1])
    torch.set_num_threads(options["threads"])
    torch.manual_seed(1)
    training = Training(options)
    if not options.get("serve"):
        print(json.dumps(training.report(options["steps"])))
        return
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(training.report(int(line))), flush=True)


if __name__ == "__main__":
    main()
