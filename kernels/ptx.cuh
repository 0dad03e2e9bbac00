// ptx.cuh - the instructions that C++ has no word for: the only inline PTX in the tree.
//
// The tensor cores' wrappers have two element types. For bf16 it is the instruction; for float it does the same on the
// CUDA cores, in the same layout over the lanes, so that one tile code serves both: exact float products (no tf32),
// summed in ascending k. Every wrapper also has a branch for the CPU (kernels/simt), where the last lane to arrive does
// the warp's work.
//
// Layout (PTX ISA, mma.m16n8k16): of an 8 x 8 matrix, lane l holds elements 2t and 2t+1 of row g, g = l / 4, t = l % 4.
#pragma once
#include <cstring>
#include <type_traits>

#include "kernels/device.h"
#include "kernels/simt.h"

#ifdef __CUDACC__
#define PRAGMA(text) _Pragma(#text)
#define UNROLL PRAGMA(unroll)
#define UNROLL_BY(n) PRAGMA(unroll n)
#else  // g++ does not know them
#define UNROLL
#define UNROLL_BY(n)
#endif

namespace gpu {

// A lane's share of four 8 x 8 matrices. As the left operand of a product (16 x 16) they are the quarters top left,
// bottom left, top right, bottom right; as the right operand (16 deep), matrices 0 and 1 are the upper and lower half
// of 8 columns, 2 and 3 those of the next 8.
template <class Real>
struct Matrices;
template <>
struct Matrices<bf16> {
    uint32_t pair[4];  // the lower half holds element 2t
};
template <>
struct Matrices<float> {
    float element[8];
};

__device__ inline int lane_index() { return static_cast<int>(threadIdx.x % 32); }

#ifndef __CUDACC__
namespace host {

inline float element(const Matrices<float>& m, int i) { return m.element[i]; }
inline float element(const Matrices<bf16>& m, int i) {
    return __uint_as_float(i % 2 ? m.pair[i / 2] & 0xffff0000u : m.pair[i / 2] << 16);
}
inline void set(Matrices<float>& m, int i, const float* value) { m.element[i] = *value; }
inline void set(Matrices<bf16>& m, int i, const bf16* value) {
    uint16_t bits;
    std::memcpy(&bits, value, 2);
    m.pair[i / 2] = i % 2 ? (m.pair[i / 2] & 0xffffu) | static_cast<uint32_t>(bits) << 16 : bits;
}

template <class Real>
struct Load {
    Matrices<Real>* to;
    const Real* row;
};
template <class Real, bool TRANSPOSED>
void finish_load(simt::Group group) {
    if (group.members != ~0u) simt::fail("load_matrices needs the whole warp");
    const Real* rows[32];
    for (int l = 0; l < 32; ++l) {
        rows[l] = static_cast<Load<Real>*>(group.payload[l])->row;
        if (reinterpret_cast<uintptr_t>(rows[l]) % 16) simt::fail("load_matrices: a row is not 16-byte aligned");
    }
    for (int l = 0; l < 32; ++l)
        for (int i = 0; i < 8; ++i) {
            const int matrix = i / 2, g = l / 4, t = 2 * (l % 4) + i % 2;
            set(*static_cast<Load<Real>*>(group.payload[l])->to, i,
                TRANSPOSED ? &rows[matrix * 8 + t][g] : &rows[matrix * 8 + g][t]);
        }
}

template <class Real>
struct Product {
    float* sum;
    const Matrices<Real>*left, *right;
    int half;
};
template <class Real>
void finish_product(simt::Group group) {
    if (group.members != ~0u) simt::fail("multiply_add needs the whole warp");
    using Row = float __attribute__((vector_size(32)));
    float left[16][16];
    Row right[16], sum[16];
    for (int l = 0; l < 32; ++l) {
        const auto& p = *static_cast<Product<Real>*>(group.payload[l]);
        const int g = l / 4, t = 2 * (l % 4);
        for (int i = 0; i < 8; ++i) left[g + i / 2 % 2 * 8][t + i / 4 * 8 + i % 2] = element(*p.left, i);
        for (int i = 0; i < 4; ++i) {
            right[t + i / 2 * 8 + i % 2][g] = element(*p.right, p.half * 4 + i);
            sum[g + i / 2 * 8][t + i % 2] = p.sum[i];
        }
    }
    for (int row = 0; row < 16; ++row)
        for (int k = 0; k < 16; ++k) sum[row] += left[row][k] * right[k];
    for (int l = 0; l < 32; ++l)
        for (int i = 0; i < 4; ++i)
            static_cast<Product<Real>*>(group.payload[l])->sum[i] = sum[l / 4 + i / 2 * 8][2 * (l % 4) + i % 2];
}

}  // namespace host
#endif

// Four matrices out of shared memory; lane l names the first element of row l % 8 of matrix l / 8, 16-byte aligned.
// TRANSPOSED: a lane gets the elements of column g instead of row g. The whole warp calls.
template <bool TRANSPOSED>
__device__ __forceinline__ void load_matrices(Matrices<bf16>& m, const bf16* row) {
#ifdef __CUDACC__
    const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    if constexpr (TRANSPOSED)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(m.pair[0]), "=r"(m.pair[1]), "=r"(m.pair[2]), "=r"(m.pair[3])
                     : "r"(address)
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(m.pair[0]), "=r"(m.pair[1]), "=r"(m.pair[2]), "=r"(m.pair[3])
                     : "r"(address)
                     : "memory");
#else
    host::Load<bf16> load{&m, row};
    simt::collective(host::finish_load<bf16, TRANSPOSED>, ~0u, &load, simt::Site{"ldmatrix", __FILE__, __LINE__});
#endif
}

