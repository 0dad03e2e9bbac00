# The objects that nvcc made, run on the CPU: linked with the runtime of test/ptx in place of CUDA's and with the
# kernels that translate.py makes of nvcc's PTX. Included by kernels/cuda.mk; needs nvcc, and no GPU.
#
# The head sizes that are translated, of those the attention is compiled for. Empty: all.
PTX_HEAD_SIZES ?= 16,64,80
PTX := build/ptx$(if $(PTX_HEAD_SIZES),,-all)$(if $(filter-out release,$(VARIANT)),-$(VARIANT))
PTX_FLAGS := $(INCLUDES) -isystem $(CUDA)/include $(COMMON) -march=native -ffp-contract=off
PTX_SANITIZE := $(if $(filter tsan,$(VARIANT)),-fsanitize=thread -g1)
PTX_LIBRARY := $(patsubst %.cpp,%.o,$(filter-out test/ptx/test_%,$(wildcard test/ptx/*.cpp)))
PTX_TESTS := $(patsubst %.cpp,%.o,$(wildcard test/ptx/test_*.cpp))
PTX_SAMPLES := $(patsubst %.ptx,%.o,$(wildcard test/ptx/samples/*.ptx))
TRANSLATE := $(addprefix test/ptx/,translate.py instructions.py parser.py)
# As kernels/simt has them, but never under ThreadSanitizer. kernels/backend.h gives simt other sizes (MAX_HEAD_ROWS,
# SCORE_ROWS, EVAL_POSITIONS) than nvcc's objects have: no case may use them.
PTX_CASES := $(CASES:%=$(if $(filter tsan,$(VARIANT)),$(CUDA_BUILD),$(SIMT_SHARED))/%)
# not among a user's, who may have a GPU: the algorithms that the products chose
PTX_CACHE = XDG_CACHE_HOME=$(abspath $(PTX))/cache

# ---- Targets
ifeq ($(NVCC),)
ptx ptx_all ptx_tsan:
	@printf '%s\n' "skipped: kernels from nvcc's PTX: no nvcc" '0 passed, 0 failed, 1 skipped'
else
ptx: ptx_programs  ## the objects that nvcc made, run on the CPU from their PTX: kernel tests, trainings; needs no GPU
	@KNAPSACK_PTX=$(abspath $(PTX)) $(PTX_CACHE) $(PYTHON) scripts/run_tests.py --only ptx
ptx_all:  ## the same for every head size
	@$(MAKE) --no-print-directory PTX_HEAD_SIZES= ptx
ptx_tsan:  ## the kernels of ptx under ThreadSanitizer
	@$(MAKE) --no-print-directory VARIANT=tsan build/ptx-tsan/run_kernel_tests
	$(PTX_CACHE) $(NO_ASLR) build/ptx-tsan/run_kernel_tests
endif
ptx_programs: $(PTX)/run_kernel_tests $(PTX)/train_gpt $(BUILD)/train_gpt_cpu
.PHONY: ptx ptx_all ptx_tsan ptx_programs

# ---- Programs
PTX_LINKED := $(PTX_LIBRARY:%=$(PTX)/%) $(KERNELS:%=$(PTX)/%) $(KERNELS:%=$(CUDA_BUILD)/%) \
  $(SIMT_RUNTIME:%=$(SIMT)/%) $(if $(filter tsan,$(VARIANT)),$(BUILD)/kernels/cpu/gemm.o)
$(PTX)/run_kernel_tests: $(PTX)/test/test_kernels.o $(PTX_TESTS:%=$(PTX)/%) $(PTX_SAMPLES:%=$(PTX)/%) \
  $(PTX_CASES) $(TEST_MAIN)
$(PTX)/run_kernel_tests: private LDLIBS += $(CATCH_LIBS)
$(PTX)/train_gpt: $(CUDA_BUILD)/train_gpt.o
$(PTX)/run_kernel_tests $(PTX)/train_gpt: $(PTX_LINKED) $(LIB)
	$(CXX) $(COMMON) $(PTX_SANITIZE) $(OPENMP) $(CXXFLAGS) -o $@ $(filter-out $(LIB),$^) $(LIB) $(MPI_LIBS) $(LDLIBS)

# ---- Objects
$(CUDA_BUILD)/%.ptx: $(CUDA_BUILD)/%.o
	@test -e $@ || { rm -f $<; $(MAKE) --no-print-directory $<; }  # it was taken away, the object was not
$(PTX)/%.cpp: $(CUDA_BUILD)/%.ptx $(TRANSLATE) $(PTX)/flags.txt
	@mkdir -p $(@D)
	$(PYTHON) test/ptx/translate.py $< --ptxas $(<:.ptx=.o.ptxas) $(PTX_HEAD_SIZES:%=--head-sizes %) --out $@
$(PTX)/%.cpp: %.ptx $(TRANSLATE)
	@mkdir -p $(@D)
	$(PYTHON) test/ptx/translate.py $< --out $@
$(KERNELS:%=$(PTX)/%) $(PTX_SAMPLES:%=$(PTX)/%): $(PTX)/%.o: $(PTX)/%.cpp $(PTX)/flags.txt
	$(CXX) $(PTX_FLAGS) $(PTX_SANITIZE) -O1 -w $(CXXFLAGS) -MMD -MP -c -o $@ $<
$(PTX)/%.o: %.cpp $(PTX)/flags.txt
	@mkdir -p $(@D)
	$(CXX) $(PTX_FLAGS) $(PTX_SANITIZE) -O2 $(LEVEL) $(CXXFLAGS) -DKNAPSACK_PTX -MMD -MP -c -o $@ $<
$(PTX)/test/test_kernels.o $(PTX_TESTS:%=$(PTX)/%): private LEVEL := -O0
$(PTX)/test/ptx/scalar.o: private PTX_FLAGS += -frounding-math
$(PTX)/flags.txt: WHAT = $(CXX) $(PTX_FLAGS) $(CXXFLAGS) $(PTX_HEAD_SIZES)
$(PTX)/flags.txt: FORCE
	@mkdir -p $(@D); echo '$(WHAT)' | cmp -s - $@ || echo '$(WHAT)' > $@
# nvcc leaves it next to the object; make would take it for its own, and away
.PRECIOUS: $(PTX)/%.cpp $(CUDA_BUILD)/%.ptx
-include $(shell find $(PTX) -name '*.d' 2>/dev/null)
