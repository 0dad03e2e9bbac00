"""The instructions of PTX that the translation knows, one a row: opcode, operands, C++. Semantics: PTX ISA 9.0.

Opcode: as the ISA writes it. {.x} may be there or not; <set> is one of SETS; both are found again by their name.
Operands: a name, then its type after a colon; without one it is the opcode's last type, T. U is T unsigned, W twice as
wide. [a] is an address in the opcode's state space, {a} a register or a list of them (vectors), #a text as written, a
question mark follows what may be missing. d and p are written, the others read.
C++: $name is the value of an operand or the word of a set. It is an expression for d where there is a d, else a
statement; or the name of a function in translate.py, @name, where an expression cannot say it. What the C++ calls is in
scalar.h and warp.h. $site: where the instruction comes from, for messages.

.ftz, .sat and .relu need no word in the C++: inputs and results are treated as the ISA says wherever the opcode has
them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

INTEGERS = "u16 s16 u32 s32 u64 s64"
SCALARS = f"b8 u8 s8 b16 b32 b64 {INTEGERS} f32 f64"
SETS = {
    "int": INTEGERS,
    "int32": "u16 s16 u32 s32",
    "signed": "s16 s32 s64",
    "word": "u32 s32 b32",
    "word64": "u32 s32 u64 s64",
    "bits": "b16 b32 b64",
    "logic": "pred b16 b32 b64",
    "wide": "b32 b64",
    "f": "f32 f64",
    "any": SCALARS,
    "value": f"pred {SCALARS}",
    "from": INTEGERS + " u8 s8",
    "to": INTEGERS + " u8 s8",
    "ff": "f32 f64",
    "round": "rn rz rm rp",
    "directed": "rz rm rp",
    "whole": "rni rzi rmi rpi",
    "logical": "and or xor",
    "space": "global shared shared::cta local param const",
    "plain": "global shared shared::cta",
    "order": "weak volatile relaxed acquire release mmio",
    "scope": "cta cluster gpu sys",
    "cache": "ca cg cs lu cv wb wt nc",
    "l1": "L1::evict_normal L1::evict_unchanged L1::evict_first L1::evict_last L1::no_allocate",
    "l2": "L2::64B L2::128B L2::256B",
    "vector": "v2 v4",
    "shuffle": "up down bfly idx",
    "matrices": "x1 x2 x4",
    "side": "l r",
    "edge": "wrap clamp",
    "sum": "add and or xor exch",
    "extreme": "min max",
    "reduction": "add min max",
    "bitwise": "and or xor",
}

# setp: of integers (also b16 to b64) and of floats; an ordered comparison with NaN is false, an unordered one true
INTEGER_COMPARISONS = {
    "eq": "$a == $b",
    "ne": "$a != $b",
    "lt": "$a < $b",
    "le": "$a <= $b",
    "gt": "$a > $b",
    "ge": "$a >= $b",
}
UNSIGNED_COMPARISONS = {"lo": "$a < $b", "ls": "$a <= $b", "hi": "$a > $b", "hs": "$a >= $b"}
FLOAT_COMPARISONS = {
    **INTEGER_COMPARISONS,
    "ne": "$a < $b || $a > $b",
    "equ": "!($a < $b || $a > $b)",
    "neu": "$a != $b",
    "ltu": "!($a >= $b)",
    "leu": "!($a > $b)",
    "gtu": "!($a <= $b)",
    "geu": "!($a < $b)",
    "num": "$a == $a && $b == $b",
    "nan": "$a != $a || $b != $b",
}

TABLE = r"""
# ---- moves
mov.<value>                          d a                     $a
mov.<wide>                           {d} a                   @unpack
mov.<wide>                           d {a}                   @pack
ld{.<order>}{.<scope>}{.<space>}{.<cache>}{.<l1>}{.<l2>}{.<vector>}.<any>   {d} [a]   @load
st{.<order>}{.<scope>}{.<space>}{.<cache>}{.<l1>}{.<l2>}{.<vector>}.<any>   [a] {b}   @store
ldu.global{.<vector>}.<any>          {d} [a]                 @load
prefetch{.<space>}.L1                [a]                     ;
prefetch{.<space>}.L2                [a]                     ;
cvta.to.shared.u64                   d a                     $a - shared.window()
cvta.shared.u64                      d a                     $a + shared.window()
cvta{.to}.global.u64                 d a                     $a
cvta{.to}.local.u64                  d a                     $a
cvta{.to}.const.u64                  d a                     $a
cvta{.to}.param.u64                  d a                     $a
selp.<any>                           d a b c:pred            $c ? $a : $b
slct.<any>.s32                       d:any a:any b:any c     $c >= 0 ? $a : $b

