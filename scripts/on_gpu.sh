#!/usr/bin/env bash
# Everything that is worth knowing on a machine with a GPU, by one command: builds, tests, measures, reports.
. "$(dirname "$0")/lib.sh"
. scripts/gpu/parts.sh
usage() {
    cat <<TEXT
usage: scripts/on_gpu.sh [--out DIR] [--only PART...] [--minutes M] [--text FILE] [--dry-run]
       scripts/on_gpu.sh --pack-headers DIR

  --out DIR           what each part found (default: runs/on_gpu, of a dry run runs/on_gpu_dry); large files: DIR/work
  --only PART...      some of: ${PARTS[*]}; in the order given
  --minutes M         ends within M minutes: parts get what is left, and are skipped where that is nothing
  --text FILE         web text as WEB_TEXT of scripts/quickstart.sh (default: prose from Python packages' docstrings)
  --torch PYTHON      a Python with torch and transformers (default: the one in use, else python3)
  --jobs N            compilations at a time (default: all cores)
  --dry-run           no GPU: the same parts at toy sizes on kernels/simt and the CPU programs, nothing measured
  --pack-headers DIR  copies the headers of Catch2, CLI11 and nlohmann-json from here to DIR, and leaves

A part that fails stops none of the others. Each has a limit below ten minutes, so that it fits into a command of ten
when asked for alone; three such commands do it all:
  scripts/on_gpu.sh --minutes 9 --only build tests parity bench
  scripts/on_gpu.sh --minutes 9 --only profile peers report
  scripts/on_gpu.sh --minutes 9 --only experiment sanitizer report
DIR then has status.tsv (a row a part that ran), environment.json, for each part PART.log and its table (parity.json,
sanitizer.json, bench.csv, peers.json, kernels.txt, experiment.csv, ...), and report.md out of all of them, fit for
dev/results/NAME. All but DIR/work is small: tar czf on_gpu.tgz --exclude=work DIR.

No network is needed. Of the packages that scripts/test.sh installs only the headers are: where they are missing,
--pack-headers third_party on a machine that has them fills a folder that git ignores and make looks into; copy it
along. Any other place: KNAPSACK_INCLUDE=DIR or CPPFLAGS=-IDIR. Without a .git folder KNAPSACK_COMMIT names the commit.

Exit code 0 when all parts asked for passed (with --dry-run: none failed), 1 when not, 2 usage, 4 no GPU.
TEXT
}
usage_error() {
    echo "error: $*; see scripts/on_gpu.sh --help" >&2
    exit 2
}

out='' only=() minutes='' text=${WEB_TEXT:-} torch='' jobs=$(nproc) dry=0 inside=''
while (($#)); do
    case $1 in
        --out) out=${2:?--out needs a folder}; shift ;;
        --only)
            while (($# > 1)) && [[ $2 != --* ]]; do only+=("$2"); shift; done
            ((${#only[@]})) || usage_error "--only needs the name of a part" ;;
        --minutes) minutes=${2:?--minutes needs a number}; shift ;;
        --text) text=${2:?--text needs a file}; shift ;;
        --torch) torch=${2:?--torch needs a Python}; shift ;;
        --jobs) jobs=${2:?--jobs needs a number}; shift ;;
        --dry-run) dry=1 ;;
        --pack-headers) pack_headers "${2:?--pack-headers needs a folder}"; exit 0 ;;
        --inside) inside=${2:?}; shift ;;  # one part, in this process: how the limits are kept
        --help) usage; exit 0 ;;
        *) usage_error "unknown argument $1" ;;
    esac
    shift
done
for part in "${only[@]}"; do
    [[ " ${PARTS[*]} " == *" $part "* ]] || usage_error "--only $part: expected some of ${PARTS[*]}"
done
[[ -z $minutes || $minutes =~ ^[0-9]+(\.[0-9]+)?$ ]] || usage_error "--minutes $minutes: expected a number"
[[ $jobs =~ ^[1-9][0-9]*$ ]] || usage_error "--jobs $jobs: expected a number"
[[ -z $text || -r $text ]] || usage_error "--text $text cannot be read"
((${#only[@]})) || only=("${PARTS[@]}")
[[ $out ]] || out=runs/on_gpu$( ((!dry)) || echo _dry)

gpu=$(nvidia-smi --id=0 --query-gpu=name --format=csv,noheader 2>/dev/null) || gpu=''
if ((!dry)) && [[ -z $gpu && ${only[*]} != report ]]; then
    echo "error: no GPU here (nvidia-smi names none); --dry-run does what can be done without one" >&2
    exit 4
fi
((!dry)) || gpu='none: dry run'
choose_pythons
use_cuda_libraries
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$out/work
commit=$(git describe --always --dirty --abbrev=12 --exclude '*' 2>/dev/null) || commit=${KNAPSACK_COMMIT:-unknown}

if [[ $inside ]]; then
    set +e  # a part says itself what of it failed
    "part_$inside"
    exit
fi

again=(--out "$out" --torch "$torch" --jobs "$jobs")
[[ -z $text ]] || again+=(--text "$text")
((!dry)) || again+=(--dry-run)
[[ ${only[*]} == report ]] || "$PYTHON" scripts/gpu/environment.py --commit "$commit" --torch "$torch" \
    --out "$out/environment.json" $( ((!dry)) || echo --dry-run)

# The seconds that a part may take now.
allowance() {
    local limit=${LIMITS[$1]} left
    if [[ $minutes && $1 != report ]]; then
        # the report takes the rest
        left=$(awk -v m="$minutes" -v s="$SECONDS" 'BEGIN { printf "%d", 60 * m - s - 15 }')
        ((left >= limit)) || limit=$left
    fi
    echo "$limit"
}

run_part() {
    local part=$1 file limit code=0 began=$SECONDS status reason='' word=error
    limit=$(allowance "$part")
    if ((limit < 15)); then  # what it left before stays
        code=77 limit=0 reason='no time was left'
    else
        say "$part (at most $limit s)"
        for file in ${OUTPUTS[$part]:-}; do rm -f "${out:?}/$file"; done  # of an earlier run
        KNAPSACK_LIMIT=$limit timeout --kill-after=20 "$limit" \
            scripts/on_gpu.sh "${again[@]}" --only "$part" --inside "$part" </dev/null >"$out/$part.log" 2>&1 || code=$?
        if ((code == 77)); then word=skipped; fi
        reason=$(grep -a "^$word: " "$out/$part.log" | tail -1 | tr '\t' ' ' | cut -c1-300) || true
    fi
    case $code in
        0) status=passed reason='' ;;
        77) status=skipped ;;
        124 | 137) status=failed reason="was over its limit of $limit s" ;;
        *) status=failed ;;
    esac
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$part" "$status" "$code" $((SECONDS - began)) "$limit" "$gpu" \
        "${reason#*: }" >>"$out/status.tsv"
    echo "   $part: $status in $((SECONDS - began)) s${reason:+ ($reason)}"
    [[ $status != failed ]] || tail -n 5 "$out/$part.log" | cut -c1-300 | sed 's/^/     /'
    [[ $status == passed ]] || { [[ $status == skipped ]] && ((dry)); }
}

failed=()
for part in "${only[@]}"; do
    run_part "$part" || failed+=("$part")
done
[[ " ${only[*]} " != *" report "* ]] || say "$out/report.md"
if ((${#failed[@]})); then
    say "not passed: ${failed[*]}"
    exit 1
fi
