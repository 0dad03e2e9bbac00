"""knapsack study: what a file may say, the runs that follow, the studies that are shipped."""

import json
import os
import pathlib
import unittest

import support
from studies import KEEP, TOY, StudyTest, changed


def predicting(value: dict) -> str:
    return json.dumps({"blocks": {"L": {}}, "predictions": {"a": value}})


def only_L(**parts: object) -> str:
    return json.dumps({"blocks": {"L": {}}} | parts)


def branching(flags: dict) -> str:
    train = {"tokens": "16k", "batch-tokens": "1k"} | flags
    return only_L(blocks={"L": {"train": train, "branches": {"by": "branch", "vary": {"lr": [1, 2]}}}})


def with_reading(more: dict) -> str:
    return json.dumps(changed(hysteresis={"t": TOY["hysteresis"]["transition"] | more}))


def with_sign(more: dict) -> str:
    return json.dumps(changed(predictions={"a": TOY["predictions"]["sign"] | more}))


def selecting(trunks: dict | None = None, **parts: object) -> str:
    blocks = TOY["blocks"] | {"above": TOY["blocks"]["above"] | (trunks or {})}
    return json.dumps(changed(blocks=blocks, data={"keep": KEEP | parts}))


def with_table(parts: dict) -> str:
    table = {"blocks": ["L"], "measures": ["val/web/loss"], "against": {"model": "pythia:L1:C8:H1"}}
    return json.dumps(changed(tables={"t": table | parts}))


