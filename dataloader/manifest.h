// manifest.h - --manifest: the whole run's placements, written without training (dev/formats.md, 9).
#pragma once
#include <cstdint>
#include <string>

#include "dataloader/data_set.h"

// FOLDER/NAME.npy for every knowledge source. Dies with Exit::Runtime where it cannot be written.
void write_placements(const DataSet& data, const std::string& folder);
