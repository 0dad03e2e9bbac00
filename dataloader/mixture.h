// mixture.h - the plan of a run: how long it is, and which share each source has where. Every refusal of an impossible
// mixture is made here.
//
// The windows of the sources cut the run into segments. Within one, shares are constant: a source with ratio R and a
// window has R / window length; an --exposures source its expected tokens / window length; the other ratios scale with
// what these leave, so that over the whole run each still gets R; sources without ratio share the rest by size. Shares
// are whole multiples of 2^-40: the order of pieces knows no rounding.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "dataloader/fair_order.h"
#include "dataloader/plan.h"
#include "dataloader/source.h"

// What the sources are owed for a token of the stream, in units of 2^-share_bits tokens.
struct Segment {
    int64_t begin, end;  // positions in the stream
    // (sources) for a token of a source without --exposures; sums to 1. 0: does not appear here.
    std::vector<int64_t> share;
    // (sources) for a token of an --exposures source; sums to 0: ratios are of all tokens, the rest pays.
    std::vector<int64_t> exposure_share;
};

// Where the exposures of an --exposures source fall due; count 0 for the others.
struct ExposurePlaces {
    int64_t count = 0;                                 // K = F x entities, or the sum of the doses
    std::vector<std::pair<int64_t, int64_t>> windows;  // positions
    int64_t length = 0;                                // of all windows
    // Where exposure k < count falls due: (k + 1/2) length / K, counted inside the windows.
    int64_t due(int64_t k) const;
};

struct Mixture {
    int64_t length = 0;  // tokens of the stream: steps * batch_tokens + 1
    int T = 0;
    std::vector<Segment> segments;
    std::vector<ExposurePlaces> places;  // (sources)
};

// Fills steps, tokens, sources and warnings of `plan`. Dies with Exit::Usage for what cannot be.
Mixture plan_mixture(const MixtureOptions& options, const std::vector<Source>& sources, Plan* plan);
// The checks that need no data: names, ranges, windows, contradictions.
void check_mixture_options(const MixtureOptions& options);
