#include "eval/dose_response.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <utility>

namespace {

constexpr double MOST_GUESS = 0.25, MOST_LAPSE = 0.1, LEAST_SLOPE = 0.2, MOST_SLOPE = 40;
constexpr double BEYOND = 3;  // in ln F: how far from the doses F50 is sought
constexpr double BIN = 0.01;  // of ln F: doses nearer than this are one, where there are more than MOST_DOSES
constexpr size_t MOST_DOSES = 400;
constexpr double NO_DOSE = -50;  // ln F of what was never shown
constexpr double TINY = 1e-9;    // probabilities stay so far from 0 and 1
constexpr double RISE = 6.63;    // twice the log-likelihood that a slope must add per overdispersion: chi2, 1 %
constexpr size_t PARAMETERS = 4;
enum { LN_F50, LN_K, LAPSE, GUESS };

using Vector = std::array<double, PARAMETERS>;
using Matrix = std::array<Vector, PARAMETERS>;

struct Place {
    double x, guess;  // ln F; NaN: fitted
};
struct Count {
    double right = 0, wrong = 0;
};
using Counts = std::vector<Count>;  // by place
struct PlaceCount {
    size_t place;
    Count count;
};

double logistic(double z) { return 1 / (1 + std::exp(-z)); }
double chance_at(const Place& place, const Vector& p) { return std::isnan(place.guess) ? p[GUESS] : place.guess; }

struct Fit {
    Vector p;
    double loglik;
};

// The answers, added up by person and place.
class AnswerTable {
  public:
    explicit AnswerTable(const std::vector<DoseAnswers>& answers) {
        std::vector<double> doses;
        for (const DoseAnswers& a : answers)
            if (a.dose > 0) doses.push_back(std::log(a.dose));
        std::sort(doses.begin(), doses.end());
        doses.erase(std::unique(doses.begin(), doses.end()), doses.end());
        if (!doses.empty()) low_ = doses.front(), high_ = doses.back();
        const bool many = doses.size() > MOST_DOSES;
        std::map<std::pair<double, double>, size_t> places;  // a guess that is not known: -1
        std::map<uint64_t, size_t> persons;
        for (const DoseAnswers& a : answers) {
            if (!(a.asked > 0)) continue;
            double x = a.dose > 0 ? std::log(a.dose) : NO_DOSE;
            if (many && a.dose > 0) x = BIN * std::round(x / BIN);
            const auto [place, is_new] = places.try_emplace({x, std::isnan(a.guess) ? -1 : a.guess}, places_.size());
            if (is_new) places_.push_back({x, a.guess});
            free_guess_ = free_guess_ || std::isnan(a.guess);
            const auto [person, is_other] = persons.try_emplace(a.person, people_.size());
            if (is_other) people_.emplace_back();
            people_[person->second].push_back({place->second, {a.right, a.asked - a.right}});
        }
    }

    size_t people() const { return people_.size(); }
    double low() const { return low_; }  // of ln F
    double high() const { return high_; }

    // Right and wrong answers by place, of each person so many times.
    Counts counts(const std::vector<uint32_t>& times) const {
        Counts counts(places_.size());
        for (size_t person = 0; person < people_.size(); ++person)
            for (const PlaceCount& at : people_[person]) {
                counts[at.place].right += times[person] * at.count.right;
                counts[at.place].wrong += times[person] * at.count.wrong;
            }
        return counts;
    }

    double probability(const Place& place, const Vector& p) const {
        const double chance = chance_at(place, p);
        const double q = chance + (1 - chance - p[LAPSE]) * logistic(std::exp(p[LN_K]) * (place.x - p[LN_F50]));
        return std::clamp(q, TINY, 1 - TINY);
    }

    double loglik(const Vector& p, const Counts& counts) const {
        double sum = 0;
        for (size_t i = 0; i < places_.size(); ++i) {
            const double q = probability(places_[i], p);
            sum += counts[i].right * std::log(q) + counts[i].wrong * std::log1p(-q);
        }
        return sum;
    }

    // The two best of a coarse grid.
    std::array<Vector, 2> starts(const Counts& counts) const {
        std::vector<std::pair<double, Vector>> grid;
        for (int i = 0; i < 17; ++i)
            for (const double k : {1.0, 3.0, 9.0}) {
                const double x = low_ - 0.5 + (high_ - low_ + 2) * i / 16;
                const Vector p = {x, std::log(k), 0.02, free_guess_ ? 0.01 : 0.0};
                grid.emplace_back(-loglik(p, counts), p);
            }
        std::sort(grid.begin(), grid.end());
        return {grid[0].second, grid[1].second};
    }

