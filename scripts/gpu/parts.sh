# Sourced by on_gpu.sh: its parts, a function each. A part prints its log, writes its tables to $out as it goes, and
# returns 0 passed, 77 skipped, 3 not done in time, anything else failed; a line 'skipped: WHAT: WHY' names what of it
# could not be run. KNAPSACK_LIMIT: the seconds that it has; resume: 1 where it goes on in its tables.

PARTS=(build tests parity bench peers sanitizer experiment others profile)  # by value
TIMED=(bench peers others profile)  # nothing else may use the GPU meanwhile
# Of each, in seconds: the most that it may take, and the least that it needs to find anything; and its share of what is
# left, in percent.
declare -A LIMITS=([build]=480 [tests]=300 [parity]=240 [bench]=300 [peers]=560 [sanitizer]=560 [experiment]=480
    [others]=480 [profile]=200)
declare -A NEEDS=([build]=30 [tests]=15 [parity]=30 [bench]=10 [peers]=25 [sanitizer]=45 [experiment]=30 [others]=10
    [profile]=40)
declare -A SHARES=([build]=70 [tests]=40 [parity]=35 [bench]=40 [peers]=65 [sanitizer]=50 [experiment]=50 [others]=100
    [profile]=100)
declare -A OUTPUTS=([tests]=tests.json [parity]='parity.json losses.csv' [bench]=bench.csv
    [peers]=peers.json [sanitizer]=sanitizer.json [experiment]='experiment.csv mixing.png'
    [others]='floors.txt others.csv' [profile]='kernels.txt kernels.csv')
# The CUDA programs that each runs.
declare -A PROGRAMS=([tests]='run_kernel_tests train_gpt eval_knowledge' [parity]='train_gpt write_logits'
    [bench]=bench_gpu [peers]=train_gpt [sanitizer]='run_kernel_tests train_gpt'
    [experiment]='train_gpt eval_knowledge' [others]=bench_gpu [profile]=train_gpt)

has_modules() { "$1" -c "import ${2}" >/dev/null 2>&1; }

# $PYTHON for our scripts, $torch for the peer: a machine with a GPU may have everything in its own Python and no .venv.
choose_pythons() {
    local python
    for python in "$PYTHON" python3 /usr/bin/python3; do
        if has_modules "$python" numpy,tokenizers; then PYTHON=$python; break; fi
    done
    [[ -x $PYTHON ]] || PYTHON=$(command -v "$PYTHON" || command -v python3)
    if [[ -z $torch ]]; then
        torch=$PYTHON
        for python in "$PYTHON" python3 /usr/bin/python3; do
            if has_modules "$python" torch; then torch=$python; break; fi
        done
    fi
}

# ---- build

pack_headers() {
    local folder=$1 header
    for header in catch2 CLI nlohmann; do
        [[ -d /usr/include/$header ]] ||
            fail "/usr/include/$header is not here; apt-get install catch2 libcli11-dev nlohmann-json3-dev"
    done
    mkdir -p "$folder"
    cp -r /usr/include/{catch2,CLI,nlohmann} "$folder/"
    echo '*' >"$folder/.gitignore"  # the folder ignores itself
    say "$folder has the headers, $(du -sh "$folder" | cut -f1)"
    say "make looks into third_party, or into KNAPSACK_INCLUDE=$folder"
}

# The headers that the compiler would not find, one a line. Of Catch2 version 2 or 3.
missing_headers() {
    local header folder flags=()
    for folder in ${KNAPSACK_INCLUDE:-third_party}; do flags+=(-isystem "$folder"); done
    for header in nlohmann/json.hpp CLI/CLI.hpp catch2/catch.hpp; do
        printf '#if !__has_include(<%s>) && !__has_include(<%s>)\n#error\n#endif\n' \
            "$header" "${header/%catch.hpp/catch_all.hpp}" |
            ${CXX:-g++} -std=c++17 -E -x c++ ${CPPFLAGS:-} "${flags[@]}" - >/dev/null 2>&1 || echo "$header"
    done
}

