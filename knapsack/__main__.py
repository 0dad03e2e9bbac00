"""python -m knapsack COMMAND ...   (knapsack COMMAND ... once installed with pip)"""

from __future__ import annotations

import difflib
import importlib
import sys

from knapsack.common.errors import UsageError, run

# group: command: (module with main(argv), what it does)
GROUPS = {
    "make data": {
        "text": ("knapsack.text.command", "text, JSONL, parquet, a Hugging Face data set -> token shards"),
        "tokenizer": ("knapsack.text.train_tokenizer", "train a small byte-level BPE vocabulary on a mixture of texts"),
        "synbio": ("knapsack.synbio.command", "synthetic biographies: a knowledge source and its question sets"),
        "facts": ("knapsack.facts.command", "real facts: tables of them, sources to train on, questions to ask"),
        "reasoning": ("knapsack.reasoning.command", "slope and maximum problems: training text, questions, the check"),
        "verify": ("knapsack.shards.verify", "check shards, knowledge sources and question sets"),
        "lm-eval": ("knapsack.export.lm_eval", "a question set as a task of lm-evaluation-harness"),
    },
    "run": {
        "sweep": ("knapsack.runs.sweep", "train a grid of runs one after the other, and evaluate each"),
        "runs": ("knapsack.runs.table", "runs as a table, CSV or JSON"),
        "select": ("knapsack.runs.select", "entities to go on with, by what a run knows of them"),
    },
    "study": {
        "study": ("knapsack.study.command", "a declared grid with its laws and predictions: plan, run, report"),
    },
    "analyse": {
        "curves": ("knapsack.analysis.forgetting.command", "when each fact is learned and forgotten, with fits"),
        "infusion": (
            "knapsack.analysis.infusion.command",
            "retention over exposures of real facts, where it collapses",
        ),
        "laws": ("knapsack.analysis.laws.command", "the critical dose over sizes and horizons: a law, put to the test"),
        "capacity": ("knapsack.analysis.capacity.command", "bits of capacity of each size, from runs on facts alone"),
        "popularity": (
            "knapsack.analysis.popularity.command",
            "outside models by lm-eval logs: threshold popularity, laws over sizes",
        ),
        "plot": ("knapsack.analysis.plot", "figures: `plot mixing` and `plot experiment`"),
    },
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}


def overview() -> str:
    lines = [__doc__ or ""]
    for group, commands in GROUPS.items():
        lines += ["", f"{group}:", *(f"  {name:10} {summary}" for name, (_, summary) in commands.items())]
    return "\n".join(
        [*lines, "", "`knapsack COMMAND --help` says more. Exit codes: 0, 1 run-time error, 2 usage, 3 bad data."]
    )


def call(argv: list[str]) -> int | None:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    name, *rest = argv
    if name not in COMMANDS:
        nearest = difflib.get_close_matches(name, COMMANDS, 1, cutoff=0.0)[0]
        raise UsageError(f"no command '{name}'; did you mean '{nearest}'? `knapsack --help` lists all")
    from knapsack.common import files  # with numpy, which the list of commands does without

    files.begin_command()
    failed = True
    try:
        code = importlib.import_module(COMMANDS[name][0]).main(rest)
        failed = False
        return code
    except BrokenPipeError:  # nobody reads what it prints; what it wrote is as it should be
        failed = False
        raise
    finally:
        files.end_command(undo=failed and name in GROUPS["make data"])


def main(argv: list[str] | None = None) -> int:
    """`argv`: without the program; by default this process's."""
    argv = sys.argv[1:] if argv is None else argv
    program = " ".join(["knapsack", *(name for name in argv[:1] if name in COMMANDS)])
    return run(lambda: call(argv), program)


if __name__ == "__main__":
    sys.exit(main())
