"""scripts/gpu/report.py on planted inputs; what on_gpu.sh refuses; the small scripts between the two."""

import json
import os
import pathlib
import signal
import stat
import subprocess
import sys
import time
import unittest

import support

SCRIPTS = os.path.join(support.REPOSITORY, "scripts")
PEERS = os.path.join(support.REPOSITORY, "dev/bench/against_peers.py")
REPORT, BENCH, SANITIZER = (
    os.path.join(SCRIPTS, name) for name in ("gpu/report.py", "gpu/bench_csv.py", "gpu/sanitizer.py")
)
GPU = "NVIDIA H200"
BENCH_LINES = """NVIDIA H200

case                                                                     us            reached  of floor
gelu_forward bf16 n=33554432                                          140.0          959 GB/s      80 %  ok
attention_forward bf16 B=32 T=2048 NH=8 HS=64                         690.0    200.1 TFLOP/s      21 %
layernorm_forward fp32 N=65536 C=512                                   99.5         2697 GB/s         -  WRONG
"""


class ReportTest(support.FolderTest):
    def status(self, *rows: tuple) -> None:
        """part, status, code, seconds, limit, GPU, reason"""
        self.write("status.tsv", "".join("\t".join(map(str, row)) + "\n" for row in rows))

    def report(self) -> str:
        self.run_ok(REPORT, self.folder, "--out", self.path("report.md"))
        with open(self.path("report.md")) as file:
            return file.read()

    def plant(self, gpu: str = GPU) -> None:
        self.write(
            "environment.json",
            json.dumps(
                {
                    "date": "2030-01-02",
                    "commit": "abc123",
                    "gpu": GPU,
                    "driver": "580.1",
                    "nvcc": "13.0",
                    "cores": 16,
                    "torch": None,
                }
            ),
        )
        self.status(
            ("tests", "passed", 0, 60, 300, gpu, ""),
            ("parity", "failed", 1, 40, 240, gpu, ""),
            ("bench", "failed", 1, 90, 300, gpu, ""),
            ("peers", "cut off", 124, 560, 560, gpu, "had 560 s"),
            ("sanitizer", "skipped", 77, 0, 560, gpu, "not installed"),
            ("profile", "not begun", "-", 0, 0, gpu, "not begun"),
            ("experiment", "running", "-", 0, 99, gpu, "began at 12:00:00"),
        )
        loss = {
            "what": "loss",
            "model": "pythia-14m",
            "steps": 200,
            "mean": 2e-7,
            "worst": 3e-6,
            "worst_step": 9,
            "tolerance": 1e-6,
            "last": 5.1,
            "last_cpu": 5.2,
        }
        logits = {"what": "logits", "model": "pythia-14m", "precision": "fp32", "tolerance": 1e-5, "passed": True}
        bits = {"what": "bits", "model": "llama:L6:C128:H4:KV1", "passed": False}
        self.write(
            "parity.json",
            json.dumps(
                {
                    "tokens_a_step": 1024,
                    "rows": [
                        {**loss, "precision": "fp32", "passed": True},
                        {**loss, "precision": "bf16", "mean": 0.25, "passed": False},
                        {**bits, "precision": "bf16", "differing": ["model.safetensors"]},
                        {**logits, "skipped": "no module named torch"},
                        {**bits, "precision": "fp32", "error": "train_gpt ended with code 1"},
                    ],
                    "missing": ["logits llama:L6:C128:H4:KV1 bf16"],
                }
            ),
        )
        numbers = {"tokens_per_s": 1.2e6, "mfu": 0.52, "memory_bytes": 3 << 30}
        self.write(
            "peers.json",
            json.dumps(
                {
                    "device": GPU,
                    "torch": "2.11",
                    "peak_flops": 989e12,
                    "measurement": True,
                    "missing": ["pythia-14m", "pythia-410m"],
                    "shapes": {
                        "pythia-14m": {"ours": numbers, "rounds": {"ours": [1.2e6]}},
                        "pythia-70m": {
                            "complete": True,
                            "torch_start_seconds": 31.4,
                            "ours": numbers,
                            "torch": {**numbers, "tokens_per_s": 8e5, "mfu": 0.35},
                            "ratio": 1.5,
                            "attention": "cudnn",
                            "rounds": {"ours": [1.1e6, 1.2e6]},
                        },
                        "pythia-410m": {"error": "ended with code 1:\nout of memory"},
                    },
                }
            ),
        )
        self.write("compile.json", json.dumps({"shapes": {"pythia-70m": {"cold_start_seconds": 61.2}}}))
        self.write("kernels.txt", "of a folder's earlier life\n")  # profile was not begun
        self.write("tests.log", "skipped: the whole-run tests: not built\n")
        counts = {"passed": 2, "failed": 0, "skipped": 0, "seconds": 1.5}
        self.write(
            "tests.json",
            json.dumps(
                {
                    "rows": [
                        {"target": "matmul", "verdict": "passed", **counts},
                        {"target": "gelu", "verdict": "failed", **counts, "failed": 1, "said": "row 3: error 0.5"},
                        {"target": "runs", "verdict": "not begun", "seconds": 0.0},
                    ]
                }
            ),
        )

    def test_a_page_of_what_is_there(self) -> None:
        self.plant()
        done = subprocess.run(
            [sys.executable, BENCH, "--out", self.path("bench.csv")], input=BENCH_LINES, capture_output=True, text=True
        )
        self.assertEqual((done.returncode, done.stdout), (1, BENCH_LINES))  # 1: a case is wrong
        page = self.report()
        for line in (
            "Commit abc123. NVIDIA H200, driver 580.1, nvcc 13.0, cores: 16.",
            "| tests | passed | 60 s | NVIDIA H200 | 4 passed, 1 failed, 0 skipped |",
            "| peers | **cut off** | 560 s | NVIDIA H200 | had 560 s |",
            "- peers: cut off, had 560 s: what it found is below",
            "- profile: not begun",
            "- experiment: was running when this was written (it began at 12:00:00, limit 99 s)",
            "| gelu | **FAILED** | 2 | 1 | 0 | 1.5 s |",
            "row 3: error 0.5",
            "| runs | not begun | - | - | - | 0.0 s |",
            "| bits | llama:L6:C128:H4:KV1 | fp32 | train_gpt ended with code 1 |  | **FAILED** |",
            "| logits | llama:L6:C128:H4:KV1 | bf16 |  |  | missing |",
            "| two runs | llama:L6:C128:H4:KV1 | bf16 | other model.safetensors | the same bits | **FAILED** |",
            "| logits against transformers | pythia-14m | fp32 | no module named torch | L2 1e-05 | skipped |",
            "**WRONG: layernorm_forward fp32 N=65536 C=512**",
            "| gelu_forward bf16 n=33554432 | 140.0 | 959 GB/s | 80 % | ok |",
            "| attention_forward bf16 B=32 T=2048 NH=8 HS=64 | 690.0 | 200.1 TFLOP/s | 21 % | - |",
            "| pythia-70m | 1,200,000 | 800,000 | 1.50x | 52.0% | 35.0% | 3,072 | 3,072 | 92% | 31 s |",
            "| pythia-14m (in part) | 1,200,000 | - | - | 52.0% | - | 3,072 | - | 100% | - |",
            "Missing: pythia-14m, pythia-410m.",
            "PyTorch's start with nothing compiled, next to the compilers of ours: pythia-70m 61 s.",
            "| attention_forward bf16 B=32 T=2048 NH=8 HS=64 | TFLOP/s | 200 | 400 | 50% | - | - |",
            "| pythia-70m | tokens/s | 1,200,000 | 1,600,000 | 75% |",
            "| gpt2-124m | tokens/s | - | 620,000 | - |",
            "- tests: the whole-run tests: not built",
        ):
            self.assertIn(line + ("\n" if "tokens/s" not in line else ""), page)  # predictions are not planted
        self.assertIn("989 TFLOP/s, the dense bf16 peak", page)
        self.assertIn("| pythia-410m | **FAILED** | ended with code 1: out of memory |", page)
        for absent in ("earlier life", "dry run", "different GPUs"):
            self.assertNotIn(absent, page)
        with open(self.path("report.json")) as file:
            found = json.load(file)
        self.assertEqual([part["part"] for part in found["parts"]][:3], ["tests", "parity", "bench"])
        self.assertEqual(found["bench"][0]["us"], "140.0")
        self.assertEqual(found["peers"]["shapes"]["pythia-70m"]["ratio"], 1.5)
        self.assertEqual(found["missing"][1], "profile: not begun")
        self.assertIn("not built", found["logs"]["tests"])

    def test_predicted_steps_are_read_out_of_their_table(self) -> None:
        sys.path.insert(0, os.path.join(SCRIPTS, "gpu"))
        import report

        page = self.write(
            "README.md",
            "| model | GPU | step, ms | M tokens/s |\n|---|---|---|---|\n| pythia-70m | H100 SXM | **966.4** | 1.09 |\n"
            "| pythia-70m | H200 | **935.9** | 1.12 |\n\n"
            "| kernel | HS | own | is |\n|---|---|---|---|\n| a | b | H200 | 3 |\n",
        )
        self.assertEqual(report.predicted_rates(pathlib.Path(page), GPU), {"pythia-70m": 1.12e6})
        self.assertEqual(report.predicted_rates(pathlib.Path(page), "none"), {})
        self.assertEqual(report.predicted_rates(pathlib.Path(self.path("missing")), GPU), {})

    def test_a_dry_run_says_so_everywhere(self) -> None:
        self.plant(gpu="none: dry run")
        page = self.report()
        self.assertTrue(page.startswith("# Dry run of the checks on a GPU, 2030-01-02\n"))
        sections = [line for line in page.splitlines() if line.startswith("## ")]
        self.assertEqual(len(sections), 6)
        for section in sections:
            named = section in ("## Missing", "## Skipped") or section.startswith("## The end of")
            self.assertNotEqual("(dry run, not a measurement)" in section, named, section)
        self.assertNotIn("Targets", page)  # nothing here may be held against them

    def test_the_last_row_counts_but_for_one_without_time(self) -> None:
        self.status(
            ("bench", "not begun", "-", 0, 0, GPU, "not begun"),
            ("bench", "failed", 1, 9, 300, GPU, "first"),
            ("bench", "passed", 0, 8, 300, GPU, ""),
            ("bench", "skipped", 77, 0, 0, GPU, "no time was left"),
            ("peers", "skipped", 77, 0, 0, "NVIDIA H100", "no time was left"),
        )
        page = self.report()
        self.assertIn("| bench | passed | 8 s |", page)
        self.assertIn("| peers | skipped | 0 s | NVIDIA H100 | no time was left |", page)
        self.assertIn("Parts ran on different GPUs (NVIDIA H200, NVIDIA H100)", page)

    def test_broken_inputs_are_named(self) -> None:
        self.run_bad(3, "status.tsv", REPORT, self.folder, "--out", self.path("report.md"))
        self.plant()
        self.write("parity.json", '{"rows": [')
        self.run_bad(3, "cannot be read: parity.json", REPORT, self.folder, "--out", self.path("report.md"))
        with open(self.path("report.md")) as file:
            page = file.read()
        self.assertIn("**parity.json cannot be read**", page)
        self.assertIn("| pythia-70m |", page)  # the rest is there


