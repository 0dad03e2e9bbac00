// test_memory.cpp - the micro-batch that a run takes by itself, and what memory it counts.
#include <omp.h>

#include "test/catch.h"
#include "test/support.h"
#include "train/memory.cuh"

namespace {

RunShape shape_of(const char* model, int T) {
    RunShape shape;
    shape.precision = "fp32";
    shape.config = config_from_name(model);
    shape.config.V = 50257;
    shape.T = T;
    return shape;
}

constexpr size_t MUCH = size_t{1} << 48;  // bytes

}  // namespace

TEST_CASE("a default micro-batch has no matrix of 2^31 elements", "[memory]") {
    CHECK(largest_micro_batch(shape_of("pythia-70m", 2048), 512, MUCH) == 256);   // 512 x 2048 x 2048 is 2^31
    CHECK(largest_micro_batch(shape_of("pythia-70m", 2048), 511, MUCH) == 511);   // one row fewer is not
    CHECK(largest_micro_batch(shape_of("pythia-410m", 2048), 512, MUCH) == 128);  // F = 4096: at 256 rows it is
    CHECK(largest_micro_batch(shape_of("gpt2-124m", 1024), 1024, MUCH) == 512);   // F = 3072
    RunShape wide = shape_of("pythia-14m", 2048);
    wide.config.V = 1 << 22;  // the head's slice, not a layer: 511 rows of it
    CHECK(largest_matrix(wide, 1).name == std::string("logits"));
    wide.T = 1;
    CHECK(largest_micro_batch(wide, 512, MUCH) == 256);
}

TEST_CASE("a micro-batch with a matrix of 2^31 elements is refused, with what works", "[memory]") {
    const RunShape shape = shape_of("pythia-70m", 2048);
    check_micro_batch(shape, 511, 511);
    REQUIRE_DIES(Exit::Usage,
                 "--micro-batch 512: fch would be a matrix of 1048576 x 2048 = 2147483648 elements, and 2^31 are too "
                 "many; the largest that works is --micro-batch 256",
                 check_micro_batch(shape, 512, 1024));
    REQUIRE_DIES(Exit::Usage, "even one row has them: give a smaller --seq-len",
                 largest_micro_batch(shape_of("pythia-70m", 1 << 20), 4, MUCH));
}

TEST_CASE("what each thread takes for the attention's backward pass is counted", "[memory]") {
    for (const char* precision : {"fp32", "bf16"}) {
        INFO(precision);
        RunShape shape = shape_of("qwen3:L2:C64:H8:KV2:HS64:F96", 1024);
        shape.precision = precision;
        size_t activations[2];  // with one thread, with four
        for (const int threads : {1, 4}) {
            omp_set_num_threads(threads);
            activations[threads == 4] = memory_of(shape, 2).activations;
        }
        const double a_thread = static_cast<double>(activations[1] - activations[0]) / 3;
        // the queries of 4 heads and their gradients, twice each, and the sums of dq: 5 HS numbers a query; of bf16 the
        // packed ones take 2 bytes, or 4 where they are widened
        const double queries = 4.0 * 1024 * 64;
        CHECK(a_thread > queries * (precision == std::string("fp32") ? 5 * 4 : 4 * 2 + 4));
        CHECK(a_thread < queries * 5 * 4 * 1.03);  // and a tile of keys
        // two rows fit with one thread; with four only one does
        const RunMemory one = memory_of(shape, 1);
        const size_t available = one.parameters + 2 * activations[0];
        CHECK(largest_micro_batch(shape, 2, available + 2) == 1);
        omp_set_num_threads(1);
        CHECK(largest_micro_batch(shape, 2, available + 2) == 2);
        omp_set_num_threads(omp_get_num_procs());
    }
}
