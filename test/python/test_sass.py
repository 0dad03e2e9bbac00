"""scripts/sass: the parser and its loops on hand-written SASS, the model on numbers worked out by hand, what fails the
check, ptxas' report."""

import json
import os
import sys
import unittest
from unittest import mock

import support

SASS = os.path.join(support.REPOSITORY, "scripts/sass")
sys.path.insert(0, SASS)

import counts  # noqa: E402
import disassembly  # noqa: E402
import l2  # noqa: E402
import ptxas  # noqa: E402
import sass  # noqa: E402
import table  # noqa: E402

import model  # noqa: E402


def listing(*lines: str, symbol: str = "kernel") -> str:
    """As cuobjdump prints it, an instruction every 16 bytes, its encoding on a line of its own."""
    text = [f"\t\tFunction : {symbol}", '\t.headerflags\t@"EF_CUDA_SM90"']
    for i, line in enumerate(lines):
        text.append(f"        /*{16 * i:04x}*/   {line} ;   /* 0x00000a00ff017b82 */")
        text.append("                                   /* 0x000fe20000000800 */")
    return "\n".join(text)


def flow_of(*lines: str) -> disassembly.Flow:
    return disassembly.Flow(disassembly.parse(listing(*lines))["kernel"])


# One thread, a pack a turn: a mask that the last turn alone needs, a slow way that does the same work with more.
LOOP = (
    "LDC R1, c[0x0][0x28]",  # 0x00
    "MOV R0, RZ",  # 0x10
    "@P0 EXIT",  # 0x20
    "LDG.E.128 R4, desc[UR4][R2.64]",  # 0x30: the loop
    "@!P1 BRA 0x70",  # 0x40
    "FADD R4, R4, R5",  # 0x50: the mask
    "FADD R4, R4, R5",  # 0x60
    "MUFU.EX2 R4, R4",  # 0x70
    "@P3 FMUL R4, R4, 0.5",  # 0x80
    "@!PT LDS RZ, [RZ]",  # 0x90: never
    "STG.E.128 desc[UR4][R2.64], R4",  # 0xa0
    "IADD3 R0, R0, 0x2, RZ",  # 0xb0
    "ISETP.NE.AND P2, PT, R0, 0x8, PT",  # 0xc0
    "@P2 BRA 0x30",  # 0xd0
    "EXIT",  # 0xe0
    "BRA 0xf0",  # 0xf0: padding
)
# Two loops inside each other, 3 turns of the inner one: two products and a ldmatrix each, and one product outside.
TILE = (
    "@P0 BRA 0xc0",  # 0x00: no tile at all
    "LDGSTS.E.BYPASS.128 [R5], desc[UR4][R2.64], !P5",  # 0x10: the loop over tiles
    "CS2R R8, SRZ",  # 0x20
    "LDSM.16.M88.4 R12, [R8]",  # 0x30: the loop over k
    "HMMA.16816.F32.BF16 R16, R12, R14, R16",  # 0x40
    "HMMA.16816.F32.BF16 R20, R12, R14, R20",  # 0x50
    "VIADD R8, R8, 0x4",  # 0x60
    "ISETP.NE.AND P1, PT, R8, 0xc, PT",  # 0x70
    "@P1 BRA 0x30",  # 0x80
    "HMMA.16816.F32.BF16 R24, R12, R14, R24",  # 0x90
    "BAR.SYNC.DEFER_BLOCKING 0x0",  # 0xa0
    "@!P2 BRA 0x10",  # 0xb0
    "EXIT",  # 0xc0
)