class SanitizerTest(support.FolderTest):
    def test_summaries_of_a_tool_that_is_not_the_real_one(self) -> None:
        stub = self.write(
            "bin/compute-sanitizer",
            """#!/bin/sh
case "$2 $*" in
    racecheck*gelu*) echo '========= RACECHECK SUMMARY: 3 hazards displayed (3 errors, 0 warnings)'; exit 86 ;;
    initcheck*matmul*) echo killed; exit 9 ;;
    synccheck*rotary*) sleep 60 ;;
    racecheck*) echo '========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)' ;;
    *) echo '========= ERROR SUMMARY: 0 errors' ;;
esac
""",
        )
        tests = self.write(
            "run_kernel_tests",
            """#!/bin/sh
cat <<END
Tags for matching test cases:
   1  [gelu]
   4  [kernels]
   1  [matmul]
   1  [norm]
   1  [rotary]
5 tags
END
exit 5
""",
        )
        for program in (stub, tests):
            os.chmod(program, os.stat(program).st_mode | stat.S_IXUSR)
        command = [
            sys.executable,
            SANITIZER,
            "--cuda",
            self.folder,
            "--out",
            self.path("logs"),
            "--json",
            self.path("sanitizer.json"),
            "--each",
            "2",
        ]
        environment = {**os.environ, "PATH": self.path("bin") + os.pathsep + os.environ["PATH"]}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        self.assertEqual(done.returncode, 1, done.stderr)
        with open(self.path("sanitizer.json")) as file:
            rows = json.load(file)["rows"]
        self.assertEqual([row["target"] for row in rows[:4]], ["gelu", "matmul", "norm", "rotary"])
        self.assertEqual([row["tool"] for row in rows[::4]], ["memcheck", "racecheck", "initcheck", "synccheck"])
        self.assertEqual(len(rows), 4 * 4)  # four tools, four rooms
        strange = {
            (row["tool"], row["target"]): (row["verdict"], row.get("errors"))
            for row in rows
            if row["verdict"] != "clean"
        }
        self.assertEqual(
            strange,
            {
                ("racecheck", "gelu"): ("found", 3),
                ("initcheck", "matmul"): ("no summary, exit code 9", None),
                ("synccheck", "rotary"): ("did not end", None),
            },
        )
        self.write("bin/compute-sanitizer", "#!/bin/sh\necho '========= ERROR SUMMARY: 0 errors'\n")
        os.chmod(stub, 0o755)
        subprocess.run([*command, "--go-on"], capture_output=True, env=environment)
        with open(self.path("sanitizer.json")) as file:
            again = json.load(file)["rows"]
        changed = [(row["tool"], row["target"], row["verdict"]) for row in again if row not in rows]
        self.assertEqual(changed, [("synccheck", "rotary", "clean")])  # what has a verdict keeps it

    def test_a_machine_where_it_cannot_work(self) -> None:
        self.write("bin/compute-sanitizer", "#!/bin/sh\necho '========= Error: Device not supported.'\nexit 1\n")
        self.write("run_kernel_tests", "#!/bin/sh\necho '   4  [kernels]'\necho '   4  [gelu]'\n")
        for name in ("bin/compute-sanitizer", "run_kernel_tests"):
            os.chmod(self.path(name), 0o755)
        done = subprocess.run(
            [sys.executable, SANITIZER, "--cuda", self.folder, "--out", self.path("o"), "--json", self.path("s.json")],
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": self.path("bin") + os.pathsep + os.environ["PATH"]},
        )
        self.assertEqual(
            (done.returncode, done.stdout.strip()), (77, "skipped: compute-sanitizer: Error: Device not supported.")
        )