# Parts of CUDA that the toolkit's folder lacks and a Python package has: build/cuda-lib has links to them.
use_cuda_libraries() {
    [[ -d build/cuda-lib ]] || return 0
    export LIBRARY_PATH=$PWD/build/cuda-lib${LIBRARY_PATH:+:$LIBRARY_PATH}
    export LD_LIBRARY_PATH=$PWD/build/cuda-lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
}
# links_with FUNCTION LIBRARY: nvcc finds it, and the loader does
links_with() {
    local probe=build/cuda-probe code=0
    { echo "extern \"C\" int $1(); int main() { return $1(); }" | nvcc -x c++ - -o $probe "$2" &&
        ! ldd $probe | grep 'not found'; } >/dev/null 2>&1 || code=1
    rm -f $probe
    return $code
}
find_cuda_libraries() {
    local root packages library header
    root=$(cd "$(dirname "$(command -v nvcc)")/.." && pwd)
    packages=$("$torch" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])' 2>/dev/null)/nvidia
    for header in cublasLt.h nvtx3/nvToolsExt.h; do
        if ! echo "#include <$header>" | nvcc -x c++ -E - >/dev/null 2>&1; then
            header=$(find "$packages/" -path "*/include/$header" 2>/dev/null | head -1)
            [[ -z $header ]] || export KNAPSACK_INCLUDE="${KNAPSACK_INCLUDE:-third_party} ${header%/include/*}/include"
        fi
    done
    if ! links_with cublasLtGetVersion -lcublasLt; then
        library=$(find "$root/" "$packages/" -name 'libcublasLt.so.1[0-9]' 2>/dev/null | head -1)
        echo "cuBLASLt: neither nvcc nor the loader finds it; taken: ${library:-none}"
        if [[ $library ]]; then
            mkdir -p build/cuda-lib
            ln -sf "$library" build/cuda-lib/
            ln -sf "$library" build/cuda-lib/libcublasLt.so
        fi
    fi
    use_cuda_libraries
}

part_build() {
    local missing target=gpu part programs='' options=()
    for part in "${only[@]}"; do programs+=" ${PROGRAMS[$part]:-}"; done
    [[ $programs =~ [a-z] ]] || programs=${PROGRAMS[*]}  # build alone: all
    programs=$(tr ' ' '\n' <<<"$programs" | awk 'NF && !seen[$0]++' | tr '\n' ' ')
    command -v make >/dev/null || {
        echo "error: make is not installed"
        return 1
    }
    missing=$(missing_headers)
    if [[ $missing ]]; then
        echo "error: headers missing: ${missing//$'\n'/, }; on a machine that has them" \
            "scripts/on_gpu.sh --pack-headers third_party, and copy that folder here (or KNAPSACK_INCLUDE=DIR)"
        return 1
    fi
    if ! command -v nvcc >/dev/null && [[ ! -x /usr/local/cuda/bin/nvcc ]]; then
        if ((!dry)); then
            echo "error: nvcc is not on PATH: install the CUDA toolkit (12.4 or newer)"
            return 1
        fi
        echo "skipped: the CUDA programs on the CPU: nvcc's headers are not here"
        target=all
    elif ((dry)); then
        target=gpu_dry
        echo "skipped: nvcc's programs: they need a GPU to run; make check_kernels compiles them without one"
    else
        mkdir -p build
        PATH=$PATH:/usr/local/cuda/bin find_cuda_libraries
        # the parts need one process; a header without its library would end the build
        PATH=$PATH:/usr/local/cuda/bin links_with ncclGetVersion -lnccl || options=(NCCL=off)
    fi
    make --no-print-directory --keep-going --jobs="$jobs" COMMIT="$commit" "${options[@]}" GPU_PROGRAMS="$programs" \
        "$target"
}

# The folder of a part's CUDA programs: of nvcc's newest build, or of g++'s.
cuda_folder() {
    local newest=build/simt program
    if ((!dry)); then newest=$(ls -dt build/cuda-sm_*/ 2>/dev/null | head -1); fi
    cuda=${newest%/}
    for program in ${PROGRAMS[$1]}; do
        [[ -x $cuda/$program ]] || {
            echo "skipped: $program is not built; --only build"
            return 77
        }
    done
}

# ---- what is made once, next to the build and the tests