class DisassemblyTest(unittest.TestCase):
    def test_instructions_have_guard_opcode_and_operands(self):
        code = disassembly.parse(listing("@!UP0 BRA 0x30", "BRA.DIV UR4, 0x20", "NOP"))["kernel"]
        self.assertEqual(code[0], (0, "@!UP0", "BRA", "0x30"))
        self.assertEqual(code[1], (16, "", "BRA.DIV", "UR4, 0x20"))
        self.assertEqual(code[2], (32, "", "NOP", ""))

    def test_a_kernel_is_found_by_its_symbol(self):
        text = listing("EXIT", symbol="_Z1av") + "\n" + listing("NOP", "EXIT", symbol="_Z1bv")
        self.assertEqual({name: len(code) for name, code in disassembly.parse(text).items()}, {"_Z1av": 1, "_Z1bv": 2})

    def test_a_branch_under_a_predicate_goes_on_too_and_one_without_does_not(self):
        flow = flow_of("@P0 BRA 0x30", "BRA !P1, 0x30", "BRA 0x0", "EXIT")
        successors = {address: block.successors for address, block in flow.blocks.items()}
        self.assertEqual(successors, {0x00: [0x10, 0x30], 0x10: [0x20, 0x30], 0x20: [0x00], 0x30: []})

    def test_the_loop_is_found_and_the_padding_is_none(self):
        (loop,) = flow_of(*LOOP).loops
        self.assertEqual((loop.header, sorted(loop.body)), (0x30, [0x30, 0x50, 0x70]))

    def test_one_turn_leaves_out_what_a_branch_almost_always_skips(self):
        flow = flow_of(*LOOP)
        way = [i.address for i in flow.way_through(flow.loops[0])]
        self.assertEqual(way, [0x30, 0x40, *range(0x70, 0xE0, 0x10)])

    def test_the_way_that_does_the_work_is_taken_though_another_is_shorter(self):
        flow = flow_of(
            "@P0 BRA 0x40", "LDG.E.128 R4, desc[UR4][R2.64]", "STG.E.128 desc[UR4][R2.64], R4", "NOP", "EXIT"
        )
        self.assertEqual(len(flow.whole_way()), 5)

    def test_loops_in_loops_and_in_a_called_function(self):
        flow = flow_of(*TILE)
        outer, inner = flow.loops
        self.assertEqual((outer.header, inner.header, flow.inner(outer), flow.inner(inner)), (0x10, 0x30, False, True))
        called = flow_of("CALL.REL.NOINC 0x20", "EXIT", "NOP", "@P0 BRA 0x20", "RET.REL.NODEC R4 0x0")
        self.assertEqual([loop.header for loop in called.loops], [0x20])
        self.assertEqual(len(called.whole_way()), 2)

    def test_an_indirect_branch_is_refused(self):
        with self.assertRaisesRegex(ValueError, "indirect"):
            flow_of("BRX R2 -0x10", "EXIT")


class CountsTest(unittest.TestCase):
    def test_what_is_issued_and_what_is_executed(self):
        flow = flow_of(*LOOP)
        mix = counts.mix_of(flow.way_through(flow.loops[0]))
        self.assertEqual(mix, counts.Mix(instructions=9, mufu=1, load_bytes=16, store_bytes=16))

    def test_widths_and_cycles_of_shared_memory(self):
        code = disassembly.parse(
            listing(
                "STG.E.U16 desc[UR4][R2.64], R4",
                "STG.E desc[UR4][R2.64], R4",
                "LDG.E.64.CONSTANT R4, desc[UR4][R2.64]",
                "LDS.128 R4, [R2]",
                "LDS R4, [R2]",
                "LDSM.16.MT88.4 R4, [R2]",
                "LDSM.16.M88.2 R4, [R2]",
                "LDGSTS.E.BYPASS.128 [R5], desc[UR4][R2.64]",
                "LDGSTS.E.64 [R5], desc[UR4][R2.64]",
            )
        )["kernel"]
        self.assertEqual([counts.width(i) for i in code[:4]], [2, 4, 8, 16])
        self.assertEqual([counts.shared_cycles(i) for i in code], [0, 0, 0, 4, 1, 4, 2, 4, 2])
        self.assertEqual(counts.mix_of(code).ldgsts, 1)

    def test_turns_of_a_rolled_loop_count(self):
        code = disassembly.parse(listing(*TILE))["kernel"]
        name = "attention_forward_kernel<bf16, 64>"
        unit, parts = counts.parts_of(name, disassembly.Flow(code), code)
        tile = parts["tile"]
        self.assertEqual(unit, "tile")
        self.assertEqual((tile.hmma, tile.ldsm, tile.ldgsts), (3 * 2 + 1, 3, 1))
        self.assertEqual(tile.instructions, 2 + 3 * 6 + 3)
        self.assertEqual(tile.shared_cycles, 3 * 4 + 4)

    def test_a_loop_of_unknown_turns_gives_no_counts_rather_than_wrong_ones(self):
        lines = [line.replace("CS2R R8, SRZ", "IMAD R8, R9, R9, R9") for line in TILE]
        code = disassembly.parse(listing(*lines))["kernel"]
        self.assertEqual(counts.parts_of("attention_forward_kernel<bf16, 64>", disassembly.Flow(code), code)[1], {})

    def test_an_unrolled_loop_is_counted_by_its_packs_and_the_row_s_end_is_not(self):
        rest = ["LDG.E.128 R4, desc[UR4][R2.64]", "MUFU.EX2 R4, R4", *["FADD R4, R4, R4"] * 9, "@P0 BRA 0x70"]
        turn = ["LDG.E.128 R4, desc[UR4][R2.64]", "MUFU.EX2 R4, R4", "FADD R4, R4, R4"]
        code = disassembly.parse(listing(*turn, *turn, "@P0 BRA 0x0", *rest, "EXIT"))["kernel"]
        unit, parts = counts.parts_of("classifier_forward_kernel<bf16>", disassembly.Flow(code), code)
        self.assertEqual(list(parts), ["pass 1"])
        self.assertEqual((unit, parts["pass 1"].instructions, parts["pass 1"].mufu), ("pack", 3.5, 1))


