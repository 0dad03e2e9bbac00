# knapsack.cu - `make help` lists the targets. Objects lie under build/<variant>/; VARIANT=asan, tsan or fuzz choose another build.
VARIANT ?= release
CXX := $(if $(filter fuzz,$(VARIANT)),clang++,$(CXX))
PYTHON ?= $(firstword $(wildcard .venv/bin/python /usr/bin/python3) python3)
FUZZ_SECONDS ?= 10

# Headers that no package put where the compilers look: KNAPSACK_INCLUDE=DIR..., or the folder third_party (scripts/on_gpu.sh
# --pack-headers fills it). They and a CPPFLAGS of the caller reach g++, nvcc and the kernels on the CPU alike.
KNAPSACK_INCLUDE ?= $(wildcard third_party)
GIVEN := $(if $(KNAPSACK_INCLUDE), $(KNAPSACK_INCLUDE:%=-isystem %))$(if $(CPPFLAGS), $(CPPFLAGS))

BUILD := build/$(VARIANT)
HOST_CPPFLAGS := -I. -DKNAPSACK_CPU$(GIVEN)
SANITIZE := -O1 -g1 -fno-omit-frame-pointer -fno-sanitize-recover=all
FLAGS_release := -O3
# null pointers and sizes are ASan's as well; without them it compiles in two thirds of the time
FLAGS_asan := $(SANITIZE) -fsanitize=address,undefined -fno-sanitize=null,object-size,vptr
FLAGS_tsan := $(SANITIZE) -fsanitize=thread
FLAGS_fuzz := $(SANITIZE) -fsanitize=fuzzer-no-link,address,undefined
ROOMS_tsan := kernels kernels/cpu dataloader util
ROOMS_fuzz := dataloader model util eval
CXXFLAGS := -std=c++17 -march=native -fno-strict-aliasing -fno-math-errno -fno-trapping-math -Wall -Wextra -pthread \
            $(or $(FLAGS_$(VARIANT)),$(error VARIANT=$(VARIANT): expected release, asan, tsan or fuzz)) $(CXXFLAGS)
OPENMP := -fopenmp
ifneq ($(filter tsan fuzz,$(VARIANT)),)  # OpenMP's own threads would give false reports
  OPENMP := -Wno-unknown-pragmas
  LDLIBS += -lgomp
endif

# OpenBLAS, where it is installed, is the yardstick of bench_kernels; the programs do without (dev/LOG.md says why).
BLAS_LIBS = $(or $(shell pkg-config --libs openblas 2>/dev/null),$(shell echo 'int main() { return openblas_get_parallel(); }' | \
  $(CXX) -include cblas.h -x c++ - -o /dev/null -lopenblas 2>/dev/null && echo -lopenblas))
$(BUILD)/dev/bench/bench_kernels.o: HOST_CPPFLAGS += $(if $(BLAS_LIBS),-DKNAPSACK_CBLAS $(shell pkg-config --cflags openblas 2>/dev/null))
$(BUILD)/bench/bench_kernels: LDLIBS += $(BLAS_LIBS)

# CUDA: the programs by nvcc for one architecture, and the same kernels by g++ on the CPU (kernels/simt), which needs CUDA's headers only.
NVCC ?= $(firstword $(shell command -v nvcc 2>/dev/null) $(wildcard /usr/local/cuda/bin/nvcc))
CUDA := $(if $(NVCC),$(abspath $(dir $(NVCC))/..))
GPU_ARCH := $(shell nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | sed -nE '1s/^([0-9]+)\.([0-9]+)$$/\1\2/p' | sed 's/^90$$/90a/')
ARCH ?= $(or $(GPU_ARCH),90a)
CUDA_BUILD := build/cuda-sm_$(ARCH)
NVCCFLAGS := -std=c++17 -O3 -I.$(GIVEN) -gencode arch=compute_$(ARCH),code=$(if $(filter %a,$(ARCH)),sm_$(ARCH),[sm_$(ARCH),compute_$(ARCH)]) -lineinfo -Xptxas -v \
             -Xcompiler=-Wall,-Wextra,-fno-strict-aliasing,-fopenmp $(NVCCFLAGS)
SIMT := build/simt$(if $(filter-out release,$(VARIANT)),-$(VARIANT))
SIMT_FLAGS := -std=c++17 -DKNAPSACK_SIMT -I.$(GIVEN) -isystem $(CUDA)/include -fno-strict-aliasing -Wall -Wextra -Wno-unknown-pragmas -pthread \
              $(if $(filter release,$(VARIANT)),-O2 -g1,$(FLAGS_$(VARIANT)))