class DeclarationTest(StudyTest):
    def test_a_plan_says_what_commands_would_refuse(self) -> None:
        from knapsack.study.declare import read_study
        from knapsack.study.refusals import by_commands

        laws = {"a": {"blocks": ["L"], "arguments": "--sett x"}, "b": {"blocks": ["L"], "arguments": "--set x"}}
        steps = {
            "p": {"command": "synbyo --people 3"},
            "q": {"command": "synbio --people 3 --tokenizer {data}/tok --out {data}/q"},
            "r": {"command": "synbio --people 3 --peple 3 --tokenizer {data}/tok --out {data}/q"},
            "s": {"command": "facts write {data}/t.tsv --tokenizer {data}/tok --out {data}/q --tables 3"},
        }
        path = pathlib.Path(self.study({"blocks": {"L": {}}, "laws": laws, "data": steps}))
        study = read_study(path, pathlib.Path(self.path("out")), None)
        no_command, no_flag, no_flag_of_write, no_argument = by_commands(study, study.runs)
        self.assertIn("data: p: knapsack: no command 'synbyo'; did you mean 'synbio'?", no_command)
        self.assertRegex(no_flag, "^data: r: knapsack synbio: error: .*--peple 3")
        self.assertRegex(no_flag_of_write, "^data: s: knapsack facts.*--tables 3")
        self.assertIn("laws: a: arguments: unrecognized arguments: --sett x; see knapsack laws --help", no_argument)

    def test_a_plan_says_what_no_step_makes(self) -> None:
        from knapsack.study.declare import read_study
        from knapsack.study.refusals import by_sources

        steps = {"bio": {"command": "synbio --out {data}/rep{replicate}/bio"}}
        sources = ["bio={data}/rep{replicate}/bio.bin", "web={data}/web.bin", "more={data}/more*.bin"]
        train = {"source": sources, "questions": ["{data}/rep{replicate}/bio_questions", "{data}/boi_questions"]}
        value = {"blocks": {"L": {"replicates": 2}}, "train": train, "data": steps}
        study = read_study(pathlib.Path(self.study(value)), pathlib.Path(self.path("out")), None)
        pathlib.Path(self.path("out", "data")).mkdir(parents=True)
        said = by_sources(study, study.runs)
        self.assertEqual([one.partition(": ")[2].split("=")[0] for one in said[:2]], ["--source web", "--source more"])
        self.assertRegex(said[2], r": --questions .*boi_questions: no step of data makes it$")
        self.assertEqual(len(said), 3)
        for made in ("web.bin", "more_1.bin", "boi_questions.questions.json"):
            pathlib.Path(self.path("out", "data", made)).touch()
        self.assertEqual(by_sources(study, study.runs), [])

    def test_what_a_file_may_not_say(self) -> None:
        cases = {
            "[]": "expected an object",
            '{"block": {}}': "no key block; there are about",
            '{"blocks": {}}': "at least one block",
            '{"blocks": {"L": {"varies": {}}}}': "blocks: L: no key varies",
            '{"blocks": {"L": {"replicates": 0}}}': "replicates: expected a whole number",
            '{"blocks": {"L": {"train": {"seed": 1}}}}': "--seed is given, but a replicate sets it",
            '{"blocks": {"L": {"branches": {"by": "magic"}}}}': "by: expected init or branch",
            '{"blocks": {"L": {"branches": {"by": "init"}}}}': "L: branches: expected tokens in the train of the",
            '{"blocks": {"L": {}, "L": {"vary": {"lr": [1, 2]}}}}': 'the key "L" is there twice',
            only_L(order="M"): "order: M: no block 'M'; there are L",
            only_L(order="L:7"): "order: L:7: block L has no replicate 7; there are 1 to 1",
            only_L(train={"source": "web={dta}/x"}): "no place {dta}, found in 'web={dta}/x'; there are {data}, ",
            '{"blocks": {"L": {}}, "data": {"a": {"command": "text", "blocks": "M"}}}': "data: a: no block M",
            '{"blocks": {"L": {}}, "laws": {"a": {"blocks": ["M"]}}}': 'laws: a: no block "M"; there are L',
            predicting({}): "predictions: a: expected one of law, block and hysteresis",
            predicting({"block": "L", "measure": "x", "between": [2, 1]}): "a: between: expected .low, high., found",
            predicting({"block": "L", "measure": "x", "between": [1, 2], "at": {"lr": 1}}): "is at .*; L varies no",
            predicting({"block": "L", "measure": "x", "between": [1, 2]}): "expected the setting .*, found none; L var",
            only_L(laws={"a": {"blocks": ["L"], "arguments": "--set 'x"}}): "laws: a: arguments: no closing quotation",
            only_L(laws={"a": {"blocks": [["L"]]}}): "laws: a: expected a text",
            with_reading({"axis": "lr"}): "hysteresis: t: above: lr: no such axis",
            with_reading({"above": "L", "axis": "model"}): "'pythia:L1:C8:H1' is no number to be put in order",
            with_reading({"above": ["L"]}): "t: above: no block",
            only_L(vocabulary="abc"): 'vocabulary: expected a whole number above 0, found "abc"',
            only_L(vocabulary=True): "vocabulary: expected a whole number",
            only_L(rates="fast"): "rates: expected an object",
            only_L(rates={"tokens_per_s": {"a": "fast"}}): "rates: tokens_per_s: a: expected a number above 0",
            only_L(rates={"tokens_per_s": 5}): "rates: tokens_per_s: expected an object",
            only_L(data={"a": {"command": "text 'x"}}): "data: a: command: no closing quotation",
            selecting(after="M"): "data: keep: after: 'M' is no block whose branches go on by init",
            selecting(after="L"): "data: keep: after: 'L' is no block whose branches go on by init",
            selecting(blocks="above"): "data: keep: blocks: those of a step after above are the branches of above",
            selecting(command="select {trunk} pow"): "command: expected {replicate}, above has 2 replicates",
            selecting({"vary": {"lr": [1, 2]}}): "'above' is no block whose branches go on by init from one trunk each",
            with_table({"measures": []}): "tables: t: measures: expected at least one",
            with_table({"blocks": ["M"]}): "tables: t: no block M",
            with_table({"against": {"model": "x"}}): 'tables: t: against: no run is at {"model": "x"}',
            with_table({"against": {}}): "tables: t: against: several runs of a replicate are at {}",
            with_table({"rows": 1}): "tables: t: no key rows",
            branching({"cooldown": "abc"}): "--cooldown: expected a share of 0 to 1, found 'abc'",
            branching({"batch-tokens": "0"}): "--batch-tokens: '0' is not a count",
            branching({"tokens": "many"}): "--tokens: 'many' is not a count",
            predicting({"law": ["x"]}): 'a: law: there is no \\["x"\\]',
            predicting({"block": "L", "measure": "x", "between": [1, 2], "at": {"block": ["L"]}}): "at: no block",
            with_sign({"sign": "0"}): "margin: a prediction of 0 declares",
            with_sign({"sign": "0", "margin": 0}): "above 0; found 0",
            with_sign({"margin": 1}): "margin: only of a prediction of 0",
        }  # fmt: skip
        for text, said in cases.items():
            with self.subTest(text):
                self.write("bad.json", text)
                self.run_bad(2, said, "study", "run", self.path("bad.json"), "--out", self.path("out"))
        for said, path in (("bad.json: not JSON", self.write("bad.json", "{")), ("No such", self.path("none.json"))):
            self.run_bad(3, said, "study", "plan", path, "--out", self.path("out"))
        self.assertFalse(os.path.exists(self.path("out")))

    def test_blocks_are_chosen_in_order_and_by_replicate(self) -> None:
        from knapsack.study.choose import choose
        from knapsack.study.declare import read_study

        study = read_study(pathlib.Path(self.study()), pathlib.Path(self.path("out")), None)
        names = [one.run.name for one in choose(study, "above:2,L:1")]
        self.assertEqual(names[0], "above_trunk_replicate-2")
        self.assertEqual(len(names), 6)
        self.assertEqual([one.replicate for one in choose(study, "L")], [1, 1, 1, 2, 2, 2])
        branch = choose(study, "above:1")[1]
        self.assertEqual(branch.needs, ("above_trunk_replicate-1",))
        self.assertEqual(branch.run.flags["seed"], ["1"])
        self.assertTrue(branch.run.flags["init"][0].endswith("above_trunk_replicate-1/checkpoints/step_00000015"))
        self.assertNotIn("model", branch.run.flags)
        self.assertIn("rep1/pow.bin", branch.run.flags["source"][1])

    def test_a_law_may_be_of_a_part_of_a_block(self) -> None:
        from knapsack.study.choose import runs_of_law
        from knapsack.study.declare import read_study

        block = {"train": {"tokens": "48k"}, "branches": {"by": "branch", "vary": {"tokens": ["16k", "32k"]}}}
        laws = {"all": {"blocks": "H"}, "one": {"blocks": ["H"], "at": {"tokens": "16k"}},
                "long": {"blocks": ["H"], "at": [{"tokens": "32k"}, {"tokens": "48k"}]}}  # fmt: skip
        value = changed(blocks={"H": block}, laws=laws, hysteresis={}, predictions={}, replicates=1)
        study = read_study(pathlib.Path(self.study(value)), pathlib.Path(self.path("out")), None)
        found = {name: [run.setting["tokens"] for run in runs_of_law(study, law)] for name, law in study.laws.items()}
        self.assertEqual(found, {"all": ["48k", "16k", "32k"], "one": ["16k"], "long": ["48k", "32k"]})
        self.assertEqual(study.declared["laws"], laws)
        self.write("bad.json", json.dumps(value | {"laws": {"a": {"blocks": "H", "at": {"tokens": "64k"}}}}))
        self.run_bad(2, "laws: a: at: no run is at", "study", "plan", self.path("bad.json"), "--out", self.path("out"))

    def test_horizons_branch_where_their_cooldown_begins(self) -> None:
        from knapsack.study.declare import read_study

        block = {"train": {"tokens": "48k"}, "branches": {"by": "branch", "vary": {"tokens": ["16k", "32k"]}}}
        value = changed(blocks={"H": block}, laws={}, hysteresis={}, predictions={}, replicates=1)
        study = read_study(pathlib.Path(self.study(value)), pathlib.Path(self.path("out")), None)
        trunk, short, long = study.runs
        self.assertEqual(trunk.run.flags["checkpoint-at"], ["at:13,at:28,end"])  # 15 - 2, 31 - 3 of 46 steps
        self.assertEqual(trunk.run.flags["keep"], ["0"])
        self.assertEqual([one.setting["tokens"] for one in study.runs], ["48k", "16k", "32k"])
        self.assertTrue(short.run.flags["branch"][0].endswith("step_00000013"))
        self.assertTrue(long.run.flags["branch"][0].endswith("step_00000028"))

    def test_a_grid_has_replicates(self) -> None:
        grid = {
            "replicates": 2,
            "vary": {"ratio": ["bio=0.1", "bio=0.2"]},
            "train": {"source": ["web=web.bin", "bio=bio{replicate}.bin"]},
        }
        path = self.write("grid.json", json.dumps(grid))
        said = self.run_ok("sweep", "--grid", path, "--out", self.path("out"), "--dry-run")
        lines = [line for line in said.splitlines() if "train_gpt" in line]
        self.assertEqual(len(lines), 4)
        self.assertIn("--source web=web.bin --source bio=bio2.bin --ratio bio=0.1 --seed 2 --data-seed 2", lines[1])
        self.write("grid.json", json.dumps(grid | {"vary": {"seed": [1, 2]}}))
        self.run_bad(2, "--seed is given, but a replicate sets it", "sweep", "--grid", path, "--out", "x", "--dry-run")
        self.write("grid.json", '{"replicates": true}')
        self.run_bad(2, "replicates: expected a whole number", "sweep", "--grid", path, "--out", "x", "--dry-run")

    def test_studies_that_are_shipped(self) -> None:
        from knapsack.study.choose import choose
        from knapsack.study.declare import read_study
        from knapsack.study.predictions import check_predictions

        folder = pathlib.Path(support.REPOSITORY, "dev", "studies")
        counted = {}
        for path in sorted(folder.glob("*.json")):
            study = read_study(path, pathlib.Path(self.path("out")), None)
            check_predictions(study)
            counted[path.stem] = len(choose(study, None))
        self.assertEqual(
            counted,
            {"cpu-capacity": 27, "cpu-critical": 16,
                "cpu-gated": 39, "cpu-law": 73, "cpu-mitigation": 30, "gpu-quarter-hour": 8,
             "gu2025-410m": 6, "gu2025-70m": 34, "gu2025-frequency": 10, "lv2025-ladder": 32},
        )  # fmt: skip


if __name__ == "__main__":
    unittest.main()
