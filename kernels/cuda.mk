# The CUDA programs: by nvcc for one architecture, under build/cuda-sm_<arch>/; and by g++ for the CPU, on kernels/simt,
# under build/simt/, which needs CUDA's headers only.
NVCC ?= $(firstword $(shell command -v nvcc 2>/dev/null) $(wildcard /usr/local/cuda/bin/nvcc))
CUDA := $(if $(NVCC),$(abspath $(dir $(NVCC))/..))
GPU_ARCH := $(patsubst 90,90a,$(shell nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | \
  sed -nE '1s/^([0-9]+)\.([0-9]+)$$/\1\2/p'))
GPU := $(and $(NVCC),$(GPU_ARCH))
ARCH ?= $(or $(GPU_ARCH),90a)
ARCHS ?= 80 89 90a
CUDA_BUILD := build/cuda-sm_$(ARCH)
SIMT := build/simt$(if $(filter-out release,$(VARIANT)),-$(VARIANT))
# NCCL, where its header is in the toolkit or among the system's; NCCL=off builds without. For several processes only.
NCCL ?= on
NCCL_HEADER := $(firstword $(wildcard $(addsuffix /nccl.h,$(CUDA)/include $(KNAPSACK_INCLUDE) /usr/include)))
NCCL_FLAGS := $(if $(and $(filter on,$(NCCL)),$(NCCL_HEADER)),-DKNAPSACK_NCCL)
NVCC_ARCH := -gencode arch=compute_$(ARCH),code=$(if $(filter %a,$(ARCH)),sm_$(ARCH),[sm_$(ARCH),compute_$(ARCH)])
NVCC_FLAGS := $(INCLUDES) $(NCCL_FLAGS) -std=c++17 -O3 -lineinfo $(NVCC_ARCH) -Xptxas -v \
              -Xcompiler=-Wall,-Wextra,-fno-strict-aliasing,-fopenmp $(NVCCFLAGS)
CUDA_HOST_FLAGS := $(INCLUDES) $(NCCL_FLAGS) -isystem $(CUDA)/include $(COMMON) -O2
SIMT_LEVEL := $(if $(filter release,$(VARIANT)),-O2 -g1,$(FLAGS) $(KERNEL_LEVEL))
SIMT_FLAGS := -DKNAPSACK_SIMT $(NCCL_FLAGS) $(INCLUDES) -isystem $(CUDA)/include $(COMMON) \
              -Wno-unknown-pragmas $(OPENMP) $(SIMT_LEVEL)

