"""Reasoning problems as training text: the slope through two points, the maximum of N numbers (arXiv 2505.18091, 3.3).

  knapsack reasoning slope --documents 50k --tokenizer data/bpe --out data/slope
  knapsack reasoning max --numbers 30 --documents 3000 --tokenizer data/bpe --out data/max
  knapsack reasoning check generated.jsonl --task slope

Writes PREFIX.{bin,idx,json}, a text shard with a worked problem a document; PREFIX_heldout.jsonl, problems that never
occur in it (in any order of their points or numbers); PREFIX_questions, a question set of these: the prompt is the
question, the answer the whole worked solution. Its exact match asks for every token of that solution (teacher-forced),
so it is a lower bound of solving: a model may reach the right number by other words. For the final answer alone, let
the model go on by itself, `eval_knowledge --questions PREFIX_questions --generate generated.jsonl --generate-tokens
320`, and `check` the texts: lines with "text" and with "prompt", "question" (text) or "problem" (the numbers).
"""

from __future__ import annotations

import argparse
import json

from knapsack.common.arguments import add_seed_flag, add_tokenizer_flags, add_workers_flag, make_parser, parse_count
from knapsack.common.files import write_file
from knapsack.common.survival import check_answers
from knapsack.common.tokenizer import load_tokenizer
from knapsack.reasoning.check import check
from knapsack.reasoning.problems import LIMIT, Task, identity
from knapsack.reasoning.write import Training, draw_heldout, heldout_records, write_questions

MOST_NUMBERS = 10_000
MOST_HELDOUT = 1_000_000  # they are kept in memory
MOST_DOCUMENTS = 1_000_000_000


def write(options: argparse.Namespace) -> None:
    task = Task(options.command, getattr(options, "numbers", 0), getattr(options, "solution", "") == "short")
    encoder = load_tokenizer(options.tokenizer, options.eot)
    encoder.install(options.out)
    check_answers(encoder, {str(number) for number in range(LIMIT)}, "numbers")
    heldout = draw_heldout(task, options.seed, options.heldout)
    questions = write_questions(options.out + "_questions", task, encoder, heldout)
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in heldout_records(task, heldout))
    write_file(options.out + "_heldout.jsonl", "".join(lines).encode())
    held = {identity(task.name, problem) for problem, _ in heldout}
    training = Training(task, encoder, options.seed, options.documents, held)
    shards, refused, different = training.write(options.out, options.workers)
    print(
        f"{options.out}: {shards.documents:,} documents, {different:,} different problems, {shards.tokens:,} tokens, "
        f"{shards.tokens / shards.documents:.1f} a document; {refused:,} draws were held out"
    )
    print(
        f"{options.out}_questions, {options.out}_heldout.jsonl: {questions.documents:,} problems, none of them in the "
        "text"
    )


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("reasoning", __doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, about in (("slope", "the slope through two points"), ("max", "the maximum of N numbers")):
        command = commands.add_parser(name, help=f"write problems: {about}", description=about)
        command.add_argument(
            "--documents", type=parse_count, required=True, metavar="N", help="worked problems in the training text"
        )
        command.add_argument("--out", required=True, metavar="PREFIX")
        add_tokenizer_flags(command)
        command.add_argument(
            "--heldout", type=parse_count, default=1000, metavar="N", help="problems for the questions (1000)"
        )
        add_seed_flag(command)
        add_workers_flag(command)
        if name == "max":
            command.add_argument(
                "--numbers", type=parse_count, default=30, metavar="N", help="of which the maximum is asked (30)"
            )
            command.add_argument(
                "--solution",
                choices=["steps", "short"],
                default="steps",
                help="running maximum (default), or the answer at once",
            )
    command = commands.add_parser("check", help="judge generated texts by their final answer")
    command.add_argument("answers", metavar="ANSWERS.jsonl")
    command.add_argument("--task", choices=["slope", "max"], help="where the lines have no 'task'")
    options = parser.parse_args(argv)
    if getattr(options, "numbers", 0) > MOST_NUMBERS:
        parser.error(f"--numbers: at most {MOST_NUMBERS:,}, since a problem is one document")
    if getattr(options, "heldout", 0) > MOST_HELDOUT:
        parser.error(f"--heldout: at most {MOST_HELDOUT:,} problems")
    if getattr(options, "documents", 0) > MOST_DOCUMENTS:
        parser.error(f"--documents: at most {MOST_DOCUMENTS:,}")
    return options


def main(argv: list[str]) -> None:
    options = parse_arguments(argv)
    check(options) if options.command == "check" else write(options)
