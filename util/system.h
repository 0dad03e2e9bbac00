// system.h - what this machine has: memory, cores, and how fast it multiplies matrices.
#pragma once
#include <cstddef>
#include <string>

size_t available_memory();   // bytes that can be taken without swapping (MemAvailable)
std::string cpu_name();
int num_threads();           // of a parallel region

// FLOP/s of the CPU backend's own matrix product (1024 x 1024 x 1024, fp32), the fastest of several runs: the denominator of perf/mfu. Takes about 0.1 s.
double matmul_rate();