# Real text and biographies as scripts/quickstart.sh has them: $data/web, $data/synbio. One process makes them, others
# wait for it.
prepare_data() {
    data=$work/data
    mkdir -p "$data"
    exec 8>"$data/lock"
    flock 8
    [[ ! -e $data/READY ]] || return 0
    local people=80 vocabulary=2048 bytes=4M web=$text
    if ((dry)); then people=50 vocabulary=1024 bytes=400k; fi
    has_modules "$PYTHON" numpy,tokenizers,tqdm || {
        echo "skipped: no Python with numpy, tokenizers and tqdm to prepare data"
        return 77
    }
    if [[ -z $web ]]; then
        web=$data/web.txt
        knapsack text docstrings --out "$web" --max-bytes "$bytes" || return
    fi
    knapsack synbio --people "$people" --text-only 10 --out "$data/synbio" &&
        knapsack tokenizer "$web@3M" "$data/synbio.txt" --vocab-size "$vocabulary" --out "$data/tokenizer" &&
        knapsack text "$web" --tokenizer "$data/tokenizer" --out "$data/web" --val-fraction 0.02 --max-tokens 5M &&
        knapsack synbio --people "$people" --tokenizer "$data/tokenizer" --out "$data/synbio" && touch "$data/READY"
}
part_data() { prepare_data; }

# PyTorch's compiler keeps what it made; compile.json has what that took.
export TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-$PWD/build/inductor}
PEERS=(pythia-70m gpt2-124m pythia-14m llama-L30-C576-KV3)
part_compile() {
    "$PYTHON" dev/bench/against_peers.py --compile --torch "$torch" --shapes "${PEERS[@]}" --json "$out/compile.json"
}

# ---- the parts that need what is built

go_on() { ((!resume)) || echo "$1"; }

part_tests() {
    cuda_folder tests || return
    local sizes=()
    if ((dry)); then
        echo "skipped: kernel cases and whole runs on a GPU: there is none"
        sizes=(--rooms layernorm rotary matmul --runs evaluation refused)
    fi
    "$PYTHON" scripts/gpu/kernel_tests.py --cuda "$cuda" --out "$work/tests" --json "$out/tests.json" "${sizes[@]}" \
        --within $((KNAPSACK_LIMIT - 2)) $(go_on --go-on)
}

part_parity() {
    cuda_folder parity && prepare_data || return
    local cores
    cores=$(nproc)
    export OMP_NUM_THREADS=$((cores > 4 ? cores - 4 : cores))  # of the CPU's run: the GPU's are next to it
    # the second has every kernel of Llama's: groups of 4 queries, whole heads rotated, of Qwen3 the norms of q and k
    local sizes=(--models pythia-14m qwen3:L6:C128:H4:KV1:HS32:F344 --steps 100 --seq-len 256 --rows 4 --device cuda)
    if ((dry)); then
        sizes=(--models pythia:L2:C64:H2 qwen3:L2:C64:H4:KV2:HS16:F96 --steps 10 --seq-len 64 --rows 2 --device cpu)
    fi
    "$PYTHON" scripts/gpu/parity.py --cuda "$cuda" --out "$work/parity" --json "$out/parity.json" \
        --transformers "$torch" "${sizes[@]}" $(go_on --go-on) -- \
        --source "web=$data/web.bin" --source "synbio=$data/synbio.bin" --ratio synbio=0.3
}

# time_kernels FILE FILTER...: the timed cases that neither table has, into FILE
time_kernels() {
    local table=$out/$1
    shift
    "$cuda/bench_gpu" "$@" --check --done "$out/bench.csv" --done "$table" |
        "$PYTHON" scripts/gpu/bench_csv.py --out "$table" $(go_on --append)
}

# What the predictions hang on: attention, the weight gradients alone, the classifier.
part_bench() {
    cuda_folder bench || return
    if ((dry)); then
        echo "skipped: kernel times: they need a GPU"
        return 77
    fi
    time_kernels bench.csv attention 'no dinp' classifier
}

part_others() {
    cuda_folder others || return
    "$cuda/bench_gpu" --floors >"$out/floors.txt" || return
    if ((dry)); then
        echo "skipped: kernel times: they need a GPU; floors.txt has the least they could be"
        return
    fi
    time_kernels others.csv
}