CASES := $(patsubst %.cpp,%.o,$(wildcard test/cases/*.cpp))
KERNELS := $(patsubst %.cu,%.o,$(wildcard kernels/*.cu))
SIMT_RUNTIME := kernels/simt/runtime.o kernels/simt/cuda_runtime.o $(if $(NCCL_FLAGS),kernels/simt/nccl.o)
SIMT_TESTS := $(patsubst %.cpp,%.o,$(wildcard test/simt/test_*.cpp))
ifeq ($(VARIANT),tsan)
  SIMT_TESTS := $(filter-out %/test_model.o %/test_matmul_context.o %/test_choices.o %/test_graph.o,$(SIMT_TESTS))
endif
# What release and asan share (Makefile); asan compiles again the tests that make kernels themselves.
SIMT_SHARED := $(if $(filter release asan,$(VARIANT)),build/test/simt,$(SIMT))
SIMT_OWN := $(if $(filter asan,$(VARIANT)),$(patsubst %.cpp,%.o,$(shell grep -l '\.cuh"' $(SIMT_TESTS:.o=.cpp))))
# the cases first: "every kernel has a case" looks at what has run, and would run them itself
SIMT_TEST_OBJ := $(SIMT_SHARED)/test/test_kernels.o $(SIMT_OWN:%=$(SIMT)/%) \
  $(addprefix $(SIMT_SHARED)/,$(filter-out $(SIMT_OWN),$(SIMT_TESTS)) $(CASES))

# ---- Targets
ifeq ($(NVCC),)
train_gpt eval_knowledge:
	@echo 'nvcc is not on PATH and not in /usr/local/cuda/bin: install the CUDA toolkit (12.4 or newer),' \
	  'or make $@_cpu' >&2; exit 2
else
train_gpt eval_knowledge: %: $(CUDA_BUILD)/%  ## the CUDA programs (nvcc; ARCH=80, 89, 90a, ...: this machine's GPU)
	@cp -f $< $@
endif
simt: $(addprefix $(SIMT)/,run_kernel_tests test_communicator train_gpt eval_knowledge)  ## the CUDA programs by g++
# scripts/on_gpu.sh names fewer where its parts need fewer. What takes longest to compile begins first.
GPU_PROGRAMS ?= run_kernel_tests train_gpt eval_knowledge bench_gpu write_logits
LONGEST := $(CUDA_BUILD)/kernels/attention_backward.o $(CUDA_BUILD)/kernels/attention_forward.o
LONGEST.train_gpt := $(CUDA_BUILD)/train_gpt.o
LONGEST.eval_knowledge := $(CUDA_BUILD)/eval/eval_knowledge.o
LONGEST.run_kernel_tests := $(TEST_MAIN)
gpu: $(LONGEST) $(foreach program,$(GPU_PROGRAMS),$(LONGEST.$(program)))
gpu: $(filter train_gpt eval_knowledge,$(GPU_PROGRAMS)) $(addprefix $(CUDA_BUILD)/,$(GPU_PROGRAMS))
gpu: train_gpt_cpu  ## what scripts/on_gpu.sh runs on a GPU
gpu_dry: $(PROGRAMS) $(addprefix $(SIMT)/,$(GPU_PROGRAMS))  ## the same by g++, for its --dry-run
check_kernels:  ## nvcc for every ARCHS (80 89 90a): fails on warnings and on spills
	@set -e; for arch in $(ARCHS); do $(MAKE) --no-print-directory ARCH=$$arch kernel_objects; done
	@scripts/sass/ptxas.py $(ARCHS:%=build/cuda-sm_%)
ifeq ($(NVCC),)
sass:
	@printf '%s\n' 'skipped: instruction counts: no nvcc' '0 passed, 0 failed, 1 skipped'
else
sass:  ## counts the kernels' instructions; fails where one is worse than in dev/results/sass (UPDATE=1 writes it)
	@$(MAKE) --no-print-directory ARCH=90a kernel_objects
	@$(PYTHON) scripts/sass/sass.py build/cuda-sm_90a --table dev/results/sass $(if $(UPDATE),--update)
endif
kernel_objects: $(KERNELS:%=$(CUDA_BUILD)/%)
floors: $(SIMT)/bench_gpu  ## bytes, flops and floor of every CUDA kernel at real shapes; needs no GPU
	@$< --floors

# ---- Programs
CUDA_PROGRAMS := train_gpt eval_knowledge run_kernel_tests bench_gpu write_logits test_communicator bench_communicator
$(CUDA_PROGRAMS:%=$(CUDA_BUILD)/%): private LDLIBS += $(if $(NCCL_FLAGS),-lnccl)
FOLDERS := $(CUDA_BUILD) $(SIMT)
$(CUDA_BUILD)/bench_gpu: $(CASES:%=$(CUDA_BUILD)/%)
$(CUDA_BUILD)/run_kernel_tests: $(addprefix $(CUDA_BUILD)/,test/test_kernels.o $(CASES))
$(SIMT)/bench_gpu: $(CASES:%=$(SIMT_SHARED)/%)
$(SIMT)/run_kernel_tests: $(SIMT_TEST_OBJ)
$(FOLDERS:=/train_gpt): %/train_gpt: %/train_gpt.o
$(FOLDERS:=/eval_knowledge): %/eval_knowledge: %/eval/eval_knowledge.o
$(FOLDERS:=/bench_gpu): %/bench_gpu: %/dev/bench/bench_gpu.o
$(FOLDERS:=/test_communicator): %/test_communicator: %/test/processes/test_communicator.o
$(FOLDERS:=/bench_communicator): %/bench_communicator: %/dev/bench/bench_communicator.o
$(FOLDERS:=/write_logits): %/write_logits: %/dev/oracle/write_logits.o
$(FOLDERS:=/run_kernel_tests): $(TEST_MAIN)
$(FOLDERS:=/run_kernel_tests): private LDLIBS += $(CATCH_LIBS)
$(CUDA_PROGRAMS:%=$(CUDA_BUILD)/%): $(KERNELS:%=$(CUDA_BUILD)/%) $(LIB)
	$(NVCC) $(NVCC_ARCH) -Xcompiler -fopenmp -o $@ $(filter-out $(LIB),$^) $(LIB) \
	  $(MPI_LIBS:-Wl,%=-Xlinker=%) $(LDLIBS) -lcublasLt
# the kernels first: an inline function that several files have is then theirs, optimised or sanitized
$(CUDA_PROGRAMS:%=$(SIMT)/%): $(SIMT_RUNTIME:%=$(SIMT)/%) $(KERNELS:%=$(SIMT)/%) $(LIB)
	$(CXX) $(SIMT_FLAGS) $(CXXFLAGS) -o $@ $(KERNELS:%=$(SIMT)/%) $(filter-out $(KERNELS:%=$(SIMT)/%) $(LIB),$^) \
	  $(LIB) $(MPI_LIBS) $(LDLIBS)

# ---- Objects
# With the PTX on the way to it, which test/ptx translates.
$(CUDA_BUILD)/%.o: %.cu $(CUDA_BUILD)/flags.txt
	@mkdir -p $(@D)
	@rm -rf $@.keep && mkdir -p $@.keep
	$(NVCC) $(NVCC_FLAGS) -keep -keep-dir $@.keep -MMD -MP -c -o $@ $< 2> $@.ptxas || { cat $@.ptxas >&2; exit 1; }
	@mv $@.keep/*.ptx $(@:.o=.ptx) && touch $(@:.o=.ptx) && rm -r $@.keep
	@grep -iE -A3 'warning|error' $@.ptxas >&2 || true
$(CUDA_BUILD)/%.o: %.cpp $(CUDA_BUILD)/flags.txt
	@mkdir -p $(@D)
	$(CXX) $(CUDA_HOST_FLAGS) $(CXXFLAGS) -MMD -MP -c -o $@ $<
$(SIMT)/%.o: %.cu $(SIMT)/flags.txt
	@mkdir -p $(@D)
	$(CXX) $(SIMT_FLAGS) $(CXXFLAGS) -MMD -MP -x c++ -c -o $@ $<
$(SIMT)/%.o: %.cpp $(SIMT)/flags.txt
	@mkdir -p $(@D)
	$(CXX) $(SIMT_FLAGS) $(LEVEL) $(CXXFLAGS) -MMD -MP -c -o $@ $<
ifneq ($(SIMT_SHARED),$(SIMT))
$(SIMT_SHARED)/%: private SIMT_FLAGS := $(filter-out $(SIMT_LEVEL),$(SIMT_FLAGS))
$(SIMT_SHARED)/%.o: %.cpp $(SIMT_SHARED)/flags.txt
	@mkdir -p $(@D)
	$(CXX) $(SIMT_FLAGS) $(LEVEL) $(CXXFLAGS) -MMD -MP -c -o $@ $<
$(SIMT_SHARED)/flags.txt: WHAT = $(CXX) $(SIMT_FLAGS) $(CXXFLAGS)
$(CASES:%=$(SIMT_SHARED)/%): private LEVEL := -O2
endif
$(SIMT_OWN:%=$(SIMT)/%): private LEVEL := -O0
# the fibers' runtime is never instrumented: it announces to TSan what CUDA promises, and nothing else
$(SIMT)/kernels/simt/runtime.o: private SIMT_FLAGS := $(filter-out -fsanitize=% -fno-sanitize-recover=%,$(SIMT_FLAGS))
# NCCL's stand-in between processes sends by MPI
$(SIMT)/kernels/simt/nccl.o: private SIMT_FLAGS += $(if $(MPI_LIBS),-DKNAPSACK_MPI -DOMPI_SKIP_MPICXX $(MPI_CFLAGS))
$(CUDA_BUILD)/flags.txt: WHAT = $(NVCC) -keep $(NVCC_FLAGS) $(CUDA_HOST_FLAGS) $(CXXFLAGS)
$(SIMT)/flags.txt: WHAT = $(CXX) $(SIMT_FLAGS) $(MPI_LIBS) $(CXXFLAGS)

include test/ptx/ptx.mk
