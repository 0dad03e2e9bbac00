#!/usr/bin/env python3
"""Compares our logits with those of the real `transformers` on the same directory.

    python3 dev/oracle/check_logits.py DIR ids.npy logits.npy [--tolerance 1e-4]

ids (rows, T), logits (rows T, V). Exit code 0: within the tolerance; 1: not; 77: torch or transformers not importable.
"""

import argparse
import sys


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("ids")
    parser.add_argument("logits")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="largest absolute difference")
    parser.add_argument("--relative", type=float, help="instead: relative L2 norm of the difference, for logits computed in bf16")
    args = parser.parse_args()
    try:
        import numpy as np
        import torch
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        print(f"skipped: {error}")
        return 77
    ids, ours = np.load(args.ids), np.load(args.logits)
    model, info = AutoModelForCausalLM.from_pretrained(args.directory, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[kind]:
            print(f"{kind}: {info[kind]}")
            return 1
    with torch.no_grad():
        theirs = model.float().eval()(torch.from_numpy(ids.astype(np.int64))).logits.numpy()
    difference = float(np.abs(ours.reshape(theirs.shape) - theirs).max())
    print(f"{type(model).__name__}: largest difference {difference:.3g} in logits up to {np.abs(theirs).max():.3g}")
    if args.relative is not None:
        error = float(np.linalg.norm(ours.reshape(theirs.shape) - theirs) / np.linalg.norm(theirs))
        print(f"relative L2 norm of the difference {error:.3g}")
        return 0 if error <= args.relative else 1
    return 0 if difference <= args.tolerance else 1


if __name__ == "__main__":
    sys.exit(main())
