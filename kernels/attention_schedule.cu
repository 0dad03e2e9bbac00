#include "kernels/attention_schedule.cuh"