part_peers() {
    local sizes=(--seconds 2 --threads "$(nproc)" --within $((KNAPSACK_LIMIT - 10)))
    ((KNAPSACK_LIMIT > 300)) || sizes+=(--rounds 2 --shapes "${PEERS[@]}")
    if ((dry)); then sizes=(--device cpu --seconds 0.2 --rounds 1); fi
    "$PYTHON" dev/bench/against_peers.py --torch "$torch" --json "$out/peers.json" "${sizes[@]}" $(go_on --go-on)
}

part_sanitizer() {
    if ((dry)); then
        echo "skipped: compute-sanitizer: it needs a GPU; make asan and make tsan run the same cases on the CPU"
        return 77
    fi
    cuda_folder sanitizer && prepare_data || return
    "$PYTHON" scripts/gpu/sanitizer.py --cuda "$cuda" --out "$work/sanitizer" --json "$out/sanitizer.json" \
        --tests "$out/tests.json" --within $((KNAPSACK_LIMIT - 2)) $(go_on --go-on) -- \
        --model pythia:L2:C64:H2 --steps 3 --seq-len 128 --batch-tokens 512 \
        --source "web=$data/web.bin" --source "synbio=$data/synbio.bin" --ratio synbio=0.3 \
        --val "web=$data/web_val.bin" --val-tokens 2k --questions "$data/synbio_questions" --questions-per-set 50 \
        --eval-at end
}

write_experiment() {
    local columns number
    columns=run,state,model,share/synbio,exposures/synbio,epochs/web,val/web/loss,perf/tokens_per_s
    for number in accuracy_seen accuracy_heldout accuracy_question chance bits most_bits; do
        columns+=,know/synbio/$number
    done
    knapsack runs "$work/experiment" --columns "$columns" --format csv >"$work/experiment.csv" &&
        mv "$work/experiment.csv" "$out/"
}

# The mixing curve of scripts/quickstart.sh, its ends first: whatever is done when the time is up, shows it.
part_experiment() {
    ((dry)) || cuda_folder experiment || return
    has_modules "$PYTHON" pandas,matplotlib || {
        echo "skipped: no Python with pandas and matplotlib for tables and figures"
        return 77
    }
    prepare_data || return
    local code=0 sweep programs=() ratios=synbio=0.05,synbio=0.45,synbio=0.2,synbio=0.1,synbio=0.3
    local flags=(--model pythia:L2:C64:H2 --tokens 4M --val-tokens 50k --questions-per-set 1000)
    if ((dry)); then
        ratios=synbio=0.1,synbio=0.4
        flags=(--model pythia:L2:C32:H2 --tokens 60k --val-tokens 5k --questions-per-set 100)
        programs=(--train-program train_gpt_cpu --eval-program eval_knowledge_cpu)
    fi
    timeout --kill-after=3 $((KNAPSACK_LIMIT > 12 ? KNAPSACK_LIMIT - 8 : 4)) "$PYTHON" -m knapsack sweep \
        --out "$work/experiment" --vary "ratio=$ratios" "${programs[@]}" -- "${flags[@]}" \
        --seq-len 128 --micro-batch 16 --batch-tokens 2048 --lr 3e-3 \
        --source "web=$data/web.bin" --source "synbio=$data/synbio.bin" --val "web=$data/web_val.bin" \
        --questions "$data/synbio_questions" --eval-at end &
    sweep=$!
    while kill -0 $sweep 2>/dev/null; do
        sleep 4
        write_experiment 2>/dev/null
    done
    wait $sweep || code=$?
    write_experiment || return 1
    knapsack plot mixing "$work/experiment" --source synbio --out "$work/mixing.png" && cp "$work/mixing.png" "$out/"
    ((code != 124)) || code=3
    return "$code"
}

part_profile() {
    if ((dry)); then
        echo "skipped: Nsight: it needs a GPU"
        return 77
    fi
    cuda_folder profile && prepare_data || return
    scripts/profile.sh --out "$work/profile" -- --model pythia-70m --seq-len 2048 --micro-batch 16 \
        --batch-tokens 32768 --source "web=$data/web.bin" || return
    if [[ ! -e $work/profile/kernels.txt ]]; then
        echo "skipped: counters of kernels: ncu is not installed"
        return 77
    fi
    cp "$work/profile/kernels.txt" "$work/profile/kernels.csv" "$out/"
}