template <bool TRANSPOSED>
__device__ __forceinline__ void load_matrices(Matrices<float>& m, const float* row) {
#ifdef __CUDACC__
    const unsigned mine = static_cast<unsigned>(__cvta_generic_to_shared(row));
    const int g = lane_index() / 4, t = 2 * (lane_index() % 4);
    UNROLL
    for (int i = 0; i < 8; ++i) {
        const unsigned address = __shfl_sync(~0u, mine, i / 2 * 8 + (TRANSPOSED ? t + i % 2 : g));
        const auto* from = static_cast<const float*>(__cvta_shared_to_generic(address));
        m.element[i] = from[TRANSPOSED ? g : t + i % 2];
    }
#else
    host::Load<float> load{&m, row};
    simt::collective(host::finish_load<float, TRANSPOSED>, ~0u, &load, simt::Site{"ldmatrix", __FILE__, __LINE__});
#endif
}

// sum (16 x 8) += left (16 x 16) * right (16 x 8), the first or the second 8 columns of `right`. The lane's sums are
// rows g, g, g+8, g+8 at columns 2t, 2t+1, 2t, 2t+1. The whole warp calls.
__device__ __forceinline__ void multiply_add(float (&sum)[4], const Matrices<bf16>& left, const Matrices<bf16>& right,
                                             int half) {
#ifdef __CUDACC__
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(left.pair[0]), "r"(left.pair[1]), "r"(left.pair[2]), "r"(left.pair[3]), "r"(right.pair[2 * half]),
          "r"(right.pair[2 * half + 1]));
#else
    host::Product<bf16> product{sum, &left, &right, half};
    simt::collective(host::finish_product<bf16>, ~0u, &product, simt::Site{"mma", __FILE__, __LINE__});
#endif
}

__device__ __forceinline__ void multiply_add(float (&sum)[4], const Matrices<float>& left, const Matrices<float>& right,
                                             int half) {
#ifdef __CUDACC__
    // Element (row, k) of the left and (k, column) of the right operand lie with the lanes of their row, or column, and
    // of k's pair; which register that is depends on k's half and parity alone. So the pairs can be a loop, which keeps
    // the code short.
    const int row_lanes = lane_index() / 4 * 4, column_lanes = lane_index() % 4 * 8;
    UNROLL
    for (int k_half = 0; k_half < 2; ++k_half) {
        UNROLL_BY(1)
        for (int pair = 0; pair < 4; ++pair) {
            UNROLL
            for (int parity = 0; parity < 2; ++parity) {
                const float top = __shfl_sync(~0u, left.element[k_half * 4 + parity], row_lanes + pair);
                const float bottom = __shfl_sync(~0u, left.element[k_half * 4 + 2 + parity], row_lanes + pair);
                const float in = right.element[half * 4 + k_half * 2 + parity];
                const float even = __shfl_sync(~0u, in, column_lanes + pair);
                const float odd = __shfl_sync(~0u, in, column_lanes + 4 + pair);
                sum[0] = fmaf(top, even, sum[0]);
                sum[1] = fmaf(top, odd, sum[1]);
                sum[2] = fmaf(bottom, even, sum[2]);
                sum[3] = fmaf(bottom, odd, sum[3]);
            }
        }
    }
#else
    host::Product<float> product{sum, &left, &right, half};
    simt::collective(host::finish_product<float>, ~0u, &product, simt::Site{"mma", __FILE__, __LINE__});
#endif
}