def attention(name: str, mix: counts.Mix, registers: int, threads: int = 128) -> counts.Kernel:
    return counts.Kernel(name, registers, 0, 0, threads, 0, {"16": 4}, unit="tile", parts={"tile": mix})


# forward, a tile of 64 x 64 at HS = 64, as the review counted it by hand
FORWARD = attention(
    "attention_forward_kernel<bf16, 64>",
    counts.Mix(instructions=375, hmma=64, ldsm=36, ldgsts=8, mufu=34, shared_cycles=36 * 4 + 8 * 4),
    registers=162,
)
H100 = model.MACHINES[0]


class ModelTest(unittest.TestCase):
    def test_rows_follow_from_counts(self):
        tile = model.tile_of(FORWARD)
        self.assertEqual((tile.own, tile.other, tile.warps), (64, 64, 4))
        self.assertEqual(tile.flops, 2 * 2 * 64 * 64 * 64)
        self.assertEqual(tile.shared_bytes, 5 * 64 * 64 * 2)

    def test_rows_of_80_leave_threads_idle(self):
        mix = counts.Mix(instructions=292, hmma=40, ldgsts=8, shared_cycles=100)
        tile = model.tile_of(attention("attention_forward_kernel<bf16, 80>", mix, 167))
        self.assertEqual((tile.own, tile.other), (64, 32))

    def test_ceilings(self):
        ceilings = model.ceilings(FORWARD, H100)
        tiles_a_second = 132 * 1.755e9
        self.assertAlmostEqual(ceilings["shared"], 1048576 / 704 * tiles_a_second)  # 345 TFLOP/s
        self.assertAlmostEqual(ceilings["issue"], 1048576 / 375 * tiles_a_second)
        self.assertAlmostEqual(ceilings["mma"], 0.63 * 989e12)

    def test_blocks_on_an_sm(self):
        self.assertEqual(model.blocks_per_sm(FORWARD, 40960, H100), 3)  # 168 registers a thread of 128
        self.assertEqual(model.blocks_per_sm(FORWARD, 100 * 1024, H100), 2)  # 228 KiB of shared memory
        few = counts.Kernel("k", 16, 0, 0, 512, 0)
        self.assertEqual(model.blocks_per_sm(few, 0, H100), 4)  # 2048 threads

    def test_tiles_up_to_the_diagonal(self):
        tile = model.Tile(own=128, other=64, warps=4, flops=1, shared_bytes=0)
        self.assertEqual(model.tiles_of_levels(tile, 300), [2, 4, 5])

    def test_seconds_are_the_longest_bound(self):
        def seconds(**asked: float) -> float:
            return model.seconds(model.Cost("part", "kernel", 1, **asked), H100)

        self.assertAlmostEqual(seconds(bytes=3e12), 1 / 0.95)
        self.assertAlmostEqual(seconds(instructions=132 * 4 * 1.755e9, bytes=3e9), 1 / 0.70)
        self.assertAlmostEqual(seconds(flops=1e15, rate=500e12, bytes=3e12), 2.0)
        self.assertAlmostEqual(seconds(), model.KERNEL_SECONDS)

    def test_products(self):
        self.assertEqual(model.layer_rate(1 << 19, 512, 2048), 560e12)
        self.assertEqual(model.layer_rate(64, 4096, 4096), model.LAYER_RATES[128])
        self.assertTrue(model.LAYER_RATES[512] < model.layer_rate(600, 4096, 4096) < model.LAYER_RATES[768])
        cost = model.product("products", 2, 8, 4, 16, 1e12, gradient=True)
        self.assertEqual((cost.flops, cost.bytes), (2 * 2 * 8 * 4 * 16, 2 * (2 * (8 * 4 + 8 * 16) + 8 * 4 * 16)))

    def test_micro_batches_are_those_of_the_trainer(self):
        pythia = model.named("pythia-70m")
        self.assertEqual(pythia.micro_batch(H100), 256)  # 57 of 74 GB
        self.assertAlmostEqual(pythia.activation_bytes(256) / 1e9, 56.8, delta=0.3)
        self.assertEqual(pythia.micro_batch(model.MACHINES[1]), 256)  # 512 would be 2^31 elements

    def test_shapes_are_the_published_ones(self):
        # with the padding of the vocabulary, which only GPT-2's and Pythia's have
        for name, parameters in (
            ("gpt2-124m", 124_439_808 + (50304 - 50257) * 768),
            ("pythia-70m", 70_426_624),
            ("smollm2-135m", 134_515_008),
            ("llama-3.2-1b", 1_235_814_400),
            ("qwen3-0.6b", 596_049_920),
        ):
            with self.subTest(name):
                self.assertEqual(model.named(name).parameters, parameters)

    def test_the_order_of_the_work_list_decides_what_comes_from_hbm(self):
        tiles = list(range(1, 33))  # T = 2048
        tile = 2 * 64 * 64 * 2
        shares = [l2.share_from_hbm(group, 256, tiles, tile, resident=396, cache=40 << 20) for group in (256, 16)]
        self.assertAlmostEqual(shares[0], 0.60, delta=0.03)  # the review: 58 to 63 %
        self.assertAlmostEqual(shares[1], 0.06, delta=0.01)

    def kernels_of_the_table(self) -> dict[str, counts.Kernel]:
        with open(os.path.join(support.REPOSITORY, "dev/results/sass", table.JSON_FILE)) as file:
            return table.kernels_of(json.load(file))

    def test_a_kernel_that_no_step_launches_is_named(self):
        kernels = self.kernels_of_the_table()
        self.assertEqual(model.unlisted(kernels), [])
        kernels["unheard_of_kernel<bf16>"] = counts.Kernel("unheard_of_kernel<bf16>", 32, 0, 0, 256, 0)
        self.assertEqual(model.unlisted(kernels), ["unheard_of_kernel"])
        del kernels["gelu_forward_kernel<bf16, Gelu 1>"]
        with self.assertRaisesRegex(model.MissingKernel, "gelu_forward_kernel<bf16, Gelu 1>"):
            model.predict(model.MODELS[0], H100, kernels)

    def test_a_step_of_llama_counts_on_its_kernels(self):
        for name, wanted in (
            ("smollm2-135m", "rmsnorm_forward_kernel<bf16, Team<32, 3>>"),
            ("llama-3.2-1b", "rmsnorm_backward_kernel<bf16, Team<128, 2>>"),
            ("llama-3.2-1b", "swiglu_backward_kernel<bf16>"),
            ("qwen3-0.6b", "qk_norm_forward_kernel<bf16, Team<8, 2>>"),
        ):
            kernels = self.kernels_of_the_table()
            del kernels[wanted]
            with self.subTest(wanted), self.assertRaisesRegex(model.MissingKernel, wanted):
                model.predict(model.named(name), H100, kernels)

    def test_products_take_what_the_review_expected(self):
        step = model.predict(model.named("pythia-70m"), H100, self.kernels_of_the_table())
        self.assertAlmostEqual(step.parts["head's products"], 0.25, delta=0.01)
        self.assertAlmostEqual(step.parts["layers' products"], 0.215, delta=0.015)

    def test_a_cache_for_everything_reads_each_tile_once(self):
        # 2 heads, 4 rows of 3 work items with 1, 2 and 3 tiles
        self.assertAlmostEqual(l2.share_from_hbm(4, 4, [1, 2, 3], 1, resident=2, cache=1000), 3 / 6)
        self.assertEqual(l2.share_from_hbm(4, 4, [1, 2, 3], 1, resident=1, cache=1), 1.0)

    def test_heads_that_share_keys_read_their_tiles_from_hbm_once(self):
        def share(cache: int, resident: int = 2, **group: int) -> float:
            return l2.share_from_hbm(1, 4, [1, 2, 3], 1, resident, cache, **group)

        # two blocks of a work item: the second one finds what the first one has read, if it runs next to it
        self.assertAlmostEqual(share(1000, sharers=2), 3 / 12)
        self.assertAlmostEqual(share(1, sharers=2), 1 / 2)
        self.assertAlmostEqual(share(1, resident=1, sharers=2), 11 / 12)  # but for work of one tile
        # a block that owns keys reads two heads' tiles of queries: 2 x 3 a row, 2 x 6 times
        self.assertAlmostEqual(share(1000, walked=2), 6 / 12)
        self.assertAlmostEqual(share(6, resident=1, walked=2), 6 / 12)
        self.assertAlmostEqual(
            share(5, resident=1, walked=2), 8 / 12
        )  # the first two are gone before they are read again

    def test_attention_of_groups_moves_what_its_kernels_say(self):
        # each kernel's comment has its bytes, everything read once; that of the keys goes through the group's heads
        m, rows = model.named("llama-3.2-1b"), 16
        N = rows * m.T
        kernels = self.kernels_of_the_table()
        wanted = [2 * (m.NH + m.KV), 2 * m.NH + 4 * m.KV, 3 * m.NH + 2 * m.KV]
        for sizes, heads in zip(model.attention_kernels(kernels, m.HS), wanted):
            for kernel in sizes:
                cost = model.attention_cost(kernel, m, rows, H100, 1)
                self.assertEqual(cost.bytes, 2.0 * N * heads * m.HS, kernel.name)

    def test_launches_of_a_micro_batch(self):
        # a layer's and the others, as test/simt/test_graph.cpp counts those of model/gpt.cuh
        for name, layer, others in (
            ("pythia-14m", 30, 21),
            ("gpt2-124m", 31, 29),
            ("smollm2-135m", 26, 21),
            ("llama-3.2-1b", 26, 24),  # more than 65,536 ids are sorted in three passes
            ("qwen3-0.6b", 29, 24),
        ):
            with self.subTest(name):
                m = model.named(name)
                costs = model.micro_batch_costs(m, 1, self.kernels_of_the_table(), H100)
                self.assertEqual(sum(cost.launches for cost in costs), layer * m.L + others)


