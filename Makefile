# knapsack.cu - `make help` lists the targets. This is the build; CMakeLists.txt serves IDEs. Objects lie under
# build/<variant>/; VARIANT=asan, tsan or fuzz choose another build. The CUDA programs: kernels/cuda.mk.
VARIANT ?= release
PYTHON ?= $(firstword $(wildcard .venv/bin/python /usr/bin/python3) python3)
FUZZ_SECONDS ?= 10
CXX := $(if $(filter fuzz,$(VARIANT)),clang++,$(CXX))
BUILD := build/$(VARIANT)

# ---- Flags. CPPFLAGS, CXXFLAGS, NVCCFLAGS and LDLIBS of the caller come last.
# Headers that no package put where the compilers look: KNAPSACK_INCLUDE=DIR..., or the folder third_party
# (scripts/on_gpu.sh --pack-headers fills it).
KNAPSACK_INCLUDE ?= $(wildcard third_party)
INCLUDES := -I. $(KNAPSACK_INCLUDE:%=-isystem %) $(CPPFLAGS)
COMMON := -std=c++17 -fno-strict-aliasing -Wall -Wextra -pthread
# unoptimised, sanitized code compiles in half the time; only the kernels would then run for too long
SANITIZE := -O0 -g1 -fno-omit-frame-pointer -fno-sanitize-recover=all
FLAGS_release := -O3
# null pointers, sizes and stray pointers are ASan's as well; alignment is checked in the kernels and where files are
# read: mapped weights here, other parsers by the fuzz targets. Without these checks it compiles in half the time.
FLAGS_asan := $(SANITIZE) -fsanitize=address,undefined -fno-sanitize=null,object-size,vptr,pointer-overflow,alignment
# of kernels under sanitizers
ALIGNMENT := $(if $(filter asan,$(VARIANT)),-fsanitize=alignment)
KERNEL_LEVEL := -O1 $(ALIGNMENT)
LEVEL :=  # of a file, set where its rule is; EXTRA: its precompiled header
EXTRA :=
FLAGS_tsan := $(SANITIZE) -fsanitize=thread
FLAGS_fuzz := $(SANITIZE) -fsanitize=fuzzer-no-link,address,undefined
FLAGS := $(or $(FLAGS_$(VARIANT)),$(error VARIANT=$(VARIANT): expected release, asan, tsan or fuzz))
OPENMP := -fopenmp
ifneq ($(filter tsan fuzz,$(VARIANT)),)  # OpenMP's own threads would give false reports
  OPENMP := -Wno-unknown-pragmas
  LDLIBS += -lgomp
endif
HOST_FLAGS := $(COMMON) -march=native -fno-math-errno -fno-trapping-math $(FLAGS) $(OPENMP)
COMPILE = $(CXX) $(INCLUDES) -DKNAPSACK_CPU $(HOST_FLAGS) $(LEVEL) $(CXXFLAGS) -MMD -MP
CATCH_LIBS = $(shell pkg-config --libs catch2 2>/dev/null)

# MPI, where Open MPI is installed: processes that exchange numbers on the CPU, and mpirun. MPI=off builds without.
MPI ?= $(if $(filter tsan fuzz,$(VARIANT)),off,on)
ifneq ($(MPI),off)
  MPI_CFLAGS := $(shell pkg-config --cflags ompi 2>/dev/null || mpicxx --showme:compile 2>/dev/null)
  MPI_LIBS := $(shell pkg-config --libs ompi 2>/dev/null || mpicxx --showme:link 2>/dev/null)
  MPI_LIBS := $(filter-out -lmpi_cxx -pthread,$(MPI_LIBS))
endif

