#include "dataloader/mixture.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "dataloader/epoch_order.h"  // defines: EpochOrder
#include "dataloader/placement.h"    // defines: check_windows
#include "dataloader/subsample.h"    // defines: hash_of_list
#include "util/check.h"

namespace {

constexpr double tiny = 1e-9;  // shares closer than this are equal: 0.1 + 0.2 + 0.7 is 1
constexpr double one = static_cast<double>(1ll << share_bits);

using Windows = std::vector<std::pair<int64_t, int64_t>>;

// Fractions of the run as positions of the stream.
Windows positions(const SourceOptions& options, int64_t tokens) {
    if (options.windows.empty()) return {{0, tokens}};
    Windows result;
    for (const auto& [a, b] : options.windows)
        result.emplace_back(std::llround(a * static_cast<double>(tokens)),
                            std::llround(b * static_cast<double>(tokens)));
    std::sort(result.begin(), result.end());
    return result;
}

int64_t total(const Windows& windows) {
    int64_t n = 0;
    for (const auto& [begin, end] : windows) n += end - begin;
    return n;
}

bool inside(const Windows& windows, int64_t position) {
    return std::any_of(windows.begin(), windows.end(),
                       [&](const auto& w) { return w.first <= position && position < w.second; });
}

// The fewest and the most exposures of an entity, when the source gets this many documents.
std::pair<double, double> spread(const Source& source, double documents) {
    double least = HUGE_VAL, most = 0;
    uint64_t drawn = 0;
    double whole = 0;
    for (const Source::Group& group : source.groups()) whole += static_cast<double>(group.share);
    for (const Source::Group& group : source.groups()) {
        const double exposures = documents * static_cast<double>(group.share) / whole / static_cast<double>(group.size);
        least = std::min(least, exposures);
        most = std::max(most, exposures);
        drawn += group.size;
    }
    return {drawn < source.draws() ? 0 : least, most};
}

// What --exposures asks for, for messages.
std::string amount(const SourceOptions& options) {
    return options.doses.empty() ? format_text("=%d", options.exposures)
                                 : format_text(" with doses up to %d", options.doses.back());
}

// The mixture while it is being planned. Shares here are of all tokens of a segment, as fractions.
struct Planner {
    const MixtureOptions& options;
    const std::vector<Source>& sources;
    Plan& plan;
    size_t n = sources.size();
    std::vector<Windows> windows = {};
    std::vector<double> wanted = {};              // tokens of --exposures sources, expected
    std::vector<int64_t> borders = {};            // of the segments
    std::vector<std::vector<double>> share = {};  // (segments, sources)
    std::vector<double> exposed = {},
                        left = {};  // (segments) share of --exposures sources; what ratios and windows leave to others

    const SourceOptions& of(size_t s) const { return options.sources[s]; }
    const std::string& name(size_t s) const { return of(s).name; }
    bool is_exposed(size_t s) const { return of(s).is_exposed(); }
    bool is_ratio(size_t s) const { return of(s).ratio >= 0; }
    bool is_free(size_t s) const { return !is_exposed(s) && !is_ratio(s); }
    bool whole_run(size_t s) const { return total(windows[s]) == plan.tokens; }
    size_t num_segments() const { return borders.size() - 1; }
    double size_of(size_t g) const { return static_cast<double>(borders[g + 1] - borders[g]); }
    double percent(int64_t position) const {
        return 100.0 * static_cast<double>(position) / static_cast<double>(plan.tokens);
    }

