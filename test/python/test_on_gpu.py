"""scripts/gpu/report.py on planted inputs; what on_gpu.sh refuses; the small scripts between the two."""

import json
import os
import stat
import subprocess
import sys
import unittest

import support

SCRIPTS = os.path.join(support.REPOSITORY, "scripts")
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
            ("peers", "failed", 124, 560, 560, gpu, "was over its limit of 560 s"),
            ("sanitizer", "skipped", 77, 0, 560, gpu, "not installed"),
        )
        loss = {
            "what": "loss",
            "steps": 200,
            "mean": 2e-7,
            "worst": 3e-6,
            "worst_step": 9,
            "tolerance": 1e-6,
            "last": 5.1,
            "last_cpu": 5.2,
        }
        logits = {"what": "logits", "precision": "fp32", "tolerance": 1e-5, "passed": True}
        self.write(
            "parity.json",
            json.dumps(
                {
                    "model": "pythia-14m",
                    "tokens_a_step": 1024,
                    "rows": [
                        {**loss, "precision": "fp32", "passed": True},
                        {**loss, "precision": "bf16", "mean": 0.25, "passed": False},
                        {"what": "bits", "precision": "bf16", "differing": ["model.safetensors"], "passed": False},
                        {**logits, "skipped": "no module named torch"},
                    ],
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
                    "shapes": {
                        "pythia-70m": {
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
        self.write(
            "experiment.csv", "run,state,share/synbio,know/synbio/bits\nx,done,0.1,2330.5\n"
        )  # not run this time: no status
        self.write(
            "tests.log",
            "skipped: CUDA kernels on the CPU: not built\n12 passed, 0 failed\n30 passed, 0 failed, 1 skipped\n",
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
            "| tests | passed | 60 s | NVIDIA H200 | 30 passed, 0 failed, 1 skipped |",
            "| peers | **failed** | 560 s | NVIDIA H200 | was over its limit of 560 s |",
            "| two runs | bf16 | other model.safetensors | the same bits | **FAILED** |",
            "| logits against transformers | fp32 | no module named torch | L2 1e-05 | skipped |",
            "**WRONG: layernorm_forward fp32 N=65536 C=512**",
            "| gelu_forward bf16 n=33554432 | 140.0 | 959 GB/s | 80 % | ok |",
            "| attention_forward bf16 B=32 T=2048 NH=8 HS=64 | 690.0 | 200.1 TFLOP/s | 21 % | - |",
            "| pythia-70m | 1,200,000 | 800,000 | 1.50x | 52.0% | 35.0% | 3,072 | 3,072 | 92% |",
            "- tests: CUDA kernels on the CPU: not built",
        ):
            self.assertIn(line + "\n", page)
        self.assertIn("989 TFLOP/s, the dense bf16 peak", page)
        self.assertIn("| pythia-410m | **FAILED** | ended with code 1: out of memory |", page)
        for absent in ("2,330", "dry run", "different GPUs"):
            self.assertNotIn(absent, page)

    def test_a_dry_run_says_so_everywhere(self) -> None:
        self.plant(gpu="none: dry run")
        page = self.report()
        self.assertTrue(page.startswith("# Dry run of the checks on a GPU, 2030-01-02\n"))
        sections = [line for line in page.splitlines() if line.startswith("## ")]
        self.assertEqual(len(sections), 3)
        for section in sections[:-1]:
            self.assertIn("(dry run, not a measurement)", section)

    def test_the_last_row_counts_but_for_one_without_time(self) -> None:
        self.status(
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
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": self.path("bin") + os.pathsep + os.environ["PATH"]},
        )
        self.assertEqual(done.returncode, 1, done.stderr)
        with open(self.path("sanitizer.json")) as file:
            rows = json.load(file)["rows"]
        self.assertEqual(len(rows), 4 * 4)  # four tools, four rooms
        strange = {
            (row["tool"], row["target"]): (row["verdict"], row["errors"]) for row in rows if row["verdict"] != "clean"
        }
        self.assertEqual(
            strange,
            {
                ("racecheck", "gelu"): ("found", 3),
                ("initcheck", "matmul"): ("no summary, exit code 9", None),
                ("synccheck", "rotary"): ("did not end", None),
            },
        )


class ArgumentsTest(support.FolderTest):
    def on_gpu(self, *arguments: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PATH": self.path("bin") + os.pathsep + os.environ["PATH"]}
        return subprocess.run(
            [os.path.join(SCRIPTS, "on_gpu.sh"), *arguments], capture_output=True, text=True, env=environment
        )

    def test_wrong_arguments(self) -> None:
        self.write("bin/nvidia-smi", "#!/bin/sh\nexit 9\n")  # so that a machine with a GPU says the same
        os.chmod(self.path("bin/nvidia-smi"), 0o755)
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
        done = self.on_gpu("--dry-run", "--minutes", "0.1", "--only", "bench", "report", "--out", self.path("out"))
        self.assertEqual(done.returncode, 0, done.stderr)  # of a dry run, what was skipped is not missing
        with open(self.path("out/report.md")) as file:
            self.assertIn("| bench | skipped | 0 s | none: dry run | no time was left |", file.read())


if __name__ == "__main__":
    unittest.main()
