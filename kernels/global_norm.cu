#include "kernels/global_norm.cuh"

namespace gpu {

template void global_norm_squared(double*, void*, const float*, size_t, stream_t);

}  // namespace gpu