# ---- control
bra{.uni}                            #a                      goto $a;
ret{.uni}                                                    return;
exit                                                         return;
trap                                                         simt::fail("trap");
brkpt                                                        simt::fail("brkpt");
call{.uni}                           #a #b? #c?              @call

# ---- integers: modulo 2^bits unless .sat
add.<int>                            d:U a:U b:U             $a + $b
sub.<int>                            d:U a:U b:U             $a - $b
add.sat.s32                          d a b                   clamp_to<int32_t>(int64_t{$a} + $b)
sub.sat.s32                          d a b                   clamp_to<int32_t>(int64_t{$a} - $b)
mul.lo.<int>                         d a b                   mul_lo($a, $b)
mul.hi.<int>                         d a b                   mul_hi($a, $b)
mul.wide.<int32>                     d:W a b                 mul_wide($a, $b)
mul24.lo.<word>                      d a b                   mul_lo(low_24($a), low_24($b))
mad.lo.<int>                         d:U a b c:U             mul_lo($a, $b) + $c
mad.hi.<int>                         d:U a b c:U             mul_hi($a, $b) + $c
mad.wide.<int32>                     d:WU a b c:WU           static_cast<$WU>(mul_wide($a, $b)) + $c
div.<int>                            d a b                   divide($a, $b)
rem.<int>                            d a b                   remainder($a, $b)
abs.<signed>                         d a                     $a < 0 ? negate($a) : $a
neg.<signed>                         d a                     negate($a)
min.<int>                            d a b                   $a < $b ? $a : $b
max.<int>                            d a b                   $a > $b ? $a : $b
sad.<int>                            d:U a b c:U             $c + distance($a, $b)
add.cc.<word64>                      d:U a:U b:U             add_carry($a, $b, 0, &carry)
addc.cc.<word64>                     d:U a:U b:U             add_carry($a, $b, carry, &carry)
addc.<word64>                        d:U a:U b:U             add_carry($a, $b, carry, nullptr)
sub.cc.<word64>                      d:U a:U b:U             subtract_borrow($a, $b, 0, &carry)
subc.cc.<word64>                     d:U a:U b:U             subtract_borrow($a, $b, carry, &carry)
subc.<word64>                        d:U a:U b:U             subtract_borrow($a, $b, carry, nullptr)
mad.lo.cc.<word64>                   d:U a b c:U             add_carry(to_unsigned(mul_lo($a, $b)), $c, 0, &carry)
mad.hi.cc.<word64>                   d:U a b c:U             add_carry(to_unsigned(mul_hi($a, $b)), $c, 0, &carry)
madc.lo.cc.<word64>                  d:U a b c:U             add_carry(to_unsigned(mul_lo($a, $b)), $c, carry, &carry)
madc.hi.cc.<word64>                  d:U a b c:U             add_carry(to_unsigned(mul_hi($a, $b)), $c, carry, &carry)
madc.lo.<word64>                     d:U a b c:U             add_carry(to_unsigned(mul_lo($a, $b)), $c, carry, nullptr)
madc.hi.<word64>                     d:U a b c:U             add_carry(to_unsigned(mul_hi($a, $b)), $c, carry, nullptr)

