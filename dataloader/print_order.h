// print_order.h - the pieces of one step, for --print-order.
#pragma once
#include <cstdio>
#include <string>

#include "dataloader/data_set.h"

void print_order_of_step(const DataSet& data, int64_t step, const std::string& state, FILE* out);