// Sums of a product as the left operand of the next: 16 x 16 out of two neighbouring 16 x 8, rounded to Real. No data
// moves between lanes: the two layouts agree.
template <class Real>
__device__ __forceinline__ Matrices<Real> left_operand(const float (&left)[4], const float (&right)[4]) {
    Matrices<Real> m;
    UNROLL
    for (int i = 0; i < 4; ++i) {
        const float(&from)[4] = i < 2 ? left : right;
        const float a = from[i % 2 * 2], b = from[i % 2 * 2 + 1];
        if constexpr (std::is_same_v<Real, float>) {
            m.element[2 * i] = a;
            m.element[2 * i + 1] = b;
        } else {
            const __nv_bfloat162 pair = __floats2bfloat162_rn(a, b);
            std::memcpy(&m.pair[i], &pair, 4);
        }
    }
    return m;
}

// Copies BYTES (8 or 16, aligned as wide) from global to shared memory without passing through registers, or writes
// zeros where not `valid` (`from` is not read then). The bytes are there once the thread has committed and waited.
template <int BYTES>
__device__ __forceinline__ void copy_async(void* to, const void* from, bool valid) {
    static_assert(BYTES == 8 || BYTES == 16, "cp.async moves 8 or 16 bytes");
#ifdef __CUDACC__
    const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    if constexpr (BYTES == 16)  // past L1: a tile is read once
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(valid ? 16 : 0)
                     : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(address), "l"(from), "r"(valid ? 8 : 0)
                     : "memory");
#else
    if (reinterpret_cast<uintptr_t>(to) % BYTES || (valid && reinterpret_cast<uintptr_t>(from) % BYTES))
        simt::fail("copy_async: an address is not aligned");
    simt::async_copy(to, from, BYTES, valid ? BYTES : 0);
#endif
}
__device__ __forceinline__ void copy_async_commit() {
#ifdef __CUDACC__
    asm volatile("cp.async.commit_group;" ::: "memory");
#else
    simt::async_commit();
#endif
}
// Waits until at most LEFT of the thread's latest groups are under way. A barrier must follow before other threads
// read.
template <int LEFT>
__device__ __forceinline__ void copy_async_wait() {
#ifdef __CUDACC__
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
#else
    simt::async_wait(LEFT);
#endif
}

// 16 bytes, which lie on 16 bytes, to global memory in one instruction. From an assignment the compiler makes stores of
// 2 and 4 bytes where it keeps the values apart: five transactions of the second-level cache for one.
__device__ __forceinline__ void store_16_bytes(void* to, const void* from) {
#ifdef __CUDACC__
    uint32_t word[4];
    std::memcpy(word, from, 16);
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)), "r"(word[0]),
                 "r"(word[1]), "r"(word[2]), "r"(word[3])
                 : "memory");
#else
    if (reinterpret_cast<uintptr_t>(to) % 16) simt::fail("store_16_bytes: misaligned address");
    std::memcpy(to, from, 16);
#endif
}

// The same pointer or number, as if from nowhere: what is computed from it is computed where it is used and not kept in
// registers from one turn of a loop to the next.
template <class Value>
__device__ __forceinline__ Value detached(Value value) {
#ifdef __CUDACC__
    if constexpr (sizeof(Value) == 8)
        asm("" : "+l"(value));
    else
        asm("" : "+r"(value));
#endif
    return value;
}

// 2^x, denormal results as zero: one instruction, error below 2^-22. 2^-inf is 0.
__device__ __forceinline__ float exp2_fast(float x) {
#ifdef __CUDACC__
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return exp2f(x);
#endif
}
// e^x by the same, relative error below (1.3 |x| + 4) 2^-24: of the product and of log2(e) in float, and of exp2_fast.
__device__ __forceinline__ float exp_fast(float x) { return exp2_fast(x * 1.44269504088896341f); }

// 1 / x, of denormals infinity: one instruction, error below 2^-23.
__device__ __forceinline__ float reciprocal_fast(float x) {
#ifdef __CUDACC__
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return 1 / x;
#endif
}

}  // namespace gpu
