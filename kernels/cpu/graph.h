// graph.h - the CPU backend's stream does everything at once: there is nothing to record.
#pragma once
#include "kernels/cpu/device.h"

namespace cpu {

struct Graph {
    template <class Queue>
    void run(stream_t, Queue queue) {
        queue();
    }
};

}  // namespace cpu
