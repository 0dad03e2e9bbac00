#include "dataloader/loader.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>

#include "dataloader/batches.h"
#include "dataloader/data_set.h"
#include "dataloader/manifest.h"
#include "dataloader/print_order.h"
#include "util/check.h"
#include "util/files.h"

namespace {

// A thread that makes batches ahead, at most `depth` of them. What it dies of under test is thrown again where the
// batch is asked for.
class Prefetcher {
  public:
    Prefetcher(Batches& batches, int64_t count, int depth)
        : batches_(batches), remaining_(count), depth_(static_cast<size_t>(depth)) {
        try {
            thread_ = std::thread([this] { work(); });
        } catch (const std::system_error& error) {
            die(Exit::Runtime, "the loader's thread cannot be started (%s)", error.what());
        }
    }
    ~Prefetcher() {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            stop_ = true;
        }
        changed_.notify_all();
        thread_.join();
    }
    Prefetcher(const Prefetcher&) = delete;
    Prefetcher& operator=(const Prefetcher&) = delete;

    // Swaps the next batch into `batch`, whose memory is used again.
    void next(Batch* batch) {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [&] { return !ready_.empty() || error_; });
        if (ready_.empty()) throw *error_;
        std::swap(*batch, ready_.front());
        free_.push_back(std::move(ready_.front()));
        ready_.pop_front();
        lock.unlock();
        changed_.notify_all();
    }

  private:
    void work() {
        std::unique_lock<std::mutex> lock(mutex_);
        try {
            for (; remaining_ > 0; --remaining_) {
                changed_.wait(lock, [&] { return ready_.size() < depth_ || stop_; });
                if (stop_) return;
                Batch batch;
                if (!free_.empty()) {
                    batch = std::move(free_.back());
                    free_.pop_back();
                }
                lock.unlock();
                batches_.make(&batch);
                lock.lock();
                ready_.push_back(std::move(batch));
                changed_.notify_all();
            }
        } catch (const DieError& error) {
            lock.lock();
            error_ = error;
            changed_.notify_all();
        }
    }

    Batches& batches_;
    int64_t remaining_;
    const size_t depth_;
    std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    std::deque<Batch> ready_;
    std::vector<Batch> free_;
    std::optional<DieError> error_;
    bool stop_ = false;
    std::thread thread_;
};

}  // namespace

struct Loader::Impl {
    LoaderOptions options;
    DataSet data;
    std::optional<Batches> batches;
    std::unique_ptr<Prefetcher> prefetcher;  // ends before what it works on
    Batch current;
    int64_t next_step = 0;
    std::string start_state;
};

Loader::Loader(const MixtureOptions& mixture, const LoaderOptions& options)
    : impl_(new Impl{options, open_data_set(mixture), std::nullopt, nullptr, {}, 0, {}}) {}

Loader::~Loader() = default;
Loader::Loader(Loader&&) noexcept = default;

const Plan& Loader::plan() const { return impl_->data.plan; }
const std::string& Loader::fingerprint() const { return impl_->data.fingerprint; }

std::vector<Ledger> Loader::make_ledgers() const {
    std::vector<Ledger> ledgers;
    for (const Source& source : impl_->data.sources)
        ledgers.emplace_back(source.name(), source.shards(), source.slot_names(), source.doses(), source.listed());
    return ledgers;
}

void Loader::start(const std::string& state, bool new_horizon) {
    Impl& m = *impl_;
    m.prefetcher.reset();
    m.batches.emplace(m.data, m.options.document_mask, state, new_horizon, m.options.part, m.options.parts);
    m.next_step = m.batches->step();
    m.start_state = m.batches->state();
    const int64_t count = m.data.plan.steps - m.next_step;
    if (m.options.prefetch > 0 && count > 0)
        m.prefetcher = std::make_unique<Prefetcher>(*m.batches, count, m.options.prefetch);
}

const std::string& Loader::start_state() const { return impl_->start_state; }

int64_t Loader::step() const { return impl_->next_step; }

void Loader::check_state(const std::string& state) const {
    const Batches batches(impl_->data, impl_->options.document_mask, state, false);
}

const Batch& Loader::next() {
    Impl& m = *impl_;
    ENSURE(m.batches, "Loader::next before start");
    ENSURE(m.next_step < m.data.plan.steps, "the run's %d steps are over", m.data.plan.steps);
    if (m.prefetcher)
        m.prefetcher->next(&m.current);
    else
        m.batches->make(&m.current);
    ++m.next_step;
    return m.current;
}

void Loader::print_order(int64_t step, const std::string& state, FILE* out) {
    print_order_of_step(impl_->data, step, state, out);
}

RunAccount Loader::account(const std::vector<Ledger>& ledgers, const std::vector<int64_t>& source_tokens,
                           int64_t steps) const {
    return take_account(impl_->data, ledgers, source_tokens, steps);
}

RunAccount Loader::write_manifest(const std::string& folder) {
    const DataSet& data = impl_->data;
    make_directories(folder);
    write_placements(data, folder);
    std::vector<Ledger> ledgers = make_ledgers();
    std::vector<int64_t> source_tokens(data.sources.size());
    start();
    for (int64_t step = 0; step < data.plan.steps; ++step) {
        const Batch& batch = next();
        for (size_t s = 0; s < source_tokens.size(); ++s) source_tokens[s] += batch.source_targets[s];
        for (const Exposure& exposure : batch.exposures) ledgers[exposure.source].book(exposure, step);
    }
    for (const Ledger& ledger : ledgers) ledger.write_choices(folder);
    const RunAccount result = account(ledgers, source_tokens, data.plan.steps);
    write_file(path_join(folder, "mixture.json"), account_json(result));
    return result;
}