    // Scoring with the expected information, damped (Levenberg 1944), within bounds: a parameter at a bound that its
    // gradient points out of rests.
    Fit fit(Vector p, const Counts& counts) const {
        const Vector least = {low_ - BEYOND, std::log(LEAST_SLOPE), 0, 0},
                     most = {high_ + BEYOND, std::log(MOST_SLOPE), MOST_LAPSE, free_guess_ ? MOST_GUESS : 0};
        for (size_t i = 0; i < PARAMETERS; ++i) p[i] = std::clamp(p[i], least[i], most[i]);
        double value = loglik(p, counts), damping = 1e-3;
        for (int step = 0; step < 200 && damping < 1e10; ++step) {
            const auto [gradient, information] = derivatives(p, counts);
            std::array<bool, PARAMETERS> rests;
            for (size_t i = 0; i < PARAMETERS; ++i)
                rests[i] = (p[i] <= least[i] && gradient[i] <= 0) || (p[i] >= most[i] && gradient[i] >= 0);
            bool better = false;
            double gain = 0;
            for (; !better && damping < 1e10; damping *= better ? 0.1 : 10) {
                const Vector move = solve(information, gradient, rests, damping);
                Vector next = p;
                for (size_t i = 0; i < PARAMETERS; ++i) next[i] = std::clamp(p[i] + move[i], least[i], most[i]);
                const double there = loglik(next, counts);
                better = there > value;
                if (better) gain = there - value, value = there, p = next;
            }
            if (!better || gain < 1e-11 * (1 + std::abs(value))) break;
        }
        return {p, value};
    }

    Fit fit_from(const std::array<Vector, 2>& starts, const Counts& counts) const {
        const Fit a = fit(starts[0], counts), b = fit(starts[1], counts);
        return b.loglik > a.loglik ? b : a;
    }

    // Mean square of the people's residuals over that of binomial answers.
    double overdispersion(const Vector& p) const {
        double sum = 0, people = 0;
        for (const std::vector<PlaceCount>& person : people_) {
            double residual = 0, spread = 0;
            for (const PlaceCount& at : person) {
                const double q = probability(places_[at.place], p), asked = at.count.right + at.count.wrong;
                residual += at.count.right - asked * q;
                spread += asked * q * (1 - q);
            }
            if (spread > 1e-3) sum += residual * residual / spread, people += 1;
        }
        return people > 0 ? sum / people : 1;
    }

    double mean_chance(const Vector& p, const Counts& counts) const {
        double sum = 0, asked = 0;
        for (size_t i = 0; i < places_.size(); ++i) {
            const double n = counts[i].right + counts[i].wrong;
            sum += n * chance_at(places_[i], p), asked += n;
        }
        return sum / asked;
    }

  private:
    std::pair<Vector, Matrix> derivatives(const Vector& p, const Counts& counts) const {
        Vector gradient{};
        Matrix information{};
        const double k = std::exp(p[LN_K]);
        for (size_t i = 0; i < places_.size(); ++i) {
            const auto [right, wrong] = counts[i];
            if (right + wrong <= 0) continue;
            const double chance = chance_at(places_[i], p), height = 1 - chance - p[LAPSE],
                         z = k * (places_[i].x - p[LN_F50]), s = logistic(z), steep = height * s * (1 - s),
                         q = std::clamp(chance + height * s, TINY, 1 - TINY);
            const Vector dq = {-k * steep, z * steep, -s, std::isnan(places_[i].guess) ? 1 - s : 0};
            const double slope = right / q - wrong / (1 - q), weight = (right + wrong) / (q * (1 - q));
            for (size_t a = 0; a < PARAMETERS; ++a) {
                gradient[a] += slope * dq[a];
                for (size_t b = 0; b < PARAMETERS; ++b) information[a][b] += weight * dq[a] * dq[b];
            }
        }
        return {gradient, information};
    }

    // information (1 + damping on its diagonal) move = gradient, resting parameters left out; by Cholesky's factors.
    static Vector solve(const Matrix& information, const Vector& gradient, const std::array<bool, PARAMETERS>& rests,
                        double damping) {
        Matrix m = information;
        Vector y{};
        for (size_t i = 0; i < PARAMETERS; ++i) {
            m[i][i] += damping * m[i][i] + 1e-12;
            if (!rests[i]) continue;
            for (size_t j = 0; j < PARAMETERS; ++j) m[i][j] = m[j][i] = 0;
            m[i][i] = 1;
        }
        for (size_t i = 0; i < PARAMETERS; ++i) {
            double sum = rests[i] ? 0 : gradient[i];
            for (size_t j = 0; j <= i; ++j) {
                double entry = m[i][j];
                for (size_t l = 0; l < j; ++l) entry -= m[i][l] * m[j][l];
                m[i][j] = j < i ? entry / m[j][j] : std::sqrt(std::max(entry, 1e-300));
                if (j < i) sum -= m[i][j] * y[j];
            }
            y[i] = sum / m[i][i];
        }
        for (size_t i = PARAMETERS; i-- > 0;) {
            for (size_t j = i + 1; j < PARAMETERS; ++j) y[i] -= m[j][i] * y[j];
            y[i] /= m[i][i];
        }
        return y;
    }

