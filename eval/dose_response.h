// dose_response.h - from which dose on facts are known, by a psychometric curve with guess and lapse:
//     P(right | F) = g + (1 - g - l) / (1 + exp(-k (ln F - ln F50)))
// F is a dose (frequency, popularity, exposures), F50 the dose half of the way from guessing to 1 - l, k the slope in
// ln F. knapsack/analysis/psychometric.py fits the same model.
#pragma once
#include <cstdint>
#include <limits>
#include <vector>

#include "eval/bootstrap.h"  // defines: Interval

// Answers of one person at one dose. dose 0: never shown, only guessing is left. guess: the chance of a right guess;
// NaN: not known, and fitted within [0, 0.25], the same for all such answers.
struct DoseAnswers {
    double dose, guess;
    uint64_t person;
    double right, asked;
};

enum class DoseState { REACHED, NOT_REACHED, BELOW, FLAT };
// "reached", "not reached" (F50 is beyond the largest dose: a bound, no number), "below the smallest dose", "no rise"
const char* dose_state_name(DoseState state);

struct DoseCurve {
    static constexpr double NONE = std::numeric_limits<double>::quiet_NaN();
    int64_t people = 0, answers = 0;  // no answers: there is no curve
    DoseState state = DoseState::FLAT;
    double ln_F50 = NONE, k = NONE, lapse = NONE, guess = NONE;  // of the fit, wherever F50 lies; the mean guess
    double loglik = NONE;
    double overdispersion = NONE;                      // of a person's right answers; binomial: 1
    double smallest_dose = NONE, largest_dose = NONE;  // above 0
    double F50 = NONE;                                 // where it was reached
    double at_target = NONE;                           // dose of the target accuracy; NaN: not within the doses
    // 95 % over people; an end that is not within the doses is NaN, as both are where there is no rise.
    Interval F50_interval{NONE, NONE}, at_target_interval{NONE, NONE};
};

// The curve of largest likelihood, k within [0.2, 40], the lapse within [0, 0.1], F50 within a factor e^3 of the doses.
// Intervals by `resamples` samples of people with all their answers (none for less than 2). A pure function of its
// arguments, for any number of threads.
DoseCurve fit_dose_curve(const std::vector<DoseAnswers>& answers, double target, int resamples, uint64_t seed);
