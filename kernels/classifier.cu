#include "kernels/classifier.cuh"

namespace gpu {

template void classifier_forward(float*, bf16*, const int*, float, bool, int, int, int, stream_t);
template void classifier_forward(float*, float*, const int*, float, bool, int, int, int, stream_t);
template void classifier_score(float*, int*, int*, const bf16*, const int*, int, int, int, stream_t);
template void classifier_score(float*, int*, int*, const float*, const int*, int, int, int, stream_t);

template void loss_sums(double*, const float*, const uint16_t*, int, int, stream_t);

}  // namespace gpu
