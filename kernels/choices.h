// choices.h - where several kernels, tile shapes or algorithms compute the same thing: which of them is taken.
//
// They are timed once per shape on the GPU at hand. Their results may differ in the last bits, so the choice is then
// kept: in a cache file for later runs on this machine, and in the checkpoint, so that a resumed run goes on with the
// same bits. The users: the algorithms of matrix products (matmul_context.h), the way to a bias gradient (matmul.cuh),
// the blocks of attention (attention_shape.cuh).
// In the build for the CPU (KNAPSACK_SIMT) time says nothing about a GPU and the first way is taken, but everything
// that is kept is kept in the same way.
//
// A kernel that has two tile shapes chooses in a few lines, as attention does (run_faster_blocks, attention_shape.cuh):
// a function that queues a way, a key in words, and
//   stream.choices->choose(key, {"rows64", "rows128"}, run, stream.cuda)
//
// Host code without a CUDA type beyond the stream, so that any program can include it.
#pragma once
#include <cuda_runtime.h>

#include <functional>
#include <initializer_list>
#include <map>
#include <string>
#include <type_traits>
#include <vector>

namespace gpu {

template <class Real>
constexpr const char* STORAGE_NAME = std::is_same_v<Real, float> ? "fp32" : "bf16";  // in a key

// One of several ways to compute the same thing. run queues it on the stream, again and again while it is timed: it
// must overwrite its outputs, or add to memory that is not the caller's.
struct Way {
    std::string name;  // one word: "rows128", an algorithm in hex digits
    std::function<void()> run;
};

class Choices {
  public:
    // Milliseconds that the stream takes for run(), which is waited for.
    using Stopwatch = std::function<float(const std::function<void()>& run, cudaStream_t stream)>;

    // cache_folder "": no cache file. No stopwatch: as after choose_by_rule().
    explicit Choices(const std::string& cache_folder = default_cache_folder(), Stopwatch stopwatch = cuda_events());
    Choices(const Choices&) = delete;
    Choices& operator=(const Choices&) = delete;

    // The number of the way to take for `key` (choices_text.h says of what form). The first call for a key takes the
    // way of a loaded checkpoint, else of the cache, else times those that can run (can_run null: all can; the first
    // must) and keeps the fastest; every other call is a look-up, about a microsecond. Dies where the first call for a
    // key is made while the stream is captured into a CUDA graph: run a shape once before it is captured.
    int choose(const std::string& key, std::initializer_list<const char*> names, const std::function<void(int)>& run,
               cudaStream_t stream, const std::function<bool(int)>& can_run = nullptr);

    // The same for ways that are not known beforehand. list: those that can run, asked for only when nothing kept is
    // taken; by rule the first is enough. accepts: whether a kept way can run. "" where there is no way.
    using List = std::function<std::vector<Way>()>;
    using Accepts = std::function<bool(const std::string&)>;
    std::string choose(const std::string& key, const List& list, const Accepts& accepts, cudaStream_t stream);

    // From now on a key without a loaded way takes the first one that can run, without timing and without the cache: a
    // function of key, GPU model and library, so that several processes agree.
    void choose_by_rule() { by_rule_ = true; }
    bool by_rule() const { return by_rule_; }
    // For tests and benchmarks: a key without a loaded way takes the one of this name where it is among those that can
    // run.
    void prefer(const std::string& way) { preferred_ = way; }

    // The choices in use, for a checkpoint: a JSON array of strings.
    std::string json() const;
    // Takes the choices of json()'s text in place of own ones. Text that json() did not write: Exit::Data. Text of
    // another GPU model or library version, or a way that cannot run here: a warning, once, and own choices.
    void load(const std::string& text);
    // How often load() has changed choices: what was made of them is to be renewed.
    int loads() const { return loads_; }

    // $XDG_CACHE_HOME/knapsack or ~/.cache/knapsack; "" where neither is set, and in the build for the CPU.
    static std::string default_cache_folder();
    static Stopwatch cuda_events();  // null in the build for the CPU

  private:
    using Ways = std::map<std::string, std::string>;  // by key

    std::string fastest(const std::vector<Way>& ways, cudaStream_t stream) const;
    void warn(const std::string& text);
    void read_cache(Ways* ways) const;
    void write_cache();

    std::string device_, library_, cache_path_, preferred_;
    Stopwatch stopwatch_;
    Ways used_;    // by this process
    Ways loaded_;  // of a checkpoint; kept until they are used so that the next checkpoint has them too
    Ways cached_;  // the cache file, as read and then added to
    bool by_rule_, warned_ = false;
    int loads_ = 0;
};

}  // namespace gpu