# ---- Sources. What TSan's tests and the fuzz targets need is built for them, no more.
SRC_loader := $(filter-out util/options.cpp,$(wildcard dataloader/*.cpp util/*.cpp))
SRC_tsan := $(wildcard kernels/*.cpp) $(SRC_loader)
SRC_programs := dataloader/doses.cpp dataloader/plan.cpp $(patsubst %,util/%.cpp,build_info connection json_text mpi \
  peers progress rank rendezvous stop)
SRC_fuzz := $(filter-out $(SRC_programs) model/weights.cpp,$(SRC_tsan) $(wildcard model/*.cpp)) eval/question_names.cpp
TESTS_tsan := $(wildcard test/test_loader*.cpp)
LIB_SRC := $(or $(SRC_$(VARIANT)),$(wildcard $(addsuffix /*.cpp,kernels kernels/cpu dataloader model util eval train)))
TEST_SRC := $(or $(TESTS_$(VARIANT)),$(wildcard test/test_*.cpp))
PROGRAMS := train_gpt_cpu eval_knowledge_cpu
BENCHES := $(patsubst dev/bench/%.cpp,$(BUILD)/bench/%,$(filter-out %/bench_gpu.cpp,$(wildcard dev/bench/*.cpp)))
FUZZERS := $(patsubst test/fuzz/%.cpp,$(BUILD)/fuzz/%,$(wildcard test/fuzz/*.cpp))
LIB_OBJ := $(LIB_SRC:%.cpp=$(BUILD)/%.o)
# What release and asan share: the objects of tests, neither optimised nor sanitized, since what they test is in the
# library. asan compiles again those that make code of ours themselves, from templates (.cuh) or inline.
SHARED := $(if $(filter release asan,$(VARIANT)),build/test/cpu,$(BUILD))
OWN := $(if $(filter asan,$(VARIANT)),$(shell grep -lE '(\.cuh|/(bf16|schedule|vmath)\.h|_models\.h)"' $(TEST_SRC)))
TEST_OBJ := $(OWN:%.cpp=$(BUILD)/%.o) $(patsubst %.cpp,$(SHARED)/%.o,$(filter-out $(OWN),$(TEST_SRC)))
LIB := $(BUILD)/libknapsack.a
TEST_MAIN := build/test/main.o
.DEFAULT_GOAL := all
include kernels/cuda.mk

# ---- Targets
all: $(PROGRAMS) $(if $(GPU),train_gpt eval_knowledge)  ## the programs that this machine can run (the default)
train_gpt_cpu eval_knowledge_cpu: %: $(BUILD)/%  ## the trainer, the eval (g++)
	@cp -f $< $@

tests: $(BUILD)/run_tests $(PROGRAMS:%=$(BUILD)/%)  ## builds the tests, does not run them
tests: $(if $(filter release,$(VARIANT)),$(BUILD)/test_communicator)
tests: $(if $(CUDA),$(if $(filter release,$(VARIANT)),simt,$(SIMT)/run_kernel_tests))
tests: $(if $(GPU),$(addprefix $(CUDA_BUILD)/,run_kernel_tests train_gpt eval_knowledge))
test: tests  ## unit, kernel, Python and end-to-end tests; the last line counts them
	@$(PYTHON) scripts/run_tests.py --build $(BUILD)
style:  ## line lengths, formatting, words
	@$(PYTHON) scripts/check_style.py
asan:  ## unit, kernel and end-to-end tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(MAKE) --no-print-directory VARIANT=asan tests
	@$(PYTHON) scripts/run_tests.py --build build/asan --only cpp kernels e2e
NO_ASLR = $(shell setarch -R true 2>/dev/null && echo setarch -R)
tsan: tsan_loader tsan_kernels  ## the loader's tests and the CUDA kernels on the CPU under ThreadSanitizer
tsan_loader:
	@$(MAKE) --no-print-directory VARIANT=tsan build/tsan/run_tests
	$(NO_ASLR) build/tsan/run_tests '[loader]'
tsan_kernels:
	@$(MAKE) --no-print-directory VARIANT=tsan build/simt-tsan/run_kernel_tests
	$(NO_ASLR) build/simt-tsan/run_kernel_tests
fuzz:  ## every fuzz target for FUZZ_SECONDS, or FUZZ_RUNS inputs (clang++ with libFuzzer)
	@$(MAKE) --no-print-directory VARIANT=fuzz fuzz_all
fuzz_all: $(FUZZERS:=.run)
$(FUZZERS:=.run): %.run: %
	@scripts/fuzz.sh $< $(FUZZ_SECONDS)

bench: $(PROGRAMS) $(BENCHES) $(if $(GPU),$(CUDA_BUILD)/bench_gpu)  ## kernels by their floors, our trainer by PyTorch
	@$(if $(GPU),$(CUDA_BUILD)/bench_gpu,echo 'no GPU: its kernels are not timed; make floors says what they should take')
	@set -e; for bench in $(BENCHES); do echo "== $$bench"; $$bench; done
	@$(PYTHON) dev/bench/cpu_vs_torch.py
quickstart: all  ## the main job, small: data, a sweep over mixing ratios, a table, a figure
	@scripts/quickstart.sh
format:  ## clang-format on every C++ and CUDA file, ruff on the Python files
	clang-format -i $$(git ls-files -co --exclude-standard '*.cpp' '*.h' '*.cu' '*.cuh')
	$(PYTHON) -m ruff format --quiet .
clean:  ## removes what was built
	rm -rf build $(PROGRAMS) train_gpt eval_knowledge
help:  ## this list
	@grep -hE '^[a-z_ ]+:.*##' $(filter-out %.d,$(MAKEFILE_LIST)) | sed -E 's/:.*## */\t/' | expand -t 34

# ---- Programs
$(BUILD)/train_gpt_cpu: $(BUILD)/train_gpt.o $(LIB)
$(BUILD)/eval_knowledge_cpu: $(BUILD)/eval/eval_knowledge.o $(LIB)
$(BUILD)/test_communicator: $(BUILD)/test/processes/test_communicator.o $(LIB)
# before the library, which is searched for what they need
$(BUILD)/bench/bench_kernels: $(CASES:%=$(SHARED)/%)
$(BENCHES): $(BUILD)/bench/%: $(BUILD)/dev/bench/%.o $(LIB)
$(FUZZERS): $(BUILD)/fuzz/%: $(BUILD)/test/fuzz/%.o $(LIB)
$(FUZZERS): private HOST_FLAGS += -fsanitize=fuzzer
# the library's objects first: an inline function that several files have is then the library's, optimised or sanitized
$(BUILD)/run_tests: $(filter-out $(if $(filter tsan,$(VARIANT)),$(SRC_programs:%.cpp=$(BUILD)/%.o)),$(LIB_OBJ))
$(BUILD)/run_tests: $(TEST_OBJ) $(if $(filter tsan,$(VARIANT)),,$(CASES:%=$(SHARED)/%)) $(TEST_MAIN)
$(BUILD)/run_tests: private LDLIBS += $(CATCH_LIBS)
$(PROGRAMS:%=$(BUILD)/%) $(BUILD)/run_tests $(BUILD)/test_communicator $(BENCHES) $(FUZZERS):
	@mkdir -p $(@D)
	$(CXX) $(HOST_FLAGS) $(CXXFLAGS) -o $@ $^ $(MPI_LIBS) $(LDLIBS)
$(LIB): $(LIB_OBJ)
	@rm -f $@ && ar rcs $@ $^

# ---- Objects
define RULES
$(1)/%.o: %.cpp $(1)/flags.txt
	@mkdir -p $$(@D)
	$$(COMPILE) $$(EXTRA) -c -o $$@ $$<
$(1)/pch/%.h.gch: $(1)/flags.txt
	@mkdir -p $$(@D); printf '#include %s\n' $$(PCH_$$*) > $$(@:.gch=)
	$$(COMPILE) -x c++-header -o $$@ $$(@:.gch=)
endef
$(foreach folder,$(sort $(BUILD) $(SHARED)),$(eval $(call RULES,$(folder))))
ifneq ($(SHARED),$(BUILD))
$(SHARED)/%: private HOST_FLAGS := $(filter-out $(FLAGS),$(HOST_FLAGS))
$(CASES:%=$(SHARED)/%): private LEVEL := -O2
endif
$(BUILD)/%.o: %.cu $(BUILD)/flags.txt
	@mkdir -p $(@D)
	$(COMPILE) -x c++ -c -o $@ $<
# Catch2's own code takes longer than any other file: compiled once for all variants, neither optimised nor sanitized
$(TEST_MAIN): test/main.cpp
	@mkdir -p $(@D)
	$(CXX) $(INCLUDES) $(COMMON) $(CXXFLAGS) -MMD -MP -c -o $@ $<
ifeq ($(VARIANT),release)
$(BUILD)/util/options.o: private LEVEL := -O1  # CLI11: much code that runs once
else
$(BUILD)/kernels/%.o: private LEVEL := $(KERNEL_LEVEL)
$(BUILD)/model/weights.o: private LEVEL := $(ALIGNMENT)
$(BUILD)/kernels/choices_text.o: private LEVEL :=  # as its precompiled header
endif

# Headers that cost each file a second, compiled once: nlohmann/json where it is included, with Catch2 in the tests.
# PCH=off builds without.
PCH ?= on
PCH_json := '<nlohmann/json.hpp>'
PCH_tests := $(PCH_json) '"test/catch.h"'
ifeq ($(PCH),on)
JSON_OBJ := $(patsubst %.cpp,$(BUILD)/%.o,$(shell grep -lF $(PCH_json) $(LIB_SRC)))
$(JSON_OBJ): $(BUILD)/pch/json.h.gch
$(JSON_OBJ): private EXTRA := -include $(BUILD)/pch/json.h
$(filter $(BUILD)/%,$(TEST_OBJ)): $(BUILD)/pch/tests.h.gch
$(filter $(SHARED)/%,$(TEST_OBJ)): $(SHARED)/pch/tests.h.gch
$(TEST_OBJ): private EXTRA = -include $(firstword $(subst /test/test_, ,$@))/pch/tests.h
endif

MPI_OBJ := $(BUILD)/util/mpi.o $(BUILD)/kernels/cpu/communicator.o
$(MPI_OBJ): private EXTRA = $(if $(MPI_LIBS),-DKNAPSACK_MPI -DOMPI_SKIP_MPICXX $(MPI_CFLAGS))

# OpenBLAS, where it is installed, is the yardstick of bench_kernels; the programs do without (dev/LOG.md says why).
BLAS_PROBE = echo 'int main() { return openblas_get_parallel(); }' | \
  $(CXX) -include cblas.h -x c++ - -o /dev/null -lopenblas
BLAS_LIBS = $(or $(shell pkg-config --libs openblas 2>/dev/null),$(shell $(BLAS_PROBE) 2>/dev/null && echo -lopenblas))
BLAS_FLAGS = $(if $(BLAS_LIBS),-DKNAPSACK_CBLAS $(shell pkg-config --cflags openblas 2>/dev/null))
$(BUILD)/dev/bench/bench_kernels.o: private EXTRA = $(BLAS_FLAGS)
$(BUILD)/bench/bench_kernels: private LDLIBS += $(BLAS_LIBS)

# Other flags compile everything again; another commit only build_info.cpp.
COMMIT := $(shell git describe --always --dirty --abbrev=12 --exclude '*' 2>/dev/null || echo unknown)
$(BUILD)/flags.txt: WHAT = $(COMPILE) $(KERNEL_LEVEL) $(MPI_LIBS) $(LDLIBS)
$(filter-out $(BUILD)/%,$(SHARED)/flags.txt): WHAT = $(COMPILE)
$(BUILD)/commit.txt: WHAT = $(COMMIT)
$(sort $(addsuffix /flags.txt,$(BUILD) $(SHARED) $(CUDA_BUILD) $(SIMT) $(SIMT_SHARED))) $(BUILD)/commit.txt: FORCE
	@mkdir -p $(@D); echo '$(WHAT)' | cmp -s - $@ || echo '$(WHAT)' > $@
BUILD_FLAGS := $(HOST_FLAGS) $(CXXFLAGS) $(MPI_LIBS) $(LDLIBS)
$(BUILD)/util/build_info.o: $(BUILD)/commit.txt
$(BUILD)/util/build_info.o: private EXTRA := -DBUILD_COMMIT='"$(COMMIT)"' -DBUILD_FLAGS='"$(BUILD_FLAGS)"'

FORCE:
.PHONY: all train_gpt eval_knowledge tests test style asan tsan tsan_loader tsan_kernels fuzz fuzz_all \
  $(FUZZERS:=.run) simt gpu gpu_dry check_kernels sass kernel_objects bench floors quickstart format clean help FORCE
.DELETE_ON_ERROR:
-include $(shell find $(dir $(TEST_MAIN)) $(BUILD) $(SIMT) $(CUDA_BUILD) -name '*.d' 2>/dev/null)
