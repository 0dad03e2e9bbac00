// batch.h - the rows of one optimizer step: row i of the run is stream[iT .. iT+T].
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "dataloader/ledger.h"  // defines: Exposure

struct Batch {
    int64_t step = 0;                           // from 0
    std::vector<int> inputs, targets;           // (rows, T)
    std::vector<int> positions, segment_start;  // (rows, T); with the document mask off: 0..T-1 and empty
    std::vector<uint16_t> source;               // (rows, T): whose token the target is
    std::vector<Exposure> exposures;            // facts whose value ends among these targets
    std::string state;                          // loader_state.json after this batch (JSON text)
};