    void measure();
    void cut();
    void share_out();
    void check_exposures() const;
    void report() const;
    Mixture mixture() const;
};

// Exposures in tokens, then the length of the run.
void Planner::measure() {
    double added = 0;
    for (size_t s = 0; s < n; ++s) {
        wanted.push_back(static_cast<double>(sources[s].promised()) * sources[s].mean_length());
        added += wanted[s];
    }
    if (added > 0x1p62) die(Exit::Usage, "--exposures ask for %g tokens, more than can be counted; lower them", added);
    const double batch = static_cast<double>(options.batch_tokens);
    if (options.append && added > 0)
        plan.steps = static_cast<int64_t>(std::ceil((static_cast<double>(options.tokens) + added) / batch));
    else
        plan.steps = options.tokens / options.batch_tokens;
    if (plan.steps < 1)
        die(Exit::Usage, "--tokens %d is less than one step of --batch-tokens %d", options.tokens,
            options.batch_tokens);
    plan.batch_tokens = options.batch_tokens;
    plan.tokens = plan.steps * plan.batch_tokens;
}

void Planner::cut() {
    borders = {0, plan.tokens};
    for (size_t s = 0; s < n; ++s) {
        windows.push_back(positions(of(s), plan.tokens));
        if (total(windows[s]) == 0)
            die(Exit::Usage, "--window %s is shorter than a token; give a longer one or more --tokens", name(s));
        for (const auto& [begin, end] : windows[s]) borders.insert(borders.end(), {begin, end});
    }
    std::sort(borders.begin(), borders.end());
    borders.erase(std::unique(borders.begin(), borders.end()), borders.end());
}

void Planner::share_out() {
    const double run = static_cast<double>(plan.tokens);
    double left_of_run = 0, ratios = 0, all_ratios = 0;
    bool any_free = false, any_exposed = false;
    for (size_t s = 0; s < n; ++s) {
        any_free |= is_free(s);
        any_exposed |= is_exposed(s);
        if (is_ratio(s)) all_ratios += of(s).ratio;
        if (is_ratio(s) && whole_run(s)) ratios += of(s).ratio;
    }
    if (all_ratios > 1 + tiny) die(Exit::Usage, "the ratios sum to %g; at most 1 can be given away", all_ratios);
    if (!any_free && !any_exposed && all_ratios < 1 - tiny)
        die(Exit::Usage, "the ratios sum to %g, and no source takes the rest of %g; add one without --ratio",
            all_ratios, 1 - all_ratios);

    // what windows and exposures fix
    for (size_t g = 0; g < num_segments(); ++g) {
        share.emplace_back(n, 0.0);
        exposed.push_back(0);
        double fixed = 0;
        for (size_t s = 0; s < n; ++s) {
            if (!inside(windows[s], borders[g]) || is_free(s) || (is_ratio(s) && whole_run(s))) continue;
            const double tokens = is_exposed(s) ? wanted[s] : of(s).ratio * run;
            const double local = share[g][s] = tokens / static_cast<double>(total(windows[s]));
            if (local > 1 + tiny)
                die(Exit::Usage,
                    "--source %s needs %.0f tokens in windows of %d: a share of %g there; give wider windows, more "
                    "--tokens or less of it",
                    name(s), tokens, total(windows[s]), local);
            fixed += local;
            if (is_exposed(s)) exposed[g] += local;
        }
        left.push_back(1 - fixed);
        if (fixed > 1 + tiny)
            die(Exit::Usage,
                "from %g %% to %g %% of the run the sources ask for a share of %g in all; move a --window, or lower a "
                "--ratio or --exposures",
                percent(borders[g]), percent(borders[g + 1]), fixed);
        left_of_run += left[g] * size_of(g) / run;
    }
    if (any_free && ratios > left_of_run + tiny)
        die(Exit::Usage, "ratios of %g in all do not fit: windows and exposures leave %g", ratios, left_of_run);

    // ratios without a window, then the sources without ratio
    if (!any_free && any_exposed && ratios > 0 && std::abs(ratios / left_of_run - 1) > tiny)
        plan.warnings.push_back(
            format_text("every source but the --exposures ones has a --ratio: they are scaled by %.6g to the %.6g "
                        "of the run that is left",
                        left_of_run / ratios, left_of_run));
    for (size_t g = 0; g < num_segments(); ++g) {
        const double scale = ratios > 0 ? left[g] / (any_free ? left_of_run : ratios) : 0;
        double rest = left[g], sizes = 0;
        for (size_t s = 0; s < n; ++s) {
            if (is_ratio(s) && whole_run(s)) rest -= share[g][s] = of(s).ratio * scale;
            if (is_free(s) && inside(windows[s], borders[g])) sizes += sources[s].epoch_tokens();
        }
        if (rest > tiny && sizes == 0)
            die(Exit::Usage,
                "from %g %% to %g %% of the run a share of %g has no source to take it; add one without --ratio",
                percent(borders[g]), percent(borders[g + 1]), rest);
        for (size_t s = 0; s < n; ++s)
            if (is_free(s) && inside(windows[s], borders[g]))
                share[g][s] = std::max(rest, 0.0) * sources[s].epoch_tokens() / sizes;
        if (exposed[g] > 1 - tiny)
            die(Exit::Usage,
                "from %g %% to %g %% of the run --exposures fill everything; leave room for another source: more "
                "--tokens or wider windows",
                percent(borders[g]), percent(borders[g + 1]));
    }
}

// Where even the longest documents fit there is nothing to count; else every composed document is measured.
void Planner::check_exposures() const {
    for (size_t s = 0; s < n; ++s) {
        const int64_t room = total(windows[s]);
        if (static_cast<double>(sources[s].promised()) * static_cast<double>(sources[s].longest()) <=
            static_cast<double>(room))
            continue;
        const int64_t tokens = EpochOrder(sources[s], options.T).remaining_tokens();
        if (tokens > room)
            die(Exit::Usage,
                "--exposures %s%s needs %d tokens, its windows hold %d; give more --tokens, or --budget append",
                name(s), amount(of(s)), tokens, room);
    }
}

void Planner::report() const {
    for (size_t s = 0; s < n; ++s) {
        const Source& source = sources[s];
        SourcePlan row;
        row.name = source.name();
        row.knowledge = source.knowledge();
        row.documents = static_cast<int64_t>(source.documents());
        row.entities = source.knowledge() ? static_cast<int64_t>(source.draws()) : 0;
        row.source_tokens = std::llround(source.epoch_tokens());
        if (!of(s).kept.empty()) {
            row.listed_of = static_cast<int64_t>(source.documents_of_files());
            row.list_hash = hash_of_list(of(s).kept);
        }
        for (size_t g = 0; g < num_segments(); ++g) row.tokens += share[g][s] * size_of(g);
        row.share = row.tokens / static_cast<double>(plan.tokens);
        row.pieces = row.tokens / source.mean_length();
        row.epochs = row.tokens / (source.mean_length() * static_cast<double>(source.draws()));
        if (row.knowledge) {
            row.exposures = row.epochs;
            std::tie(row.min_exposures, row.max_exposures) = spread(source, row.pieces);
            if (!of(s).doses.empty()) {
                for (const Source::Group& group : source.groups())
                    row.doses.push_back({group.exposures, static_cast<int64_t>(group.size)});
                row.min_exposures = static_cast<double>(row.doses.front().exposures);
                row.max_exposures = static_cast<double>(row.doses.back().exposures);
            }
        }
        plan.sources.push_back(row);
        plan.warnings.insert(plan.warnings.end(), source.warnings().begin(), source.warnings().end());
        if (row.pieces < 1)
            die(Exit::Usage, "--source %s would get nothing: %.1f tokens of the run, less than one piece of %.1f",
                name(s), row.tokens, source.mean_length());
        const double limit = of(s).max_epochs;
        if (limit > 0 && row.epochs > limit * (1 + tiny))
            die(Exit::Usage,
                "--source %s would be seen %.4g times, --max-epochs allows %g; lower its share or --tokens", name(s),
                row.epochs, limit);
        if (!row.knowledge && row.epochs > 1)
            plan.warnings.push_back(format_text("source %s is seen %.4g times", name(s), row.epochs));
        if (row.knowledge && source.longest() > static_cast<uint64_t>(options.T))
            plan.warnings.push_back(
                format_text("source %s: composed documents have up to %d tokens with EOT, rows have %d; the longer "
                            "ones are cut into slices, each after an EOT: --seq-len %d would keep them whole",
                            name(s), source.longest(), options.T, (source.longest() + 63) / 64 * 64));
    }
}

Mixture Planner::mixture() const {
    Mixture result;
    result.length = plan.tokens + 1;
    result.T = options.T;
    for (size_t g = 0; g < num_segments(); ++g) {
        Segment segment{borders[g], borders[g + 1], std::vector<int64_t>(n, 0), std::vector<int64_t>(n, 0)};
        double ratios = 0, free = 0;
        for (size_t s = 0; s < n; ++s) {
            if (is_ratio(s)) ratios += share[g][s];
            if (is_free(s)) free += share[g][s];
        }
        int64_t sum = 0, exposure_sum = 0;
        size_t largest = n;
        for (size_t s = 0; s < n; ++s) {
            if (is_exposed(s) || share[g][s] <= 0) continue;
            double own = share[g][s], exposure = 0;
            if (free > 0 && is_ratio(s)) {
                exposure = own;
            } else if (free > 0) {
                const double part = own / free;
                own = part * (1 - ratios);
                exposure = -part * ratios;
            } else {
                own /= ratios;
            }
            sum += segment.share[s] = std::llround(own * one);
            exposure_sum += segment.exposure_share[s] = std::llround(exposure * one);
            const bool better = largest == n || is_free(s) > is_free(largest) ||
                                (is_free(s) == is_free(largest) && segment.share[s] > segment.share[largest]);
            if (better) largest = s;
        }
        // rounding goes to one source: the largest, of those without ratio if there are such
        segment.share[largest] += (1ll << share_bits) - sum;
        segment.exposure_share[largest] -= exposure_sum;
        result.segments.push_back(segment);
    }
    result.segments.back().end = result.length;
    for (size_t s = 0; s < n; ++s) {
        ExposurePlaces places;
        if (is_exposed(s)) places = {sources[s].promised(), windows[s], total(windows[s])};
        result.places.push_back(places);
    }
    return result;
}

}  // namespace