CUDA_CXXFLAGS := -std=c++17 -O2 -I.$(GIVEN) -isystem $(CUDA)/include -fno-strict-aliasing -Wall -Wextra
CASES := $(wildcard test/cases/*.cpp)
KERNELS := $(basename $(wildcard kernels/*.cu))

# what TSan's tests and the fuzz targets need is built there, no more
ROOMS := $(or $(ROOMS_$(VARIANT)),kernels kernels/cpu dataloader model util eval train)
LIB_SRC := $(foreach room,$(ROOMS),$(wildcard $(room)/*.cpp))
TEST_SRC := $(wildcard $(if $(filter tsan,$(VARIANT)),test/main.cpp test/test_loader*.cpp,test/*.cpp))
LIB := $(BUILD)/libknapsack.a
PROGRAMS := train_gpt_cpu eval_knowledge_cpu
BENCHES := $(patsubst dev/bench/%.cpp,$(BUILD)/bench/%,$(filter-out dev/bench/bench_gpu.cpp,$(wildcard dev/bench/*.cpp)))
FUZZERS := $(patsubst test/fuzz/%.cpp,$(BUILD)/fuzz/%,$(wildcard test/fuzz/*.cpp))
COMPILE = $(CXX) $(HOST_CPPFLAGS) $(CXXFLAGS) $(OPENMP) -MMD -MP
LINK = $(CXX) $(CXXFLAGS) $(OPENMP)

all: $(PROGRAMS) $(if $(and $(NVCC),$(GPU_ARCH)),train_gpt eval_knowledge)  ## what this machine can run: the CPU programs, with a GPU the CUDA ones too (the default)
train_gpt_cpu eval_knowledge_cpu: %: $(BUILD)/%  ## the trainer, the eval (g++)
	@cp -f $< $@
ifeq ($(NVCC),)
train_gpt eval_knowledge:
	@echo 'nvcc is not on PATH and not in /usr/local/cuda/bin: install the CUDA toolkit (12.4 or newer), or make $@_cpu' >&2; exit 2
else
train_gpt eval_knowledge: %: $(CUDA_BUILD)/%  ## the CUDA programs (nvcc; ARCH=80, 89, 90a, ...: default this machine's GPU, else 90a)
	@cp -f $< $@
endif

test: tests  ## unit, Python and end-to-end tests; the last line counts them
	@$(PYTHON) scripts/run_tests.py --build $(BUILD)

tests: $(if $(and $(NVCC),$(GPU_ARCH)),$(addprefix $(CUDA_BUILD)/,run_kernel_tests train_gpt eval_knowledge)) $(BUILD)/run_tests $(addprefix $(BUILD)/,$(PROGRAMS)) $(if $(CUDA),$(if $(filter release,$(VARIANT)),simt,$(SIMT)/run_kernel_tests))  ## builds the tests, does not run them
simt: $(SIMT)/run_kernel_tests $(SIMT)/train_gpt $(SIMT)/eval_knowledge  ## the CUDA kernels and programs as g++ builds them, on test/simt
gpu: $(PROGRAMS) train_gpt eval_knowledge $(addprefix $(CUDA_BUILD)/,run_kernel_tests bench_gpu write_logits)  ## what scripts/on_gpu.sh runs on a GPU
gpu_dry: $(PROGRAMS) simt $(SIMT)/bench_gpu $(SIMT)/write_logits  ## the same by g++, for its --dry-run

bench: $(PROGRAMS) $(BENCHES) $(if $(and $(NVCC),$(GPU_ARCH)),$(CUDA_BUILD)/bench_gpu)  ## micro-benchmarks (with a GPU: its kernels and their share of the floor), then our trainer beside PyTorch where that is importable
	@$(if $(and $(NVCC),$(GPU_ARCH)),$(CUDA_BUILD)/bench_gpu,echo 'no GPU: its kernels are not timed; make floors prints what they should take')
	@set -e; for bench in $(BENCHES); do echo "== $$bench"; $$bench; done
	@$(PYTHON) dev/bench/cpu_vs_torch.py

floors: $(SIMT)/bench_gpu  ## bytes, flops and floor of every CUDA kernel at real shapes; needs no GPU
	@$< --floors

quickstart: all  ## the main job, small: data, a sweep over mixing ratios, a table, a figure
	@scripts/quickstart.sh

asan:  ## unit and end-to-end tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(MAKE) --no-print-directory VARIANT=asan tests
	@$(PYTHON) scripts/run_tests.py --build build/asan --only cpp kernels e2e

ARCHS ?= 80 89 90a
check_kernels:  ## nvcc for sm_80, sm_89 and sm_90a (or ARCHS='..'): fails on warnings, and on spills but in head size 256
	@set -e; for arch in $(ARCHS); do $(MAKE) --no-print-directory ARCH=$$arch kernel_objects; done
	@scripts/check_ptxas.py $(ARCHS:%=build/cuda-sm_%)
kernel_objects: $(KERNELS:%=$(CUDA_BUILD)/%.o)

NO_ASLR = $(shell setarch -R true 2>/dev/null && echo setarch -R)
tsan: tsan_loader tsan_kernels  ## the loader's tests and the CUDA kernels on the CPU under ThreadSanitizer
tsan_loader:
	@$(MAKE) --no-print-directory VARIANT=tsan build/tsan/run_tests
	$(NO_ASLR) build/tsan/run_tests '[loader]'
tsan_kernels:
	@$(MAKE) --no-print-directory VARIANT=tsan build/simt-tsan/run_kernel_tests
	$(NO_ASLR) build/simt-tsan/run_kernel_tests

fuzz:  ## every fuzz target for FUZZ_SECONDS (clang++ with libFuzzer)
	@$(MAKE) --no-print-directory VARIANT=fuzz run_fuzzers

run_fuzzers: $(FUZZERS)
	@set -e; for fuzzer in $(FUZZERS); do scripts/fuzz.sh $$fuzzer $(FUZZ_SECONDS); done

format:  ## clang-format on every C++ and CUDA file
	clang-format -i $$(git ls-files -co --exclude-standard '*.cpp' '*.h' '*.cu' '*.cuh')
clean:  ## removes what was built
	rm -rf build $(PROGRAMS) train_gpt eval_knowledge

help:  ## this list
	@grep -hE '^[a-z_ ]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 34

$(BUILD)/train_gpt_cpu: $(BUILD)/train_gpt.o $(LIB)
$(BUILD)/eval_knowledge_cpu: $(BUILD)/eval/eval_knowledge.o $(LIB)
$(BUILD)/run_tests: $(TEST_SRC:%.cpp=$(BUILD)/%.o) $(if $(filter tsan,$(VARIANT)),,$(CASES:%.cpp=$(BUILD)/%.o)) $(LIB)
$(BUILD)/bench/bench_kernels: $(CASES:%.cpp=$(BUILD)/%.o)
$(BENCHES): $(BUILD)/bench/%: $(BUILD)/dev/bench/%.o $(LIB)
$(FUZZERS): $(BUILD)/fuzz/%: $(BUILD)/test/fuzz/%.o $(LIB)
$(FUZZERS): LINK += -fsanitize=fuzzer
$(BUILD)/run_tests: LDLIBS += $(shell pkg-config --libs catch2 2>/dev/null)
$(BUILD)/train_gpt_cpu $(BUILD)/eval_knowledge_cpu $(BUILD)/run_tests $(BENCHES) $(FUZZERS):
	@mkdir -p $(@D)
	$(LINK) -o $@ $^ $(LDLIBS)
$(LIB): $(LIB_SRC:%.cpp=$(BUILD)/%.o)
	@rm -f $@ && ar rcs $@ $^
# ---- CUDA
$(CUDA_BUILD)/%.o: %.cu $(CUDA_BUILD)/flags.txt
	@mkdir -p $(@D)
	$(NVCC) $(NVCCFLAGS) -MMD -MP -c -o $@ $< 2> $@.ptxas || { cat $@.ptxas >&2; exit 1; }
	@grep -iE -A3 'warning|error' $@.ptxas >&2 || true
$(CUDA_BUILD)/%.o: %.cpp $(CUDA_BUILD)/flags.txt
	@mkdir -p $(@D)
	$(CXX) $(CUDA_CXXFLAGS) -MMD -MP -c -o $@ $<
$(CUDA_BUILD)/train_gpt: $(CUDA_BUILD)/train_gpt.o
$(CUDA_BUILD)/eval_knowledge: $(CUDA_BUILD)/eval/eval_knowledge.o
$(CUDA_BUILD)/run_kernel_tests: $(patsubst %.cpp,$(CUDA_BUILD)/%.o,test/main.cpp test/test_kernels.cpp $(CASES))
$(CUDA_BUILD)/run_kernel_tests: LDLIBS += $(shell pkg-config --libs catch2 2>/dev/null)
$(CUDA_BUILD)/bench_gpu: $(patsubst %.cpp,$(CUDA_BUILD)/%.o,dev/bench/bench_gpu.cpp $(CASES))
$(CUDA_BUILD)/write_logits: $(CUDA_BUILD)/dev/oracle/write_logits.o
$(addprefix $(CUDA_BUILD)/,train_gpt eval_knowledge run_kernel_tests bench_gpu write_logits): $(KERNELS:%=$(CUDA_BUILD)/%.o) $(LIB)
	$(NVCC) -gencode arch=compute_$(ARCH),code=sm_$(ARCH) -Xcompiler -fopenmp -o $@ $(filter-out $(LIB),$^) $(LIB) $(LDLIBS) -lcublasLt

# ---- the same by g++
$(SIMT)/%.o: %.cu $(SIMT)/flags.txt
	@mkdir -p $(@D)
	$(CXX) $(SIMT_FLAGS) $(OPENMP) -MMD -MP -x c++ -c -o $@ $<
$(SIMT)/%.o: %.cpp $(SIMT)/flags.txt
	@mkdir -p $(@D)
	$(CXX) $(SIMT_FLAGS) $(OPENMP) -MMD -MP -c -o $@ $<
# the fibers' runtime is never instrumented: it announces to TSan what CUDA promises, and nothing else
$(SIMT)/kernels/simt/runtime.o: SIMT_FLAGS := $(filter-out -fsanitize=% -fno-sanitize-recover=%,$(SIMT_FLAGS))
KERNEL_TESTS := $(if $(filter tsan,$(VARIANT)),$(filter-out %/test_model.cpp %/test_matmul_context.cpp,$(wildcard test/simt/test_*.cpp)),$(wildcard test/simt/test_*.cpp))
SIMT_RUNTIME := $(patsubst %.cpp,$(SIMT)/%.o,kernels/simt/runtime.cpp kernels/simt/cuda_runtime.cpp)
$(SIMT)/train_gpt: $(SIMT)/train_gpt.o
$(SIMT)/eval_knowledge: $(SIMT)/eval/eval_knowledge.o
$(SIMT)/run_kernel_tests: $(patsubst %.cpp,$(SIMT)/%.o,test/main.cpp test/test_kernels.cpp $(KERNEL_TESTS) $(CASES))
$(SIMT)/bench_gpu: $(patsubst %.cpp,$(SIMT)/%.o,dev/bench/bench_gpu.cpp $(CASES))
$(SIMT)/run_kernel_tests: LDLIBS += $(shell pkg-config --libs catch2 2>/dev/null)
$(SIMT)/write_logits: $(SIMT)/dev/oracle/write_logits.o
$(addprefix $(SIMT)/,train_gpt eval_knowledge run_kernel_tests bench_gpu write_logits): $(SIMT_RUNTIME) $(KERNELS:%=$(SIMT)/%.o) $(LIB)
	$(CXX) $(SIMT_FLAGS) $(OPENMP) -o $@ $(filter-out $(LIB),$^) $(LIB) $(LDLIBS)

# ---- the CPU
$(BUILD)/%.o: %.cpp $(BUILD)/flags.txt
	@mkdir -p $(@D)
	$(COMPILE) -c -o $@ $<
$(BUILD)/%.o: %.cu $(BUILD)/flags.txt
	@mkdir -p $(@D)
	$(COMPILE) -x c++ -c -o $@ $<

# Other flags compile everything again; another commit only build_info.cpp.
COMMIT := $(shell git describe --always --dirty --abbrev=12 --exclude '*' 2>/dev/null || echo unknown)
$(BUILD)/flags.txt: WHAT = $(COMPILE) $(LDLIBS)
$(BUILD)/commit.txt: WHAT = $(COMMIT)
$(CUDA_BUILD)/flags.txt: WHAT = $(NVCC) $(NVCCFLAGS)
$(SIMT)/flags.txt: WHAT = $(CXX) $(SIMT_FLAGS)
$(BUILD)/flags.txt $(BUILD)/commit.txt $(CUDA_BUILD)/flags.txt $(SIMT)/flags.txt: FORCE
	@mkdir -p $(@D); echo '$(WHAT)' | cmp -s - $@ || echo '$(WHAT)' > $@
$(BUILD)/util/build_info.o: $(BUILD)/commit.txt
$(BUILD)/util/build_info.o: HOST_CPPFLAGS += -DBUILD_COMMIT='"$(COMMIT)"' -DBUILD_FLAGS='"$(CXXFLAGS) $(OPENMP) $(LDLIBS)"'

FORCE:
.PHONY: check_kernels kernel_objects floors all train_gpt eval_knowledge test tests simt gpu gpu_dry bench quickstart asan tsan tsan_loader tsan_kernels fuzz run_fuzzers format clean help FORCE
.DELETE_ON_ERROR:
-include $(shell find $(BUILD) $(SIMT) $(CUDA_BUILD) -name '*.d' 2>/dev/null)
