// share_interval.h - how far a share of right answers would be from the truth, from all to none right by one rule.
#pragma once
#include <vector>

#include "eval/bootstrap.h"  // defines: Interval

// So many people gave `right` right answers to `asked` questions each. `right` need not be whole: a tie counts in part.
struct PeopleAlike {
    double right, asked, people;
};

// The 95 % interval of the share, over people. Beta-binomial: a person's own share is drawn from Beta(s u, (1 - s) u),
// where the likeness of a person's answers is 1 / (1 + u); Jeffreys' prior of the share s, a uniform one of the
// likeness, which is integrated out. So the interval is continuous in the counts: 0 and 1 right answer of 250 of ten
// people have upper ends near each other, and neither takes the answers for independent. It holds the share itself, so
// that its end is 0 where none is right and 1 where all are. NaN without answers.
Interval share_interval(const std::vector<PeopleAlike>& people);