# ---- bits
and.<logic>                          d a b                   $a & $b
or.<logic>                           d a b                   $a | $b
xor.<logic>                          d a b                   $a ^ $b
not.pred                             d a                     !$a
not.<bits>                           d a                     ~$a
cnot.<bits>                          d a                     $a == 0
lop3.b32                             d a b c #table          look_up($a, $b, $c, $table)
shl.<bits>                           d a b:u32               shift_left($a, $b)
shr.<bits>                           d a b:u32               shift_right($a, $b)
shr.<int>                            d a b:u32               shift_right($a, $b)
shf.<side>.<edge>.b32                d a b c:u32             funnel_shift_$side($a, $b, funnel_$edge($c))
popc.<wide>                          d:u32 a                 count_ones($a)
clz.<wide>                           d:u32 a                 leading_zeros($a)
brev.<wide>                          d a                     reverse($a)
bfind.<word64>                       d:u32 a                 find_first($a)
bfe.<word64>                         d a b:u32 c:u32         extract_bits($a, $b, $c)
bfi.<wide>                           d a b c:u32 e:u32       insert_bits($a, $b, $c, $e)
prmt.b32                             d a b c                 permute($a, $b, $c)

# ---- floats
add{.rn}{.ftz}{.sat}.<f>             d a b                   $a + $b
sub{.rn}{.ftz}{.sat}.<f>             d a b                   $a - $b
mul{.rn}{.ftz}{.sat}.<f>             d a b                   $a * $b
fma.rn{.ftz}{.sat}.<f>               d a b c                 std::fma($a, $b, $c)
mad.rn{.ftz}{.sat}.<f>               d a b c                 std::fma($a, $b, $c)
div.rn{.ftz}.<f>                     d a b                   $a / $b
div.approx{.ftz}.f32                 d a b                   divide_approximately($a, $b)
div.full{.ftz}.f32                   d a b                   $a / $b
rcp.rn{.ftz}.<f>                     d a                     1 / $a
sqrt.rn{.ftz}.<f>                    d a                     std::sqrt($a)
add.<directed>{.ftz}{.sat}.<f>       d a b                   directed_add($a, $b, Rounding::$directed)
sub.<directed>{.ftz}{.sat}.<f>       d a b                   directed_add($a, -$b, Rounding::$directed)
mul.<directed>{.ftz}{.sat}.<f>       d a b                   directed_mul($a, $b, Rounding::$directed)
fma.<directed>{.ftz}{.sat}.<f>       d a b c                 directed_fma($a, $b, $c, Rounding::$directed)
mad.<directed>{.ftz}{.sat}.<f>       d a b c                 directed_fma($a, $b, $c, Rounding::$directed)
div.<directed>{.ftz}.<f>             d a b                   directed_div($a, $b, Rounding::$directed)
rcp.<directed>{.ftz}.<f>             d a                     directed_div(1, $a, Rounding::$directed)
sqrt.<directed>{.ftz}.<f>            d a                     directed_sqrt($a, Rounding::$directed)
rcp.approx{.ftz}.f32                 d a                     1 / $a
rcp.approx.ftz.f64                   d a                     upper_half(1 / upper_half($a))
rsqrt.approx.ftz.f64                 d a                     upper_half(1 / std::sqrt(upper_half($a)))
sqrt.approx{.ftz}.f32                d a                     std::sqrt($a)
rsqrt.approx{.ftz}.<f>               d a                     1 / std::sqrt($a)
ex2.approx{.ftz}.f32                 d a                     std::exp2($a)
lg2.approx{.ftz}.f32                 d a                     std::log2($a)
sin.approx{.ftz}.f32                 d a                     std::sin($a)
cos.approx{.ftz}.f32                 d a                     std::cos($a)
tanh.approx.f32                      d a                     std::tanh($a)
abs{.ftz}.<f>                        d a                     std::fabs($a)
neg{.ftz}.<f>                        d a                     -$a
min{.ftz}.<f>                        d a b                   minimum($a, $b)
max{.ftz}.<f>                        d a b                   maximum($a, $b)
min{.ftz}.NaN.f32                    d a b                   minimum_nan($a, $b)
max{.ftz}.NaN.f32                    d a b                   maximum_nan($a, $b)
copysign.<f>                         d a b                   std::copysign($b, $a)
testp.finite.<f>                     d:pred a                std::isfinite($a)
testp.infinite.<f>                   d:pred a                std::isinf($a)
testp.number.<f>                     d:pred a                !std::isnan($a)
testp.notanumber.<f>                 d:pred a                std::isnan($a)
testp.normal.<f>                     d:pred a                std::isnormal($a)
testp.subnormal.<f>                  d:pred a                std::fpclassify($a) == FP_SUBNORMAL
fma.rn{.relu}.bf16x2                 d a b c                 each_bf16($a, $b, $c, fma_bf16)
fma.rn{.relu}.bf16                   d a b c                 to_bf16(fma_bf16(of_bf16($a), of_bf16($b), of_bf16($c)))

