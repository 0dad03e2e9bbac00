// batch.h - the rows of one optimizer step, or a process's part of them: row i of the run is stream[iT .. iT+T].
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "dataloader/ledger.h"  // defines: Exposure

struct Batch {
    int64_t step = 0;  // from 0
    // of the part's rows
    std::vector<int> inputs, targets;           // (rows, T)
    std::vector<int> positions, segment_start;  // (rows, T); with the document mask off: 0..T-1 and empty
    std::vector<uint16_t> source;               // (rows, T): whose token the target is
    // of the whole step, whatever the part
    std::vector<int64_t> source_targets;  // (sources): targets
    std::vector<Exposure> exposures;      // facts whose value ends among the step's targets
    std::string state;                    // loader_state.json after this batch (JSON text)
};
