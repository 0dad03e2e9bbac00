// placement.h - --placement: where inside its windows a source comes, as windows again. So every promise that holds
// for windows (exact shares, exact exposures, refusals) holds for placements.
#pragma once
#include <string>
#include <utility>
#include <vector>

using RunWindows = std::vector<std::pair<double, double>>;  // fractions of the run [a, b), ascending

// Dies with Exit::Usage unless 0 <= a < b <= 1 for each and none overlaps another; `name` is the source's.
void check_windows(const std::string& name, RunWindows windows);

// The part of `windows` (empty: the whole run) that `text` names. Fractions F and C are of the windows' length put end
// to end:
//   uniform         all of it
//   front:F         the first F
//   back:F          the last F
//   burst:C:F       F around the middle C
//   periodic:N:F    N bursts at equal distances, F in all
// Dies with Exit::Usage on anything else, and on windows that check_windows refuses; `name` is the source's.
RunWindows place_windows(const std::string& name, const std::string& text, RunWindows windows);
