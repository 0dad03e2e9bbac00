// nvtx.h - named ranges on the timeline of Nsight Systems; nothing in builds without CUDA.
#pragma once
#if defined(__CUDACC__)
#include <nvtx3/nvToolsExt.h>

class NvtxRange {
  public:
    explicit NvtxRange(const char* name) { nvtxRangePushA(name); }
    ~NvtxRange() { nvtxRangePop(); }
    NvtxRange(const NvtxRange&) = delete;
    NvtxRange& operator=(const NvtxRange&) = delete;
};
#else
struct NvtxRange {
    explicit NvtxRange(const char*) {}
    ~NvtxRange() {}  // so that an unused range is not a warning
};
#endif