# ---- conversions
cvt{.sat}.<to>.<from>                d:to a:from             @convert_integer
cvt.<whole>{.ftz}{.sat}.<to>.<f>     d:to a:f                to_integer<$to>(whole($a, Rounding::$whole))
cvt.rn{.sat}.<f>.<from>              d:f a:from              static_cast<$f>($a)
cvt.<directed>{.sat}.<f>.<from>      d:f a:from              directed_convert<$f>($a, Rounding::$directed)
cvt.<whole>{.ftz}{.sat}.<f>.<ff>     d:f a:ff                static_cast<$f>(whole($a, Rounding::$whole))
cvt{.ftz}{.sat}.f32.f32              d a                     $a
cvt.f64.f32                          d:f64 a                 $a
cvt.ftz.f64.f32                      d:f64 a                 $a
cvt.rn{.ftz}{.sat}.f32.f64           d:f32 a                 static_cast<float>($a)
cvt.<directed>{.ftz}{.sat}.f32.f64   d:f32 a                 directed_convert<float>($a, Rounding::$directed)
cvt.f32.bf16                         d:f32 a:b16             of_bf16($a)
cvt.rn{.relu}.bf16.f32               d:b16 a                 to_bf16($a)
cvt.rz{.relu}.bf16.f32               d:b16 a                 to_bf16_truncated($a)
cvt.rn{.relu}.bf16x2.f32             d:b32 a b               pair_of(to_bf16($b), to_bf16($a))
cvt.rz{.relu}.bf16x2.f32             d:b32 a b               pair_of(to_bf16_truncated($b), to_bf16_truncated($a))

# ---- atomics
atom{.<order>}{.<scope>}{.<plain>}.<sum>.<int>       d [a] b     atomic_$sum<$T>($a, $b)
atom{.<order>}{.<scope>}{.<plain>}.<sum>.<wide>      d [a] b     atomic_$sum<$T>($a, $b)
atom{.<order>}{.<scope>}{.<plain>}.<extreme>.<int>   d [a] b     atomic_$extreme<$T>($a, $b)
atom{.<order>}{.<scope>}{.<plain>}.add.<f>           d [a] b     atomic_add<$T>($a, $b)
atom{.<order>}{.<scope>}{.<plain>}.cas.<wide>        d [a] b c   atomic_cas<$T>($a, $b, $c)
atom{.<order>}{.<scope>}{.<plain>}.inc.u32           d [a] b     atomic_inc($a, $b)
atom{.<order>}{.<scope>}{.<plain>}.dec.u32           d [a] b     atomic_dec($a, $b)
red{.<order>}{.<scope>}{.<plain>}.<sum>.<int>        [a] b       atomic_$sum<$T>($a, $b);
red{.<order>}{.<scope>}{.<plain>}.<sum>.<wide>       [a] b       atomic_$sum<$T>($a, $b);
red{.<order>}{.<scope>}{.<plain>}.<extreme>.<int>    [a] b       atomic_$extreme<$T>($a, $b);
red{.<order>}{.<scope>}{.<plain>}.add.<f>            [a] b       atomic_add<$T>($a, $b);
membar.<scope>                                                   ;
membar.gl                                                        ;
fence{.sc}.<scope>                                               ;
fence.acq_rel.<scope>                                            ;