int64_t ExposurePlaces::due(int64_t k) const {
    int64_t x = static_cast<int64_t>((2 * static_cast<__int128>(k) + 1) * length / (2 * static_cast<__int128>(count)));
    for (const auto& [begin, end] : windows) {
        if (x < end - begin) return begin + x;
        x -= end - begin;
    }
    return windows.back().second;
}

void check_mixture_options(const MixtureOptions& options) {
    if (options.sources.empty()) die(Exit::Usage, "no --source; give at least one NAME=GLOB");
    if (options.T < 2) die(Exit::Usage, "--seq-len %d, expected at least 2", options.T);
    if (options.batch_tokens < 1 || options.batch_tokens % options.T != 0)
        die(Exit::Usage, "--batch-tokens %d is not a multiple of --seq-len %d", options.batch_tokens, options.T);
    for (size_t s = 0; s < options.sources.size(); ++s) {
        const SourceOptions& source = options.sources[s];
        const std::string& name = source.name;
        const bool plain =
            !source.name.empty() && std::all_of(source.name.begin(), source.name.end(), [](unsigned char c) {
                return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                       c == '-';
            });
        if (!plain) die(Exit::Usage, "--source '%s': a name is made of letters, digits, _ and -", name);
        for (size_t other = 0; other < s; ++other)
            if (options.sources[other].name == source.name)
                die(Exit::Usage, "--source %s is given twice; one pattern can match several files", name);
        if (source.ratio != -1 && source.is_exposed())
            die(Exit::Usage, "--ratio and --exposures are both given for %s; one of them decides its share", name);
        if (source.ratio != -1 && !(source.ratio > 0 && source.ratio < 1))
            die(Exit::Usage,
                "--ratio %s=%g, expected more than 0 and less than 1; a source that is everything needs no --ratio",
                name, source.ratio);
        if (source.exposures != -1 && source.exposures < 1)
            die(Exit::Usage, "--exposures %s=%d, expected at least 1", name, source.exposures);
        if (!(source.subsample > 0 && source.subsample <= 1))
            die(Exit::Usage, "--subsample %s=%g, expected more than 0 and at most 1", name, source.subsample);
        if (!(source.max_epochs >= 0) || std::isinf(source.max_epochs))
            die(Exit::Usage, "--max-epochs %s=%g, expected more than 0", name, source.max_epochs);
        check_windows(name, source.windows);
    }
}

Mixture plan_mixture(const MixtureOptions& options, const std::vector<Source>& sources, Plan* plan) {
    for (const Source& source : sources)
        if (source.options().is_exposed() && !source.knowledge())
            die(Exit::Usage, "--exposures %s: not a knowledge source, it has no entities; give it a --ratio",
                source.name());
    Planner planner{options, sources, *plan};
    planner.measure();
    planner.cut();
    planner.share_out();
    planner.check_exposures();
    planner.report();
    return planner.mixture();
}
