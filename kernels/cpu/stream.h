// stream.h - the CPU backend's stream: kernels run at once, in the order of the calls.
#pragma once

namespace cpu {
struct stream_t {};
}  // namespace cpu
