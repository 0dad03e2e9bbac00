// placement.h - --placement: where inside its windows a source stands, as windows again. So every promise that holds
// for windows (exact shares, exact exposures, refusals) holds for placements.
#pragma once
#include <string>
#include <utility>
#include <vector>

using RunWindows = std::vector<std::pair<double, double>>;  // fractions of the run [a, b), ascending

// The part of `windows` (empty: the whole run) that `text` names. Fractions F and C are of the windows' length put end
// to end:
//   uniform         all of it
//   front:F         the first F
//   back:F          the last F
//   burst:C:F       F around the middle C
//   periodic:N:F    N bursts at equal distances, F in all
// Dies with Exit::Usage on anything else; `what` names the flag in the message.
RunWindows place_windows(const std::string& what, const std::string& text, RunWindows windows);
