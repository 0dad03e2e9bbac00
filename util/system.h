// system.h - what this machine has: memory and cores.
#pragma once
#include <cstddef>
#include <string>

size_t available_memory();  // bytes that can be taken without swapping (MemAvailable)
std::string cpu_name();
int num_threads();  // of a parallel region

// To be called first in main. OpenMP's threads wait for their next piece of work by spinning, for milliseconds in GNU's
// library, which costs a factor of ten as soon as anything else wants a core (dev/LOG.md). They are to spin for a few
// microseconds only; the library reads that from the environment when it is loaded, so the program starts itself again
// with GOMP_SPINCOUNT set. OMP_WAIT_POLICY or GOMP_SPINCOUNT in the environment are respected.
void wait_politely(char** argv);
