#!/usr/bin/env bash
# One fuzz target for some seconds, from the seeds in test/fuzz/corpus/NAME where there are any. What it finds is written to
# build/fuzz/found/ and fails the run.
set -euo pipefail
if [[ $# -lt 1 || $1 == --help ]]; then
    echo "usage: [FUZZ_SEED=N] scripts/fuzz.sh BINARY [SECONDS]    (make fuzz builds the binaries and runs all of them)"
    exit 0
fi
binary=$1 seconds=${2:-10}
name=$(basename "$binary")
found=$(dirname "$binary")/found
work=$(dirname "$binary")/corpus/$name
mkdir -p "$found" "$work"
seeds=()
if [[ -d test/fuzz/corpus/$name ]]; then seeds=("test/fuzz/corpus/$name"); fi
log=$(dirname "$binary")/$name.log
if ! "$binary" -max_total_time="$seconds" -seed="${FUZZ_SEED:-0}" -timeout=10 -rss_limit_mb=2048 -artifact_prefix="$found/$name-" -print_final_stats=1 \
    "$work" ${seeds[@]+"${seeds[@]}"} >"$log" 2>&1; then
    tail -n 60 "$log"
    echo "$name: found something; the input is in $found" >&2
    exit 1
fi
echo "$name: nothing found in $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") runs, $seconds s"