    std::vector<Place> places_;
    std::vector<std::vector<PlaceCount>> people_;
    bool free_guess_ = false;
    double low_ = 0, high_ = 0;
};

// A curve that says no more than one accuracy for all doses has no threshold between them.
DoseState state_of(const AnswerTable& table, const Fit& fit, const Counts& counts, double overdispersion) {
    double right = 0, wrong = 0;
    for (const Count& c : counts) right += c.right, wrong += c.wrong;
    const double share = right / (right + wrong), flat = std::clamp(share, TINY, 1 - TINY);
    const double alone = right * std::log(flat) + wrong * std::log1p(-flat);
    if (2 * (fit.loglik - alone) < RISE * std::max(1.0, overdispersion)) {
        const double half = 0.5 * (1 + table.mean_chance(fit.p, counts));
        return share < 0.5 * half         ? DoseState::NOT_REACHED
               : share > 0.5 * (1 + half) ? DoseState::BELOW
                                          : DoseState::FLAT;
    }
    if (fit.p[LN_F50] > table.high()) return DoseState::NOT_REACHED;
    return fit.p[LN_F50] < table.low() ? DoseState::BELOW : DoseState::REACHED;
}

// ln F at which the accuracy is `target`; +-infinity where the curve is never, always there.
double ln_dose_at(double target, const Vector& p, double guess) {
    const double share = (target - guess) / (1 - guess - p[LAPSE]);
    if (!(share > 0 && share < 1))
        return share <= 0 ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity();
    return p[LN_F50] + std::log(share / (1 - share)) / std::exp(p[LN_K]);
}

}  // namespace

const char* dose_state_name(DoseState state) {
    switch (state) {
        case DoseState::REACHED:
            return "reached";
        case DoseState::NOT_REACHED:
            return "not reached";
        case DoseState::BELOW:
            return "below the smallest dose";
        case DoseState::FLAT:
            return "no rise";
    }
    return "";
}

DoseCurve fit_dose_curve(const std::vector<DoseAnswers>& answers, double target, int resamples, uint64_t seed) {
    DoseCurve curve;
    const AnswerTable table(answers);
    curve.people = static_cast<int64_t>(table.people());
    if (curve.people == 0) return curve;
    const Counts counts = table.counts(std::vector<uint32_t>(table.people(), 1));
    double asked = 0;
    for (const Count& c : counts) asked += c.right + c.wrong;
    curve.answers = std::llround(asked);
    const Fit best = table.fit_from(table.starts(counts), counts);
    curve.ln_F50 = best.p[LN_F50], curve.k = std::exp(best.p[LN_K]), curve.lapse = best.p[LAPSE];
    curve.guess = table.mean_chance(best.p, counts);
    curve.loglik = best.loglik;
    curve.overdispersion = table.overdispersion(best.p);
    curve.state = state_of(table, best, counts, curve.overdispersion);
    curve.smallest_dose = std::exp(table.low()), curve.largest_dose = std::exp(table.high());
    const auto within = [&](double ln_dose) {  // in ln F, so that rounding leaves out no end that is a dose
        return ln_dose >= table.low() && ln_dose <= table.high() ? std::exp(ln_dose) : DoseCurve::NONE;
    };
    if (curve.state == DoseState::REACHED) curve.F50 = std::exp(curve.ln_F50);
    if (curve.state == DoseState::FLAT) return curve;
    curve.at_target = within(ln_dose_at(target, best.p, curve.guess));
    if (resamples < 2) return curve;

    std::vector<double> halves(static_cast<size_t>(resamples)), targets = halves;
#pragma omp parallel for schedule(static)
    for (int r = 0; r < resamples; ++r) {
        const Counts drawn = table.counts(sample_entities(table.people(), seed, static_cast<uint64_t>(r)));
        const Vector p = table.fit(best.p, drawn).p;
        halves[static_cast<size_t>(r)] = p[LN_F50];
        const double x = ln_dose_at(target, p, table.mean_chance(p, drawn));
        targets[static_cast<size_t>(r)] = std::clamp(x, table.low() - 2 * BEYOND, table.high() + 2 * BEYOND);
    }
    const auto ends = [&](const std::vector<double>& ln_doses) {
        const Interval interval = percentile_interval(ln_doses);
        return Interval{within(interval.low), within(interval.high)};
    };
    curve.F50_interval = ends(halves);
    curve.at_target_interval = ends(targets);
    return curve;
}
