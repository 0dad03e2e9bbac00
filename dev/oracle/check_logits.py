#!/usr/bin/env python3
"""Compares our logits with those of the real `transformers` on the same directory.

    python3 dev/oracle/check_logits.py DIR ids.npy logits.npy [--tolerance 1e-4] [--device cuda]

ids (rows, T), logits (rows T, V). `transformers` computes in float. Exit code 0: within the tolerance; 1: not; 77:
torch or transformers not importable, or no GPU where one is asked for.
"""

import argparse
import json
import sys


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("ids")
    parser.add_argument("logits")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="largest absolute difference")
    parser.add_argument(
        "--relative", type=float, help="instead: relative L2 norm of the difference, for logits computed in bf16"
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where transformers computes")
    parser.add_argument("--json", metavar="FILE", help="the differences and the versions, for the record")
    args = parser.parse_args()
    try:
        import numpy as np
        import torch
        import transformers
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        print(f"skipped: {error}")
        return 77
    if args.device == "cuda" and not torch.cuda.is_available():
        print("skipped: torch sees no GPU")
        return 77
    ids, ours = np.load(args.ids), np.load(args.logits)
    model, info = AutoModelForCausalLM.from_pretrained(args.directory, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[kind]:
            print(f"{kind}: {info[kind]}")
            return 1
    with torch.no_grad():
        theirs = (
            model.float()
            .eval()
            .to(args.device)(torch.from_numpy(ids.astype(np.int64)).to(args.device))
            .logits.cpu()
            .numpy()
        )
    ours = ours.reshape(theirs.shape)
    difference = float(np.abs(ours - theirs).max())
    error = float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
    print(f"{type(model).__name__}: largest difference {difference:.3g} in logits up to {np.abs(theirs).max():.3g}")
    passed = difference <= args.tolerance
    if args.relative is not None:
        print(f"relative L2 norm of the difference {error:.3g}")
        passed = error <= args.relative
    if args.json:
        numbers = {
            "largest_difference": difference,
            "relative": error,
            "passed": passed,
            "device": args.device,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
        with open(args.json, "w") as file:
            json.dump(numbers, file)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
