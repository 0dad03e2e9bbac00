#!/usr/bin/env bash
# Where the GPU's time goes: a timeline by Nsight Systems, counters of every kernel by Nsight Compute, and a table of
# them.
. "$(dirname "$0")/lib.sh"
[[ -x $PYTHON ]] || PYTHON=python3  # the table needs no package
usage() {
    cat <<'TEXT'
usage: scripts/profile.sh [--out DIR] [--steps N] -- FLAGS OF train_gpt

  --out DIR    where the reports go (default: runs/profile)
  --steps N    steps on the timeline (default: 8); the counters are those of the third step

  scripts/profile.sh -- --model pythia-70m --micro-batch 16 --batch-tokens 32768 --source web=data/web.bin

Writes DIR/timeline.nsys-rep (open in Nsight Systems; the NVTX ranges are step, graph or forward, head and backward,
and update), DIR/kernels.ncu-rep (Nsight Compute, of a run with --cuda-graph off), DIR/kernels.csv and the table
DIR/kernels.txt: calls, time, bytes, flops and the share of the roof that each kernel reaches. The clocks are left as
they are (ncu --clock-control none).
Needs a GPU, nsys and ncu; where one of the two is missing, its half is skipped and said.
TEXT
}

out=runs/profile steps=8
while (($#)); do
    case $1 in
        --out) out=${2:?--out needs a folder}; shift ;;
        --steps) steps=${2:?--steps needs a number}; shift ;;
        --help) usage; exit 0 ;;
        --) shift; break ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done
(($#)) || { usage >&2; exit 2; }
((steps >= 4)) || {
    echo "error: --steps $steps: expected at least 4, the counters are those of the third" >&2
    exit 2
}
command -v nvidia-smi >/dev/null || { echo "error: no GPU here (nvidia-smi is missing)" >&2; exit 4; }
[[ -x train_gpt ]] || build train_gpt
mkdir -p "$out"

if command -v nsys >/dev/null; then
    say "timeline of $steps steps"
    nsys profile --force-overwrite true --trace cuda,nvtx --cuda-graph-trace node --output "$out/timeline" \
        ./train_gpt "$@" --steps "$steps"
else
    say "nsys is not installed: no timeline"
fi

if command -v ncu >/dev/null; then
    say "counters of the third step"
    metrics=gpu__time_duration.sum,dram__bytes.sum,dram__throughput.avg.pct_of_peak_sustained_elapsed
    metrics+=,sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_active
    metrics+=,smsp__sass_thread_inst_executed_op_ffma_pred_on.sum,launch__registers_per_thread
    metrics+=,sm__ops_path_tensor_src_bf16_dst_fp32.sum
    # the range's third instance: the first one chooses algorithms, the second one warms up
    ncu --clock-control none --force-overwrite --nvtx --nvtx-include 'step/' --range-filter '::3' \
        --metrics "$metrics" --export "$out/kernels" ./train_gpt "$@" --steps 4 --cuda-graph off
    ncu --import "$out/kernels.ncu-rep" --csv --page raw >"$out/kernels.csv"
    bandwidth=4.8e12
    if nvidia-smi --id=0 --query-gpu=name --format=csv,noheader | grep -q H100; then bandwidth=3.35e12; fi
    "$PYTHON" scripts/profile_table.py "$out/kernels.csv" --bandwidth "$bandwidth" | tee "$out/kernels.txt"
else
    say "ncu is not installed: no counters"
fi