class CheckTest(unittest.TestCase):
    def setUp(self):
        gelu = counts.Kernel("gelu_forward_kernel<bf16, Gelu 1>", 31, 0, 0, 256, 5, {"2": 5, "16": 1}, unit="pack")
        gelu.parts["pack"] = counts.Mix(instructions=220, mufu=16, load_bytes=16, store_bytes=16)
        self.kernels = {kernel.name: kernel for kernel in (FORWARD, gelu)}

    def changed(self, name: str, **facts) -> list[table.Change]:
        old = table.kernels_of({"kernels": {k: table.facts_of(v) for k, v in self.kernels.items()}})
        kernel = old[name]
        new = {**old, name: counts.Kernel(**{**vars(kernel), **facts})}
        return table.compare(old, new)

    def test_nothing_differs_from_what_was_written(self):
        doc = {"kernels": {name: table.facts_of(kernel) for name, kernel in self.kernels.items()}}
        self.assertEqual(table.compare(table.kernels_of(json.loads(table.dump(doc))), self.kernels), [])

    def test_a_worse_count_is_named_with_what_was_and_is(self):
        (change,) = self.changed(FORWARD.name, spill_bytes=8)
        self.assertTrue(change.worse)
        self.assertEqual(str(change), "attention_forward_kernel<bf16, 64>: bytes spilled: was 0, is 8")

    def test_stores_that_were_taken_apart_are_worse(self):
        changes = self.changed(FORWARD.name, narrow_stores=2, stores={"2": 2, "4": 3, "16": 3})
        self.assertEqual(
            [(c.count, c.was, c.now, c.worse) for c in changes],
            [("stores of less than 4 bytes", 0, 2, True), ("stores of less than 16 bytes", 0, 5, True)],
        )

    def test_fewer_instructions_are_no_failure(self):
        name = "gelu_forward_kernel<bf16, Gelu 1>"
        (change,) = self.changed(name, parts={"pack": counts.Mix(180, mufu=16, load_bytes=16, store_bytes=16)})
        self.assertEqual((change.was, change.now, change.worse), (220, 180, False))

    def test_a_larger_tile_is_judged_by_the_product(self):
        twice = counts.Mix(instructions=700, hmma=128, ldsm=52, ldgsts=8, mufu=68, shared_cycles=240)
        changes = self.changed(FORWARD.name, parts={"tile": twice})
        self.assertFalse(any(change.worse for change in changes), changes)
        (change, *_) = self.changed(FORWARD.name, parts={"tile": counts.Mix(**{**vars(twice), "instructions": 800})})
        self.assertTrue(change.worse)

    def test_counts_that_are_not_found_any_more_fail(self):
        changes = self.changed(FORWARD.name, parts={})
        self.assertTrue(any(change.worse and change.now is None for change in changes))

    def test_fewer_warps_on_an_sm_are_worse(self):
        worse = [change for change in self.changed(FORWARD.name, registers=200) if change.worse]
        self.assertEqual([(c.count, c.was, c.now) for c in worse], [("warps on an SM", 12, 8)])

    def test_a_kernel_that_only_one_side_has_is_a_failure(self):
        for old, new in (({}, {FORWARD.name: FORWARD}), ({FORWARD.name: FORWARD}, {})):
            (change,) = table.compare(old, new)
            self.assertTrue(change.worse)

    def verdict(self, compiler: str, kernels: dict[str, counts.Kernel]) -> str:
        def doc(of: str, those: dict[str, counts.Kernel]) -> dict:
            facts = {name: table.facts_of(kernel) for name, kernel in those.items()}
            return {"compiler": of, "arch": "sm_90a", "kernels": facts, "predicted": {}}

        with mock.patch("builtins.print"):
            return sass.check(doc("ptxas 13.0.88", self.kernels), doc(compiler, kernels))

    def test_the_verdict(self):
        worse = {**self.kernels, FORWARD.name: counts.Kernel(**{**vars(FORWARD), "spill_bytes": 8})}
        self.assertEqual(self.verdict("ptxas 13.0.88", self.kernels), sass.PASSED)
        self.assertEqual(self.verdict("ptxas 13.0.88", worse), sass.FAILED)
        self.assertEqual(self.verdict("ptxas 13.1.80", worse), sass.SKIPPED)

    def test_the_pages_in_the_repository_are_those_of_its_counts(self):
        folder = os.path.join(support.REPOSITORY, "dev/results/sass")
        with open(os.path.join(folder, table.JSON_FILE)) as file:
            doc = json.load(file)
        with open(os.path.join(folder, table.PAGE)) as file:
            self.assertEqual(file.read(), table.page(doc), "make sass UPDATE=1 writes both")
        with open(os.path.join(support.REPOSITORY, "README.md")) as file:
            text = file.read()
        self.assertEqual(text, table.with_readme_table(text, doc), "make sass UPDATE=1 writes this table, too")


