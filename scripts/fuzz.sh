#!/usr/bin/env bash
# One fuzz target, from the seeds in test/fuzz/corpus/NAME where there are any. What it finds is written to
# build/fuzz/found/ and fails the run.
set -euo pipefail
if [[ $# -lt 1 || $1 == --help ]]; then
    cat <<'TEXT'
usage: [FUZZ_SEED=N] [FUZZ_RUNS=N] scripts/fuzz.sh BINARY [SECONDS]

SECONDS (10) of inputs, or FUZZ_RUNS inputs: with a FUZZ_SEED the same ones on every machine.
make fuzz builds the targets and runs all of them.
TEXT
    exit 0
fi
binary=$1 seconds=${2:-10}
name=$(basename "$binary")
folder=$(dirname "$binary")
found=$folder/found
work=$folder/corpus/$name
log=$folder/$name.log
mkdir -p "$found" "$work"
limits=(-timeout=10 -rss_limit_mb=2048)
if [[ ${FUZZ_RUNS:-} ]]; then
    limits+=("-runs=$FUZZ_RUNS")
else
    limits+=("-max_total_time=$seconds")
fi
seeds=()
if [[ -d test/fuzz/corpus/$name ]]; then seeds=("test/fuzz/corpus/$name"); fi
SECONDS=0
if ! "$binary" "${limits[@]}" -seed="${FUZZ_SEED:-0}" -artifact_prefix="$found/$name-" -print_final_stats=1 \
    "$work" ${seeds[@]+"${seeds[@]}"} >"$log" 2>&1; then
    tail -n 60 "$log"
    echo "$name: found something; the input is in $found" >&2
    exit 1
fi
echo "$name: nothing found in $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") runs, $SECONDS s"
