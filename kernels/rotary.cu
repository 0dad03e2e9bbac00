#include "kernels/rotary.cuh"

namespace gpu {

template void rotary_table(float*, int, int, double, stream_t);
template void rotary_forward(bf16*, const float*, const int*, int, int, int, int, int, stream_t);
template void rotary_forward(float*, const float*, const int*, int, int, int, int, int, stream_t);
template void rotary_backward(bf16*, const float*, const int*, int, int, int, int, int, stream_t);
template void rotary_backward(float*, const float*, const int*, int, int, int, int, int, stream_t);

}  // namespace gpu
