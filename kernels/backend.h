// backend.h - which kernels the names of model/gpt.cuh mean. The CPU build sees namespace `cpu` and no CUDA header at
// all.
#pragma once
#include "kernels/cpu/adamw.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/classifier.h"
#include "kernels/cpu/embedding.h"
#include "kernels/cpu/gelu.h"
#include "kernels/cpu/global_norm.h"
#include "kernels/cpu/layernorm.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/residual.h"
#include "kernels/cpu/rotary.h"

namespace backend = cpu;
