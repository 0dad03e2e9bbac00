#include "eval/metrics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "util/check.h"

namespace {

constexpr double NONE = std::numeric_limits<double>::quiet_NaN();
constexpr double LN2 = 0.693147180559945309417;

// Every table of cells lies in one array, one table behind the other; a question belongs to one cell of each.
struct CellIndex {
    CellIndex(const QuestionNames& n, bool subsampled) : K(n.kinds.size()) {
        all = next(1), kinds = next(K), attributes = next(n.attributes.size()),
        attribute_kinds = next(n.attributes.size() * K);
        relation_kinds = next(n.relations == n.attributes ? 0 : n.relations.size() * K);
        templates = next(n.templates.size());
        group_kinds = next(n.groups.size() > 1 ? n.groups.size() * K : 0);
        kept = next(subsampled ? 1 : 0);
        kept_kinds = next(subsampled ? K : 0);
    }
    template <class Visit>
    void visit(const Question& q, bool is_kept, Visit visit) const {
        visit(all), visit(kinds + q.kind), visit(attributes + q.attribute),
            visit(attribute_kinds + q.attribute * K + q.kind);
        if (relation_kinds < templates) visit(relation_kinds + q.relation * K + q.kind);
        visit(templates + q.wording);
        if (group_kinds < kept) visit(group_kinds + q.group * K + q.kind);
        if (is_kept) visit(kept), visit(kept_kinds + q.kind);
    }
    size_t K, all, kinds, attributes, attribute_kinds, relation_kinds, templates, group_kinds, kept, kept_kinds,
        size = 0;

  private:
    size_t next(size_t n) {
        size += n;
        return size - n;
    }
};

struct Sums {
    int64_t questions = 0, entities = 0, correct = 0, tokens = 0;
    double nll = 0, rank = 0, reciprocal_rank = 0, chance = 0, majority = 0;
    int64_t in_entity = 0, correct_in_entity = 0;
};

struct BitSums {
    int64_t people = 0;
    double bits = 0;  // over people
    double nll_in_entity = 0;
    int64_t questions_in_entity = 0;
};

bool is_seen(const QuestionNames& names, const Question& q) { return names.kinds[q.kind] == "seen"; }

// Walks the questions entity by entity; sums of cells and bits, and each entity's part of them for the bootstrap.
struct Accumulator {
    Accumulator(const QuestionSet& set, const std::vector<bool>& kept, bool keep_entities)
        : set(set),
          names(set.names()),
          index(names, !kept.empty()),
          cells(index.size),
          bits(names.attributes.size()),
          kept(kept),
          keep_entities(keep_entities) {}

    // statistics of the bootstrap: accuracy of every cell, the loss, bits per person of every attribute
    uint32_t loss_statistic() const { return static_cast<uint32_t>(index.size); }
    uint32_t bits_statistic(size_t attribute) const { return static_cast<uint32_t>(index.size + 1 + attribute); }
    uint32_t statistics() const { return static_cast<uint32_t>(index.size + 1 + bits.size()); }

    void add(const Question& q, const QuestionResult& result) {
        const int64_t pool = names.pools[q.attribute];
        index.visit(q, !kept.empty() && kept[q.entity], [&](size_t cell) {
            Sums& s = cells[cell];
            ++s.questions;
            s.correct += result.correct;
            s.tokens += result.tokens;
            s.nll += result.nll;
            s.rank += result.rank;
            s.reciprocal_rank += 1.0 / result.rank;
            s.chance += pool > 0 ? 1.0 / static_cast<double>(pool) : NONE;
            s.majority += set.majority(q.attribute, q.kind);
            if (s.in_entity++ == 0) touched_cells.push_back(cell);
            s.correct_in_entity += result.correct;
        });
        nll_in_entity += result.nll;
        tokens_in_entity += result.tokens;
        if (pool > 0 && is_seen(names, q)) {
            BitSums& b = bits[q.attribute];
            if (b.questions_in_entity++ == 0) touched_attributes.push_back(q.attribute);
            b.nll_in_entity += result.nll;
        }
    }