REPORT = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN3gpu6kernelI13__nv_bfloat16Li64EEEvPT_' for 'sm_90a'
ptxas info    : Function properties for _ZN3gpu6kernelI13__nv_bfloat16Li64EEEvPT_
    40 bytes stack frame, {spilled} bytes spill stores, 4 bytes spill loads
ptxas info    : Used 77 registers, used 1 barriers
"""


class PtxasTest(support.FolderTest):
    def test_the_report_is_read(self):
        self.write("a.o.ptxas", REPORT.format(spilled=8))
        (kernel,), warnings = ptxas.read(ptxas.Path(self.path("a.o.ptxas")))
        self.assertEqual(kernel.name, "kernel<bf16, 64>")
        self.assertEqual((kernel.registers, kernel.stack_bytes, kernel.spill_bytes, warnings), (77, 40, 12, []))

    def test_spills_and_warnings_fail(self):
        report = REPORT.format(spilled=0).replace("4 bytes spill loads", "0 bytes spill loads")
        for text, code, said in (
            (report, 0, "no spills"),
            (REPORT.format(spilled=8), 1, "SPILLS 12 bytes"),
            (report + "ptxas warning : a stack of unknown size\n", 1, "unknown size"),
        ):
            with self.subTest(said):
                self.write("a.o.ptxas", text)
                done = support.run_script(os.path.join(SASS, "ptxas.py"), self.folder)
                self.assertEqual(done.returncode, code, done.stdout + done.stderr)
                self.assertIn(said, done.stdout)

    def test_names(self):
        self.assertEqual(
            ptxas.readable("void gpu::keys<__nv_bfloat16, 64, (gpu::KeyGradients)0>(__nv_bfloat16*, int)"),
            "keys<bf16, 64, KeyGradients 0>",
        )
        self.assertEqual(ptxas.readable("void gpu::sum<gpu::ColumnTile<8> >(float*)"), "sum<ColumnTile<8>>")


if __name__ == "__main__":
    unittest.main()
