#include "kernels/adamw.cuh"

namespace gpu {

template void adamw_update(bf16*, float*, float*, float*, float*, const double*, size_t, const AdamwGroup*, int,
                           const AdamwSettings&, stream_t);
template void adamw_update(float*, float*, float*, float*, float*, const double*, size_t, const AdamwGroup*, int,
                           const AdamwSettings&, stream_t);

}  // namespace gpu
