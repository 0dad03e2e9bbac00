"""A plain PyTorch training step of the same shapes: forward, backward, clipped AdamW. The peer that cpu_vs_torch.py measures.

Run as a program (by cpu_vs_torch.py, in a process of its own, under any Python that has torch) it prints one JSON object:
{"torch": version, "step_seconds": [...]}. Works with PyTorch 1.13 and newer.
"""
from __future__ import annotations

import json
import math
import sys
import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    T = q.shape[-2]
    mask = torch.ones(T, T, dtype=torch.bool).triu(1)
    scores = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).masked_fill(mask, -math.inf)
    return scores.softmax(-1) @ v


class Block(nn.Module):
    def __init__(self, C: int, heads: int, neox: bool) -> None:
        super().__init__()
        self.heads, self.neox = heads, neox
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


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    D = cos.shape[-1]
    part, rest = x[..., :D], x[..., D:]
    half = torch.cat((-part[..., D // 2 :], part[..., : D // 2]), dim=-1)
    return torch.cat((part * cos + half * sin, rest), dim=-1)


class Gpt(nn.Module):
    def __init__(self, neox: bool, L: int, C: int, heads: int, V: int, T: int) -> None:
        super().__init__()
        self.wte = nn.Embedding(V, C)
        self.wpe = None if neox else nn.Embedding(T, C)
        self.blocks = nn.ModuleList(Block(C, heads, neox) for _ in range(L))
        self.lnf = nn.LayerNorm(C)
        self.head = nn.Linear(C, V, bias=False)
        if not neox:
            self.head.weight = self.wte.weight
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)
        D = C // heads // 4 // 2 * 2
        angles = torch.outer(torch.arange(T), 10000.0 ** (-torch.arange(0, D, 2) / D)).repeat(1, 2)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        self.register_buffer("positions", torch.arange(T))

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        x = self.wte(tokens)
        if self.wpe is not None:
            x = x + self.wpe(self.positions)
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


def main() -> None:
    options = json.loads(sys.argv[1])
    torch.set_num_threads(options["threads"])
    torch.manual_seed(1)
    shape = options["shape"]
    B, T, V = shape["B"], shape["T"], shape["V"]
    model = Gpt(shape["neox"], shape["L"], shape["C"], shape["heads"], V, T)
    optimizer = make_adamw(model)
    seconds = []
    for _ in range(options["steps"]):
        rows = torch.randint(0, V, (B, T + 1))
        start = time.perf_counter()
        loss = model(rows[:, :-1], rows[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"torch": torch.__version__, "step_seconds": seconds}))


if __name__ == "__main__":
    main()
