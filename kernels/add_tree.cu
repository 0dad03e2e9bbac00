#include "kernels/add_tree.cuh"

namespace gpu {

template void add_tree(float*, const float*, size_t, int, size_t, stream_t);
template void add_tree(double*, const double*, size_t, int, size_t, stream_t);

}  // namespace gpu
