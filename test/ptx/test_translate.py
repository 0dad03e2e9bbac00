"""What the translation does not know, it refuses, and says where."""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import instructions  # noqa: E402
import parser  # noqa: E402
import translate  # noqa: E402

KERNEL = """
.version 9.0
.target sm_90a
.address_size 64
.file 1 "/somewhere/kernels/some.cuh"
.file 2 "/cuda/include/sm_30_intrinsics.hpp"
.visible .entry some_kernel(.param .u64 some_kernel_param_0)
.maxntid 128, 1, 1
{
    .reg .pred %p<2>;
    .reg .b32 %r<4>;
    .reg .b64 %rd<4>;
    .loc 1 12 5
    {BODY}
    ret;
}
"""


def translated(body: str, head_sizes: set[int] | None = None, name: str = "some_kernel") -> tuple[str, dict[str, int]]:
    text = KERNEL.replace("{BODY}", body).replace("some_kernel", name)
    return translate.translate(parser.parse(text), {name: 40}, head_sizes)


class TranslateTest(unittest.TestCase):
    def refused(self, body: str, *parts: str) -> None:
        with self.assertRaises(parser.Refusal) as caught:
            translated(body)
        for part in ("some_kernel", "some.cuh:12", *parts):
            self.assertIn(part, str(caught.exception))

    def test_what_is_not_known_is_refused_with_its_text(self) -> None:
        for body in (
            "wgmma.fence.sync.aligned;",
            "add.frob.s32 %r1, %r2, %r3;",
            "add.s32 %r1, %r2;",
            "add.s32 %r1, %r2, %q9;",
            "bar.sync 1;",
            "bar.sync 0, 64;",
            "mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%r1, %r2}, {%r1, %r2}, {%r1}, {%r1, %r2};",
            "activemask.b32 %r1;",
            "nanosleep.u32 %r1;",
            "red.global.add.noftz.bf16 [%rd1], %r1;",
            "mov.u32 %r1, %clock;",
            "cvt.rn.satfinite.e4m3x2.f32 %r1, %r2, %r3;",
            "prmt.b32.f4e %r1, %r2, %r3, %r1;",
        ):
            with self.subTest(body=body):
                self.refused(body, body.rstrip(";"))

    def test_what_is_known_is_counted_with_its_limits(self) -> None:
        text, counts = translated("@!%p1 add.s32 %r1, %r2, -1;")
        self.assertEqual(counts, {"entries": 1, "left out": 0, "instructions": 2})
        self.assertIn("if (!p1) { r1 = static_cast<uint32_t>(r2 + 4294967295u); }", text)
        self.assertIn('"some_kernel", kernel_0, {{0, 8}}, 8, 128, 40, 0}', text)

    def test_a_place_is_the_line_of_the_kernel_and_not_of_a_header_of_cuda(self) -> None:
        inlined = ".loc 2 300 1, function_name $L__info_string0, inlined_at 1 44 7\nbar.warp.sync -1;"
        text, _ = translated(inlined)
        self.assertIn('{"bar.warp.sync", "some.cuh", 44}', text)

    def test_other_head_sizes_are_left_out_by_name(self) -> None:
        name = "_ZN3gpu24attention_forward_kernelI13__nv_bfloat16Li80EEEvPT_"
        for sizes, left_out in ((None, 0), ({16, 80}, 0), ({16}, 1)):
            with self.subTest(sizes=sizes):
                text, counts = translated("", sizes, name)
                self.assertEqual(counts["left out"], left_out)
                self.assertIn(name, text)
        self.assertEqual(translated("", {16}, "_ZN3gpu16layernorm_kernelIfLi80EEEv")[1]["left out"], 0)

    def test_every_row_of_the_table_has_its_own_operands(self) -> None:
        for row in instructions.table():
            names = [operand.name for operand in row.operands]
            self.assertEqual(len(names), len(set(names)), row.opcode.pattern)


if __name__ == "__main__":
    unittest.main()