class CommandTest(support.FolderTest):
    """on_gpu.sh with programs of its own in front of PATH."""

    def program(self, name: str, text: str) -> str:
        path = self.write(f"bin/{name}", text)
        os.chmod(path, 0o755)
        return path

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": self.path("bin") + os.pathsep + os.environ["PATH"]}

    def command(self, *arguments: str) -> list[str]:
        return [os.path.join(SCRIPTS, "on_gpu.sh"), *arguments]

    def on_gpu(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, env=self.environment())

    def read(self, name: str) -> str:
        with open(self.path(name)) as file:
            return file.read()


class LimitsTest(CommandTest):
    SLOW_MAKE = "#!/bin/sh\necho half of it\ntouch {0}/begun\nsleep 60 & echo $! >{0}/pid\nwait\n"

    def statuses(self, folder: str = "out") -> dict[str, tuple[str, str]]:
        parts = json.loads(self.read(f"{folder}/report.json"))["parts"]
        return {part["part"]: (part["status"], part["reason"]) for part in parts}

    def wait_for(self, what: str, holds) -> None:
        for _ in range(200):
            if holds():
                return
            time.sleep(0.1)
        self.fail(what)

    def sleeps(self) -> bool:
        pid = self.read("pid").strip()
        if not pid:  # the file is there before the number
            return False
        try:
            with open(f"/proc/{pid}/stat") as file:
                return file.read().rsplit(")", 1)[1].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False

    def test_killed_in_the_middle_the_report_says_what_is_missing(self) -> None:
        self.program("make", self.SLOW_MAKE.format(self.folder))
        process = subprocess.Popen(
            self.command(
                "--dry-run", "--only", "build", "bench", "--out", self.path("out"), "--result", self.path("r")
            ),
            env=self.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self.wait_for("make was not called", lambda: os.path.exists(self.path("pid")) and self.sleeps())
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.wait_for("what it had started goes on without it", lambda: not self.sleeps())
        self.wait_for("no report", lambda: os.path.exists(self.path("r/report.md")))
        self.wait_for("it is not whole", lambda: "build: was running" in self.read("r/report.md"))
        self.assertIn("- bench: not begun\n", self.read("r/report.md"))
        for folder in ("out", "r"):
            self.assertEqual(self.statuses(folder)["build"][0], "running")
        self.assertIn("half of it", json.loads(self.read("out/report.json"))["logs"]["build"])

    def test_a_part_is_cut_off_and_the_whole_ends_in_time(self) -> None:
        self.program("make", self.SLOW_MAKE.format(self.folder))
        begin = time.monotonic()
        done = self.on_gpu("--dry-run", "--minutes", "0.25", "--only", "build", "peers", "--out", self.path("out"))
        self.assertLess(time.monotonic() - begin, 15)
        self.assertEqual(done.returncode, 0, done.stderr)  # of a dry run, what is missing did not fail
        self.assertEqual(self.statuses()["build"][0], "cut off")
        self.assertNotEqual(self.statuses()["peers"], ("not begun", "not begun"))
        self.assertFalse(self.sleeps())

    def test_terminated_it_ends_what_it_began(self) -> None:
        self.program("make", self.SLOW_MAKE.format(self.folder))
        process = subprocess.Popen(
            self.command("--dry-run", "--only", "build", "--out", self.path("out")),
            env=self.environment(),
            stdout=subprocess.DEVNULL,
        )
        self.wait_for("make was not called", lambda: os.path.exists(self.path("pid")) and self.sleeps())
        process.terminate()
        self.assertEqual(process.wait(20), 143)
        self.wait_for("what it had started goes on without it", lambda: not self.sleeps())
        self.assertIn("build: was running", self.read("out/report.md"))

    def test_continue_leaves_out_what_passed(self) -> None:
        self.program("make", "#!/bin/sh\nexit 0\n")
        self.write("out/status.tsv", f"parity\tpassed\t0\t60\t300\t{GPU}\t\nbuild\tpassed\t0\t9\t99\t{GPU}\t\n")
        only = ("--only", "build", "parity", "sanitizer", "--out", self.path("out"))
        done = self.on_gpu("--dry-run", "--continue", *only)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(list(self.statuses()), ["parity", "build", "sanitizer"])
        self.assertFalse(os.path.exists(self.path("out/parity.log")))
        self.assertEqual(self.statuses()["sanitizer"][0], "skipped")

    def test_a_part_that_fails_stops_none_and_is_named(self) -> None:
        self.program("make", "#!/bin/sh\necho 'error: no compiler'\nexit 2\n")
        done = self.on_gpu("--dry-run", "--only", "build", "sanitizer", "--out", self.path("out"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("not passed: build", done.stdout)
        self.assertEqual(self.statuses()["build"], ("failed", "no compiler"))
        self.assertEqual(self.statuses()["sanitizer"][0], "skipped")


class ParityTest(CommandTest):
    # losses that fall; those of a Llama in bf16 are far from the CPU's
    TRAIN = """#!/usr/bin/env python3
import json, pathlib, sys
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
checkpoint = pathlib.Path(arguments["--out"]) / "checkpoints/step_00000002"
checkpoint.mkdir(parents=True)
for name in ("model.safetensors", "optimizer.safetensors"):
    (checkpoint / name).write_text(arguments["--model"])
(checkpoint / "config.json").write_text(json.dumps({"vocab_size": 300}))
off = 2 if arguments["--model"].startswith("llama") and arguments.get("--precision") == "bf16" else 1
lines = [json.dumps({"time": i, "train/loss": off * (5 - i)}) for i in range(int(arguments["--steps"]))]
(checkpoint.parents[1] / "metrics.jsonl").write_text("\\n".join(lines))
(checkpoint.parents[1] / "DONE").touch()
"""

    def parity(self, *arguments: str) -> subprocess.CompletedProcess:
        for name in ("train_gpt", "train_gpt_cpu"):
            self.program(name, self.TRAIN)
        self.program("write_logits", "#!/bin/sh\n")
        transformers = self.program("python", "#!/bin/sh\necho skipped: no transformers\nexit 77\n")
        programs = ["--cuda", self.path("bin"), "--cpu", self.path("bin"), "--transformers", transformers]
        results = ["--out", self.path("runs"), "--json", self.path("parity.json"), "--steps", "2"]
        command = [sys.executable, os.path.join(SCRIPTS, "gpu/parity.py"), *programs, *results, *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    def test_every_model_is_compared_and_a_difference_is_found(self) -> None:
        models = ["pythia-14m", "llama:L2:C64:H4:KV2"]
        done = self.parity("--models", *models)
        self.assertEqual(done.returncode, 1, done.stderr)
        found = json.loads(self.read("parity.json"))
        names = [(row["what"], row["model"], row["precision"]) for row in found["rows"]]
        order = [(what, model, p) for what in ("loss", "bits", "logits") for model in models for p in ("fp32", "bf16")]
        self.assertEqual((names, found["missing"]), (order, []))
        failed = [name for name, row in zip(names, found["rows"]) if not row["passed"]]
        self.assertEqual(failed, [("loss", models[1], "bf16")])
        self.assertIn("loss llama:L2:C64:H4:KV2 bf16: mean relative difference 1.00e+00", done.stdout)
        self.assertIn("logits pythia-14m bf16: skipped: no transformers", done.stdout)
        losses = self.read("losses.csv").splitlines()
        self.assertEqual(losses[0], "model,precision,step,cuda,cpu")
        self.assertEqual((len(losses), losses[-1]), (1 + 2 * 2 * 2, "llama:L2:C64:H4:KV2,bf16,1,8,4"))

        self.assertEqual(self.parity("--models", *models, "--go-on").returncode, 1)  # it is still what is known
        self.assertEqual(json.loads(self.read("parity.json")), found)
        self.assertEqual(self.read("losses.csv").splitlines(), losses)


class PeersTest(CommandTest):
    TORCH = """#!/usr/bin/env python3
import json, sys
if sys.argv[1] == "-c":
    print("0.0")
    sys.exit()
if json.loads(sys.argv[2])["shape"]["family"] == "pythia" and {fails}:
    sys.exit("no kernel for this shape")
print(json.dumps(dict(ready=True)), flush=True)
for line in sys.stdin:
    numbers = dict(step_seconds=[0.5] * int(line), attention="none", peak_bytes=1 << 30)
    print(json.dumps(numbers), flush=True)
"""
    OURS = """#!/usr/bin/env python3
import json, pathlib, sys
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
out = pathlib.Path(arguments["--out"])
out.mkdir()
lines = [json.dumps({"perf/step_ms": 250}) for _ in range(int(arguments["--steps"]))]
(out / "metrics.jsonl").write_text("\\n".join(lines))
"""

    def peers(self, *arguments: str, fails: bool = False) -> subprocess.CompletedProcess:
        torch = self.program("torch", self.TORCH.replace("{fails}", str(fails)))
        ours = self.program("ours", self.OURS)
        command = [sys.executable, PEERS, "--device", "cpu", "--torch", torch, "--program", ours, "--rounds", "2"]
        return subprocess.run([*command, "--json", self.path("peers.json"), *arguments], capture_output=True, text=True)

    def shapes(self) -> dict:
        return json.loads(self.read("peers.json"))["shapes"]

    def test_ours_is_kept_where_the_peer_fails_and_the_rest_is_measured_later(self) -> None:
        done = self.peers(fails=True)
        self.assertEqual(done.returncode, 1, done.stderr)
        failed, whole = self.shapes()["tiny-pythia"], self.shapes()["tiny-gpt2"]
        self.assertEqual(failed["ours"]["tokens_per_s"], 256 / 0.25)
        self.assertIn("no kernel for this shape", failed["error"])
        self.assertEqual((whole["ratio"], len(whole["rounds"]["ours"]), len(whole["rounds"]["torch"])), (2, 2, 2))
        self.assertEqual(self.peers("--go-on", "--within", "0").returncode, 1)  # it is still what is known
        self.assertEqual(json.loads(self.read("peers.json"))["missing"], ["tiny-pythia"])
        self.assertEqual(self.peers("--go-on").returncode, 0)
        self.assertEqual(self.shapes()["tiny-gpt2"], whole)
        self.assertEqual(self.shapes()["tiny-pythia"]["ratio"], 2)

    def test_compilations_alone(self) -> None:
        done = self.peers("--compile", "--shapes", "tiny-gpt2")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertGreater(self.shapes()["tiny-gpt2"]["cold_start_seconds"], 0)


class ArgumentsTest(CommandTest):
    def test_wrong_arguments(self) -> None:
        self.program("nvidia-smi", "#!/bin/sh\nexit 9\n")  # so that a machine with a GPU says the same
        for arguments, code, message in (
            (["--only", "nonsense"], 2, "--only nonsense: expected some of build tests"),
            (["--only"], 2, "needs the name of a part"),
            (["--frobnicate"], 2, "unknown argument --frobnicate"),
            (["--minutes", "soon"], 2, "--minutes soon: expected a number"),
            (["--jobs", "0"], 2, "--jobs 0: expected a number"),
            (["--text", "/no/such/file"], 2, "/no/such/file cannot be read"),
            (["--out", self.path("out")], 4, "no GPU here"),
        ):
            with self.subTest(arguments=arguments):
                done = self.on_gpu(*arguments)
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertIn(message, done.stderr)
        self.assertFalse(os.path.exists(self.path("out")))
        self.assertIn("--pack-headers DIR", self.on_gpu("--help").stdout)

    def test_a_part_without_time_is_skipped_and_the_report_says_so(self) -> None:
        done = self.on_gpu("--dry-run", "--minutes", "0.1", "--only", "bench", "--out", self.path("out"))
        self.assertEqual(done.returncode, 0, done.stderr)  # of a dry run, what was skipped is not missing
        with open(self.path("out/report.md")) as file:
            self.assertIn("| bench | skipped | 0 s | none: dry run | no time was left |", file.read())


if __name__ == "__main__":
    unittest.main()
