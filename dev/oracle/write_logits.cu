// write_logits.cu - the logits that a directory's model gives on the CUDA kernels, as a file for check_logits.py.
//
//   write_logits DIR IDS.npy T OUT.npy fp32|bf16
//
// IDS: uint32 (rows, T). OUT: float (rows T, V). Weights are read as they are and rounded to the precision named.
#include <cstring>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/machine.h"
#include "model/state.cuh"
#include "util/npy.h"

namespace {

template <class Real>
std::vector<float> logits_of(const std::string& directory, const std::vector<int>& ids, int T,
                             backend::stream_t stream) {
    Gpt<Real> gpt(read_model_config(directory));
    load_weights(directory, gpt, static_cast<AdamState<Real>*>(nullptr));
    const GptConfig& c = gpt.config;
    const int N = static_cast<int>(ids.size());
    if (T > c.max_T) die(Exit::Usage, "T = %d: the model's context is %d", T, c.max_T);
    for (const int id : ids)
        if (id >= c.V) die(Exit::Data, "id %d: the model has %d", id, c.V);
    ActivationMemory<Real> memory(c, N / T, T, Keep::Nothing, stream);
    std::vector<int> positions;
    for (int n = 0; n < N; ++n) positions.push_back(n % T);
    DeviceArray<int> device_ids(ids.size()), device_positions(ids.size());
    copy_to_device(device_ids.get(), ids.data(), ids.size());
    copy_to_device(device_positions.get(), positions.data(), ids.size());
    gpt_forward(gpt, memory, {device_ids.get(), device_positions.get(), nullptr}, stream);
    const size_t Vp = static_cast<size_t>(c.Vp()), V = static_cast<size_t>(c.V);
    DeviceArray<Real> padded(ids.size() * Vp);
    const Real *head = c.tied ? gpt.params.wte : gpt.params.lmheadw, *no_bias = nullptr;
    backend::matmul_forward(padded.get(), memory.a.lnf, head, no_bias, N, c.C, c.Vp(), stream);
    CUDA_CHECK(cudaDeviceSynchronize());  // the copy waits for the null stream's work only
    std::vector<Real> host(padded.size());
    copy_to_host(host.data(), padded.get(), host.size());
    std::vector<float> logits(ids.size() * V);
    for (size_t n = 0; n < ids.size(); ++n)
        for (size_t v = 0; v < V; ++v) logits[n * V + v] = static_cast<float>(host[n * Vp + v]);
    return logits;
}

}  // namespace

int main(int argc, char** argv) {
    const std::string precision = argc == 6 ? argv[5] : "";
    const int T = argc == 6 ? atoi(argv[3]) : 0;
    if (T < 1 || (precision != "fp32" && precision != "bf16"))
        die(Exit::Usage, "expected write_logits DIR IDS.npy T OUT.npy fp32|bf16");
    const NpyArray file(argv[2], "<u4", 4, static_cast<uint64_t>(T));
    const auto* words = static_cast<const uint32_t*>(file.data());
    const std::vector<int> ids(words, words + file.rows() * static_cast<uint64_t>(T));
    const gpu::Machine machine;
    const std::vector<float> logits = precision == "fp32" ? logits_of<float>(argv[1], ids, T, machine.stream())
                                                          : logits_of<bf16>(argv[1], ids, T, machine.stream());
    write_npy(argv[4], "<f4", 4, {ids.size(), logits.size() / ids.size()}, logits.data());
    return 0;
}
