#include "test/ptx/warp.h"

namespace ptx {

namespace {

std::string text(const Site& site) {
    return std::string(site.what) + " at " + site.file + ":" + std::to_string(site.line);
}

// What each lane brings and takes away; the last to come computes it for all.
template <class Lane>
Lane& lane_of(simt::Group group, int lane) {
    return *static_cast<Lane*>(group.payload[lane]);
}
void check_whole_warp(simt::Group group) {
    if (group.members != ~0u) simt::fail("an instruction that needs the whole warp");
}

template <class T>
struct Operand {
    T value, result;
};
// result = op(values), over all lanes
template <class T, T (*OPERATION)(T, T)>
T reduce(T value, uint32_t mask, const Site& site) {
    Operand<T> mine{value, value};
    simt::collective(
        [](simt::Group group) {
            const int first = __builtin_ctz(group.members);
            T result = lane_of<Operand<T>>(group, first).value;
            simt::for_each_lane(group.members & (group.members - 1),
                                [&](int lane) { result = OPERATION(result, lane_of<Operand<T>>(group, lane).value); });
            simt::for_each_lane(group.members, [&](int lane) { lane_of<Operand<T>>(group, lane).result = result; });
        },
        mask, &mine, site);
    return mine.result;
}
template <class T>
T add(T a, T b) {
    return a + b;
}
template <class T>
T bit_and(T a, T b) {
    return a & b;
}
template <class T>
T bit_or(T a, T b) {
    return a | b;
}
template <class T>
T bit_xor(T a, T b) {
    return a ^ b;
}
template <class T>
T least(T a, T b) {
    return a < b ? a : b;
}
template <class T>
T most(T a, T b) {
    return a > b ? a : b;
}

}  // namespace

void refuse_address(uint64_t address, uint32_t bytes, const Site& site) {
    char hex[20];
    snprintf(hex, sizeof hex, "%llx", static_cast<unsigned long long>(address));
    simt::fail(text(site) + ": address 0x" + hex + " is not aligned for " + std::to_string(bytes) + " bytes");
}
void refuse_shared(uint32_t offset, uint32_t bytes, const Site& site) {
    const std::string what = offset % bytes ? " is not aligned" : " is out of bounds";
    simt::fail(text(site) + ": " + std::to_string(bytes) + " bytes at " + std::to_string(offset) + what + ", of " +
               std::to_string(shared_bytes_of_launch) + " bytes of shared memory");
}

void sync_warp(uint32_t mask, const Site& site) {
    simt::collective([](simt::Group) {}, mask, nullptr, site);
}

// ---- shuffles and votes ---------------------------------------------------------------------------------------------

namespace {

struct ShuffleLane {
    uint32_t value, b, c;
    Shuffled result;
};
template <Shuffle MODE>
void finish_shuffle(simt::Group group) {
    simt::for_each_lane(group.members, [&](int lane) {
        auto& mine = lane_of<ShuffleLane>(group, lane);
        const int b = static_cast<int>(mine.b & 31), clamp = static_cast<int>(mine.c & 31),
                  segment = static_cast<int>(mine.c >> 8 & 31);
        const int last = (lane & segment) | (clamp & ~segment), first = lane & segment;
        const int from = MODE == Shuffle::up     ? lane - b
                         : MODE == Shuffle::down ? lane + b
                         : MODE == Shuffle::bfly ? lane ^ b
                                                 : first | (b & ~segment);
        mine.result.in_range = MODE == Shuffle::up ? from >= last : from <= last;
        const int source = mine.result.in_range ? from : lane;
        if (!(group.members >> source & 1))
            simt::fail("lane " + std::to_string(lane) + " reads lane " + std::to_string(source) +
                       ", which takes no part");
        mine.result.value = lane_of<ShuffleLane>(group, source).value;
    });
}

struct MatchLane {
    uint64_t value;
    uint32_t result;
};

}  // namespace

Shuffled shuffle(Shuffle mode, uint32_t value, uint32_t b, uint32_t c, uint32_t mask, const Site& site) {
    ShuffleLane mine{value, b, c, {}};
    const simt::Finish finish = mode == Shuffle::up     ? finish_shuffle<Shuffle::up>
                                : mode == Shuffle::down ? finish_shuffle<Shuffle::down>
                                : mode == Shuffle::bfly ? finish_shuffle<Shuffle::bfly>
                                                        : finish_shuffle<Shuffle::idx>;
    simt::collective(finish, mask, &mine, site);
    return mine.result;
}

uint32_t ballot(bool predicate, uint32_t mask, const Site& site) {
    return reduce_or(predicate ? 1u << simt::lane() : 0u, mask, site);
}
bool vote_uniform(bool predicate, uint32_t mask, const Site& site) {
    const uint32_t votes = ballot(predicate, mask, site);
    return votes == 0 || votes == mask;
}
uint32_t match_any(uint64_t value, uint32_t mask, const Site& site) {
    MatchLane mine{value, 0};
    simt::collective(
        [](simt::Group group) {
            simt::for_each_lane(group.members, [&](int lane) {
                auto& one = lane_of<MatchLane>(group, lane);
                simt::for_each_lane(group.members, [&](int other) {
                    one.result |= static_cast<uint32_t>(lane_of<MatchLane>(group, other).value == one.value) << other;
                });
            });
        },
        mask, &mine, site);
    return mine.result;
}

uint32_t reduce_add(uint32_t value, uint32_t mask, const Site& site) {
    return reduce<uint32_t, add>(value, mask, site);
}
uint32_t reduce_and(uint32_t value, uint32_t mask, const Site& site) {
    return reduce<uint32_t, bit_and>(value, mask, site);
}
uint32_t reduce_or(uint32_t value, uint32_t mask, const Site& site) {
    return reduce<uint32_t, bit_or>(value, mask, site);
}
uint32_t reduce_xor(uint32_t value, uint32_t mask, const Site& site) {
    return reduce<uint32_t, bit_xor>(value, mask, site);
}
uint32_t reduce_min(uint32_t value, uint32_t mask, const Site& site) {
    return reduce<uint32_t, least>(value, mask, site);
}
uint32_t reduce_max(uint32_t value, uint32_t mask, const Site& site) {
    return reduce<uint32_t, most>(value, mask, site);
}
int32_t reduce_min(int32_t value, uint32_t mask, const Site& site) { return reduce<int32_t, least>(value, mask, site); }
int32_t reduce_max(int32_t value, uint32_t mask, const Site& site) { return reduce<int32_t, most>(value, mask, site); }

// ---- matrices -------------------------------------------------------------------------------------------------------

namespace {

constexpr uint32_t ROW_BYTES = 16;

struct MatrixLane {
    const Shared* shared;
    const Site* site;
    uint32_t row;
    Fragments fragments;
};
// Visits every element of every matrix: visit(lane's fragment, shift in it, the element in shared memory).
template <int MATRICES, bool TRANSPOSED, class Visit>
void for_each_element(simt::Group group, Visit visit) {
    check_whole_warp(group);
    uint16_t* rows[8 * MATRICES];
    for (int lane = 0; lane < 8 * MATRICES; ++lane) {
        const auto& mine = lane_of<MatrixLane>(group, lane);
        rows[lane] = reinterpret_cast<uint16_t*>(mine.shared->at<char, ROW_BYTES>(mine.row, *mine.site));
    }
    for (int lane = 0; lane < 32; ++lane)
        for (int i = 0; i < 2 * MATRICES; ++i) {
            const int matrix = i / 2, along = 2 * (lane % 4) + i % 2, across = lane / 4;
            const int row = TRANSPOSED ? along : across, column = TRANSPOSED ? across : along;
            visit(lane_of<MatrixLane>(group, lane).fragments.pair[matrix], 16 * (i % 2),
                  &rows[8 * matrix + row][column]);
        }
}

template <int K, Factor FACTOR>
float element(uint32_t bits, int i) {
    if (FACTOR == Factor::bf16) return of_bf16(static_cast<uint16_t>(bits >> (16 * i)));
    return as<float>(bits & 0xffffe000u);  // tf32 has 10 bits after the point
}
// Lane l, g = l / 4, t = l % 4. Element h of register r of a: row g + 8 (r % 2), column E t + h + 4 E (r / 2), where a
// register holds E elements; of b: row E t + h + 4 E r, column g. Sums: rows g, g, g + 8, g + 8, columns 2t, 2t + 1.
template <int K, Factor FACTOR>
void finish_product(simt::Group group) {
    check_whole_warp(group);
    using Lane = Product<K, FACTOR>;
    constexpr int E = Lane::PER_REGISTER, A = sizeof(Lane::a) / 4, B = sizeof(Lane::b) / 4;
    float a[16][K], b[K][8], sum[16][8];
    for (int lane = 0; lane < 32; ++lane) {
        const auto& mine = lane_of<Lane>(group, lane);
        const int g = lane / 4, t = lane % 4;
        for (int r = 0; r < A; ++r)
            for (int h = 0; h < E; ++h)
                a[g + 8 * (r % 2)][E * t + h + 4 * E * (r / 2)] = element<K, FACTOR>(mine.a[r], h);
        for (int r = 0; r < B; ++r)
            for (int h = 0; h < E; ++h) b[E * t + h + 4 * E * r][g] = element<K, FACTOR>(mine.b[r], h);
        for (int i = 0; i < 4; ++i) sum[g + 8 * (i / 2)][2 * t + i % 2] = mine.sum[i];
    }
    for (int row = 0; row < 16; ++row)
        for (int k = 0; k < K; ++k)
            for (int column = 0; column < 8; ++column) sum[row][column] += a[row][k] * b[k][column];
    for (int lane = 0; lane < 32; ++lane)
        for (int i = 0; i < 4; ++i)
            lane_of<Lane>(group, lane).sum[i] = sum[lane / 4 + 8 * (i / 2)][2 * (lane % 4) + i % 2];
}

}  // namespace

template <int MATRICES, bool TRANSPOSED>
Fragments load_matrices(const Shared& shared, uint32_t row, const Site& site) {
    MatrixLane mine{&shared, &site, row, {}};
    simt::collective(
        [](simt::Group group) {
            for_each_element<MATRICES, TRANSPOSED>(group, [](uint32_t& pair, int shift, const uint16_t* element) {
                pair |= static_cast<uint32_t>(*element) << shift;
            });
        },
        ~0u, &mine, site);
    return mine.fragments;
}
template <int MATRICES, bool TRANSPOSED>
void store_matrices(const Shared& shared, uint32_t row, const Fragments& fragments, const Site& site) {
    MatrixLane mine{&shared, &site, row, fragments};
    simt::collective(
        [](simt::Group group) {
            for_each_element<MATRICES, TRANSPOSED>(group, [](uint32_t& pair, int shift, uint16_t* element) {
                *element = static_cast<uint16_t>(pair >> shift);
            });
        },
        ~0u, &mine, site);
}
#define MATRICES(count, transposed)                                                            \
    template Fragments load_matrices<count, transposed>(const Shared&, uint32_t, const Site&); \
    template void store_matrices<count, transposed>(const Shared&, uint32_t, const Fragments&, const Site&);
MATRICES(1, false)
MATRICES(1, true)
MATRICES(2, false)
MATRICES(2, true)
MATRICES(4, false)
MATRICES(4, true)

template <int K, Factor FACTOR>
Product<K, FACTOR> multiply_add(Product<K, FACTOR> lane, const Site& site) {
    simt::collective(finish_product<K, FACTOR>, ~0u, &lane, site);
    return lane;
}
#define PRODUCT(k, factor) template Product<k, Factor::factor> multiply_add(Product<k, Factor::factor>, const Site&);
PRODUCT(16, bf16)
PRODUCT(8, bf16)
PRODUCT(8, tf32)
PRODUCT(4, tf32)

}  // namespace ptx
