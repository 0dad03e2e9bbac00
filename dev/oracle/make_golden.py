#!/usr/bin/env python3
"""Makes test/golden: tiny models with random weights, saved and run by the real `transformers`.

    python3 dev/oracle/make_golden.py [--out test/golden] [--only NAME...]

Needs torch, transformers, safetensors and numpy; the tests need none of them. Each folder is a Hugging Face directory
with ids.npy (u4, rows x T) and logits.npy (f4, (rows T) x V) next to the model; versions.json says what made each. The
weights are much larger than a real initialisation, so that a wrong layout, activation or rotary table moves the logits
by whole units.
"""

import argparse
import copy
import json
import pathlib
import platform
import shutil

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

ROWS, T, V = 2, 24, 97


def gpt2(**changes):
    sizes = dict(vocab_size=V, n_positions=32, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0)
    return GPT2LMHeadModel(GPT2Config(**{**sizes, **changes}))


def neox(**changes):
    sizes = dict(
        vocab_size=V,
        max_position_embeddings=32,
        hidden_size=32,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        rotary_pct=0.25,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPTNeoXForCausalLM(GPTNeoXConfig(**{**sizes, **changes}))


def llama(config=LlamaConfig, model=LlamaForCausalLM, **changes):
    """Of LlamaForCausalLM and those that follow it."""
    sizes = dict(
        vocab_size=V,
        max_position_embeddings=32,
        hidden_size=64,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    return model(config(**{**sizes, **changes}))


def qwen2(**changes):
    return llama(Qwen2Config, Qwen2ForCausalLM, **changes)


def qwen3(**changes):
    return llama(Qwen3Config, Qwen3ForCausalLM, **changes)


def randomize(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        is_norm = "ln_" in name or "norm" in name
        with torch.no_grad():
            p.copy_(1 + 0.3 * noise if is_norm and name.endswith("weight") else 0.3 * noise)


def save_plain(model, folder):
    model.save_pretrained(folder, safe_serialization=True)


def rounded_copy(model, dtype):
    """Rounds the model's weights and returns a copy that stores them so. The model itself never leaves fp32: `half()`
    would round its rotary tables too."""
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.to(dtype))
    return copy.deepcopy(model).to(dtype)


def save_in_pieces(model, folder):
    model.save_pretrained(folder, safe_serialization=True, max_shard_size="40KB")


def save_half(model, folder):
    """As the published Pythia files: F16 and with the buffers that old versions saved."""
    half = rounded_copy(model, torch.float16)
    half.save_pretrained(folder, safe_serialization=True)
    tensors = {k: v.clone().contiguous() for k, v in half.state_dict().items()}
    for layer in range(model.config.num_hidden_layers):
        at = f"gpt_neox.layers.{layer}.attention."
        tensors[at + "bias"] = torch.ones(1, 1, 32, 32, dtype=torch.bool).tril()
        tensors[at + "masked_bias"] = torch.tensor(-1e9)
        tensors[at + "rotary_emb.inv_freq"] = torch.ones(2)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def save_shards(model, folder):
    """As the published gpt2 file: names without `transformer.`; here also in BF16 and in several files."""
    rounded = rounded_copy(model, torch.bfloat16)
    rounded.transformer.save_pretrained(folder, safe_serialization=True, max_shard_size="20KB")


MODELS = {
    "gpt2": (lambda: gpt2(n_embd=24, n_head=3), save_plain),
    "gpt2_untied": (lambda: gpt2(tie_word_embeddings=False), save_plain),
    "gpt2_bf16_shards": (lambda: gpt2(n_embd=24, n_head=3), save_shards),
    "neox": (neox, save_plain),
    "neox_sequential": (lambda: neox(use_parallel_residual=False, rotary_pct=1.0, rotary_emb_base=500), save_plain),
    "neox_f16": (neox, save_half),
    "gpt2_inner": (lambda: gpt2(n_embd=24, n_head=3, n_inner=40), save_plain),
    "neox_inner": (lambda: neox(intermediate_size=72), save_plain),
    "llama": (llama, save_plain),
    "llama_tied_wide_heads": (
        lambda: llama(hidden_size=32, tie_word_embeddings=True, head_dim=16, num_key_value_heads=1, rope_theta=500.0),
        save_plain,
    ),
    "qwen2": (
        lambda: qwen2(
            hidden_size=112,
            num_attention_heads=7,
            num_key_value_heads=1,
            num_hidden_layers=1,
            tie_word_embeddings=True,
        ),
        save_plain,
    ),
    "qwen3": (lambda: qwen3(hidden_size=32, head_dim=16, num_key_value_heads=4, rms_norm_eps=1e-5), save_in_pieces),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    project = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--out", type=pathlib.Path, default=project / "test" / "golden")
    parser.add_argument("--only", nargs="*", choices=MODELS, default=list(MODELS), help="these; default: all")
    args = parser.parse_args()
    out = args.out
    torch.set_num_threads(1)
    made_by = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
    }
    known = out / "versions.json"
    versions = json.loads(known.read_text()) if known.exists() else {}
    for seed, (name, (make, save)) in enumerate(MODELS.items()):
        if name not in args.only:
            continue
        folder = out / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        model = make().eval()
        randomize(model, seed)
        save(model, folder)  # also rounds the model's weights to what it saves
        ids = np.random.default_rng(seed).integers(0, V, (ROWS, T), dtype=np.uint32)
        with torch.no_grad():
            logits = model(torch.from_numpy(ids.astype(np.int64))).logits.float().numpy()
        np.save(folder / "ids.npy", ids)
        np.save(folder / "logits.npy", logits.reshape(ROWS * T, V))
        versions[name] = made_by
        print(f"{name}: logits from {logits.min():.2f} to {logits.max():.2f}")
    known.write_text(json.dumps(versions, indent=2) + "\n")


if __name__ == "__main__":
    main()