# ---- together: a block, a warp
bar.sync                             #a                      @barrier
barrier.sync.aligned                 #a                      @barrier
bar.warp.sync                        mask:u32                sync_warp($mask, $site);
shfl.sync.<shuffle>.b32              d a b:u32 c:u32 mask:u32   @shuffle
vote.sync.ballot.b32                 d a:pred mask:u32       ballot($a, $mask, $site)
vote.sync.any.pred                   d a mask:u32            ballot($a, $mask, $site) != 0
vote.sync.all.pred                   d a mask:u32            ballot(!$a, $mask, $site) == 0
vote.sync.uni.pred                   d a mask:u32            vote_uniform($a, $mask, $site)
match.any.sync.<wide>                d:b32 a mask:u32        match_any($a, $mask, $site)
redux.sync.<reduction>.u32           d a mask:u32            reduce_$reduction($a, $mask, $site)
redux.sync.<reduction>.s32           d a mask:u32            reduce_$reduction($a, $mask, $site)
redux.sync.<bitwise>.b32             d a mask:u32            reduce_$bitwise($a, $mask, $site)
ldmatrix.sync.aligned.m8n8.<matrices>{.trans}.<plain>.b16   {d} [a]   @load_matrices
stmatrix.sync.aligned.m8n8.<matrices>{.trans}.<plain>.b16   [a] {b}   @store_matrices
mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32   {d} {a} {b} {c}   @mma
mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32    {d} {a} {b} {c}   @mma
mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32    {d} {a} {b} {c}   @mma
mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32    {d} {a} {b} {c}   @mma

# ---- asynchronous copies
cp.async.<cache>.<plain>.global{.L2::cache_hint}{.<l2>}   [a] [b] #n #m? #policy?   @copy_async
cp.async.commit_group                                                               simt::async_commit();
cp.async.wait_group                  #n                      simt::async_wait($n);
cp.async.wait_all                                            simt::async_commit(); simt::async_wait(0);
"""


@dataclass(frozen=True)
class Operand:
    name: str
    kind: str  # value, address, list, text
    type: str  # "" where it is T
    optional: bool


@dataclass(frozen=True)
class Row:
    opcode: re.Pattern
    operands: tuple[Operand, ...]
    cpp: str


KINDS = {"": "value", "[": "address", "{": "list", "#": "text"}
OPERAND = re.compile(r"([\[{#]?)(\w+)[\]}]?(?::(\w+))?(\?)?")


def opcode_pattern(opcode: str) -> re.Pattern:
    pattern = re.escape(opcode).replace(r"\{", "{").replace(r"\}", "}")
    pattern = re.sub(r"\{([^}]*)\}", lambda m: f"(?:{m[1]})?", pattern)
    pattern = re.sub(r"<(\w+)>", lambda m: f"(?P<{m[1]}>{'|'.join(SETS[m[1]].split())})", pattern)
    # a word that may be there is found by its own name
    return re.compile(re.sub(r"\(\?:(\\\.)(\w+)\)\?", r"(?:\1(?P<\2>\2))?", pattern))


def row(opcode: str, operands: str, cpp: str) -> Row:
    listed = []
    for word in operands.split():
        bracket, name, kind, optional = OPERAND.fullmatch(word).groups()
        listed.append(Operand(name, KINDS[bracket], kind or "", bool(optional)))
    return Row(opcode_pattern(opcode), tuple(listed), cpp)


def table() -> list[Row]:
    rows = []
    for line in TABLE.splitlines():
        if not line or line.startswith("#"):
            continue
        opcode, *operands, cpp = re.split(r"\s{2,}", line, maxsplit=2)
        rows.append(row(opcode, " ".join(operands), cpp))
    # the second result of setp is the first one's opposite; both are combined with c
    for comparisons, types in (
        (INTEGER_COMPARISONS, "{.<logical>}.<int>"),
        (INTEGER_COMPARISONS, "{.<logical>}.<bits>"),
        (UNSIGNED_COMPARISONS, "{.<logical>}.<int>"),
        (FLOAT_COMPARISONS, "{.<logical>}{.ftz}.<f>"),
    ):
        rows += [row(f"setp.{name}{types}", "d a b c:pred?", f"@set {cpp}") for name, cpp in comparisons.items()]
    return rows