    void end_entity() {
        for (const size_t cell : touched_cells) {
            Sums& s = cells[cell];
            keep(static_cast<uint32_t>(cell), static_cast<double>(s.correct_in_entity),
                 static_cast<double>(s.in_entity));
            ++s.entities;
            s.in_entity = s.correct_in_entity = 0;
        }
        for (const size_t a : touched_attributes) {
            BitSums& b = bits[a];
            const double value = std::log2(static_cast<double>(names.pools[a])) -
                                 b.nll_in_entity / static_cast<double>(b.questions_in_entity) / LN2;
            keep(bits_statistic(a), value, 1.0);
            b.bits += value;
            ++b.people;
            b.nll_in_entity = 0, b.questions_in_entity = 0;
        }
        keep(loss_statistic(), nll_in_entity, tokens_in_entity);
        if (keep_entities) table.first.push_back(table.entries.size());
        touched_cells.clear(), touched_attributes.clear();
        nll_in_entity = tokens_in_entity = 0;
    }

    const QuestionSet& set;
    const QuestionNames& names;
    const CellIndex index;
    std::vector<Sums> cells;
    std::vector<BitSums> bits;
    RatioTable table;

  private:
    void keep(uint32_t statistic, double numerator, double denominator) {
        if (keep_entities)
            table.entries.push_back({statistic, static_cast<float>(numerator), static_cast<float>(denominator)});
    }
    const std::vector<bool>& kept;
    bool keep_entities;
    std::vector<size_t> touched_cells, touched_attributes;
    double nll_in_entity = 0, tokens_in_entity = 0;
};

// The ratios of one statistic over all resamples.
class Resamples {
  public:
    Resamples(const RatioTable& table, uint32_t statistics, const ReportOptions& options)
        : statistics_(statistics), count_(static_cast<size_t>(options.resamples)) {
        if (count_ > 0) ratios_ = bootstrap_ratios(table, statistics, options.resamples, options.seed);
    }
    size_t count() const { return count_; }
    double ratio(size_t resample, uint32_t statistic) const { return ratios_[resample * statistics_ + statistic]; }
    std::vector<double> of(uint32_t statistic) const {
        std::vector<double> values(count_);
        for (size_t r = 0; r < count_; ++r) values[r] = ratio(r, statistic);
        return values;
    }

  private:
    uint32_t statistics_;
    size_t count_;
    std::vector<double> ratios_;
};

Cell make_cell(const Sums& s, const Resamples& resamples, uint32_t statistic) {
    const double n = static_cast<double>(s.questions);
    Cell cell;
    cell.questions = s.questions;
    cell.entities = s.entities;
    cell.accuracy = static_cast<double>(s.correct) / n;
    cell.loss = s.nll / static_cast<double>(s.tokens);
    cell.rank = s.rank / n;
    cell.reciprocal_rank = s.reciprocal_rank / n;
    cell.chance = s.chance / n;
    cell.majority = s.majority / n;
    const std::vector<double> values = resamples.of(statistic);
    cell.standard_error = standard_deviation(values);
    cell.interval = percentile_interval(values);
    return cell;
}

double clip_bits(double bits_per_person, double people, double most) {
    return std::min(std::max(people * bits_per_person, 0.0), most);
}

void report_bits(KnowledgeReport* report, const Accumulator& sums, const Resamples& resamples,
                 const ReportOptions& options) {
    const QuestionNames& names = sums.names;
    std::vector<double> totals(resamples.count(), 0.0);
    bool complete = true;
    for (size_t a = 0; a < names.attributes.size(); ++a) {
        const int64_t people = sums.set.people(static_cast<uint32_t>(a)), asked = sums.bits[a].people;
        if (names.pools[a] == 0 || people == 0) continue;
        complete = complete && asked > 0;
        if (asked == 0) continue;
        AttributeBits b;
        b.attribute = names.attributes[a];
        b.people = people;
        b.people_asked = asked;
        const double N = static_cast<double>(people);
        b.most = N * std::log2(static_cast<double>(names.pools[a]));
        b.bits = clip_bits(sums.bits[a].bits / static_cast<double>(asked), N, b.most);
        std::vector<double> values = resamples.of(sums.bits_statistic(a));
        for (size_t r = 0; r < values.size(); ++r) {
            if (!std::isnan(values[r])) values[r] = clip_bits(values[r], N, b.most);
            totals[r] += values[r];
        }
        b.interval = percentile_interval(values);
        report->bits += b.bits;
        report->most_bits += b.most;
        report->attribute_bits.push_back(b);
    }
    report->has_bits = complete && !report->attribute_bits.empty();
    report->bits_interval = percentile_interval(totals);
    report->bits_per_param = report->bits / static_cast<double>(options.parameters);
    report->bits_per_nonembedding_param = report->bits / static_cast<double>(options.nonembedding_parameters);
}

void name_metrics(KnowledgeReport* report) {
    auto add = [&](const std::string& name, double value) { report->metrics.emplace_back(name, value); };
    add("accuracy", report->all.accuracy);
    for (const char* kind : {"seen", "heldout", "question"})
        for (const Cell& cell : report->kinds)
            if (cell.kind == kind) add("accuracy_" + cell.kind, cell.accuracy);
    if (report->kept.questions > 0) add("accuracy_kept", report->kept.accuracy);
    for (const Cell& cell : report->kept_kinds)
        if (cell.kind == "seen") add("accuracy_seen_kept", cell.accuracy);
    if (report->has_bits) {
        add("bits", report->bits);
        add("bits_per_param", report->bits_per_param);
    }
    add("loss", report->all.loss);
    add("rank", report->all.rank);
}

}  // namespace

KnowledgeReport summarize(const QuestionSet& set, const std::vector<uint32_t>& chosen,
                          const std::vector<QuestionResult>& results, const ReportOptions& options) {
    ENSURE(!chosen.empty() && chosen.size() == results.size(), "metrics: %zu results for %zu questions", results.size(),
           chosen.size());
    const QuestionNames& names = set.names();
    ENSURE(options.kept.empty() || options.kept.size() == static_cast<size_t>(names.entities),
           "metrics: %zu entities kept or not, of %lld", options.kept.size(), static_cast<long long>(names.entities));

    std::vector<uint32_t> order(chosen.size());
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
        return set.question(chosen[a]).entity < set.question(chosen[b]).entity;
    });
    Accumulator sums(set, options.kept, options.resamples > 0);
    for (size_t i = 0; i < order.size(); ++i) {
        const Question q = set.question(chosen[order[i]]);
        sums.add(q, results[order[i]]);
        if (i + 1 == order.size() || set.question(chosen[order[i + 1]]).entity != q.entity) sums.end_entity();
    }
    const Resamples resamples(sums.table, sums.statistics(), options);

    KnowledgeReport report;
    report.questions = set.size();
    const CellIndex& index = sums.index;
    auto table = [&](std::vector<Cell>* cells, size_t begin, size_t end, auto name_cell) {
        for (size_t i = begin; i < end; ++i) {
            if (sums.cells[i].questions == 0) continue;
            cells->push_back(make_cell(sums.cells[i], resamples, static_cast<uint32_t>(i)));
            name_cell(&cells->back(), i - begin);
        }
    };
    const size_t K = index.K;
    report.all = make_cell(sums.cells[index.all], resamples, static_cast<uint32_t>(index.all));
    table(&report.kinds, index.kinds, index.attributes, [&](Cell* c, size_t i) { c->kind = names.kinds[i]; });
    table(&report.attributes, index.attributes, index.attribute_kinds,
          [&](Cell* c, size_t i) { c->attribute = names.attributes[i]; });
    table(&report.attribute_kinds, index.attribute_kinds, index.relation_kinds,
          [&](Cell* c, size_t i) { c->attribute = names.attributes[i / K], c->kind = names.kinds[i % K]; });
    table(&report.relation_kinds, index.relation_kinds, index.templates,
          [&](Cell* c, size_t i) { c->relation = names.relations[i / K], c->kind = names.kinds[i % K]; });
    table(&report.templates, index.templates, index.group_kinds,
          [&](Cell* c, size_t i) { c->wording = names.templates[i]; });
    table(&report.group_kinds, index.group_kinds, index.kept,
          [&](Cell* c, size_t i) { c->group = names.groups[i / K], c->kind = names.kinds[i % K]; });
    report.subsampled = !options.kept.empty();
    report.entities = names.entities;
    report.entities_kept = std::count(options.kept.begin(), options.kept.end(), true);
    if (report.subsampled && sums.cells[index.kept].questions > 0)
        report.kept = make_cell(sums.cells[index.kept], resamples, static_cast<uint32_t>(index.kept));
    table(&report.kept_kinds, index.kept_kinds, index.size, [&](Cell* c, size_t i) { c->kind = names.kinds[i]; });
    report.loss_interval = percentile_interval(resamples.of(sums.loss_statistic()));
    report_bits(&report, sums, resamples, options);
    name_metrics(&report);
    return report;
}
