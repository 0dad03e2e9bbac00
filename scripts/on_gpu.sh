#!/usr/bin/env bash
# What is worth knowing on a machine with a GPU, most valuable first, by one command with a limit of time: builds,
# tests, measures, reports.
. "$(dirname "$0")/lib.sh"
. scripts/gpu/parts.sh
usage() {
    cat <<TEXT
usage: scripts/on_gpu.sh [--minutes M] [--continue] [--only PART...] [--out DIR] [--result DIR] [--dry-run]
       scripts/on_gpu.sh --pack-headers DIR

  --minutes M         ends within M minutes: each part gets its share of what is left, in the order of their value, and
                      what is left at the end goes to those that were cut off
  --continue          leaves out the parts that passed before; those that were cut off, or failed, go on where they
                      were: what has a verdict, good or bad, keeps it (without --continue a part begins anew)
  --only PART...      some of: ${PARTS[*]}; in the order given
  --out DIR           what each part found (default: runs/on_gpu, of a dry run runs/on_gpu_dry); large files: DIR/work
  --result DIR        a second place for report.md, report.json and their figure
  --text FILE         web text as WEB_TEXT of scripts/quickstart.sh (default: prose from Python packages' docstrings)
  --torch PYTHON      a Python with torch and transformers (default: the one in use, else python3)
  --jobs N            compilations at a time (default: all cores)
  --dry-run           no GPU: the same parts at toy sizes on kernels/simt and the CPU programs, nothing measured
  --pack-headers DIR  copies the headers of Catch2, CLI11 and nlohmann-json from here to DIR, and leaves

All that was found so far is in DIR/report.md, for people, and DIR/report.json: both are written anew, as a whole,
within two seconds of anything that a part finds, so that they are there whatever ends the command. What is missing is
named. A part that fails or is cut off stops none of the others.

A GPU that is lent for 15 minutes, of which one command may take 10 (a machine of 16 cores takes about one to build):
  scripts/on_gpu.sh --minutes 9.5 --result FOLDER_THAT_COMES_BACK
  scripts/on_gpu.sh --minutes 2.5 --continue --result FOLDER_THAT_COMES_BACK
DIR also has status.tsv, environment.json, and for each part PART.log and its table (tests.json, parity.json, bench.csv,
peers.json, sanitizer.json, experiment.csv, ...). All but DIR/work is small: tar czf on_gpu.tgz --exclude=work DIR.

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

out='' result='' only=() minutes='' continued=0 text=${WEB_TEXT:-} torch='' jobs=$(nproc) dry=0 inside='' resume=0
while (($#)); do
    case $1 in
        --out) (($# > 1)) || usage_error "--out needs a folder"; out=$2; shift ;;
        --result) (($# > 1)) || usage_error "--result needs a folder"; result=$2; shift ;;
        --only)
            while (($# > 1)) && [[ $2 != --* ]]; do only+=("$2"); shift; done
            ((${#only[@]})) || usage_error "--only needs the name of a part" ;;
        --minutes) (($# > 1)) || usage_error "--minutes needs a number"; minutes=$2; shift ;;
        --continue) continued=1 ;;
        --text) (($# > 1)) || usage_error "--text needs a file"; text=$2; shift ;;
        --torch) (($# > 1)) || usage_error "--torch needs a Python"; torch=$2; shift ;;
        --jobs) (($# > 1)) || usage_error "--jobs needs a number"; jobs=$2; shift ;;
        --dry-run) dry=1 ;;
        --pack-headers) (($# > 1)) || usage_error "--pack-headers needs a folder"; pack_headers "$2"; exit 0 ;;
        --inside) inside=${2:?}; shift ;;  # one part, in this process: how the limits are kept
        --resume) resume=1 ;;              # with --inside: the part was cut off, and goes on
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
if ((!dry)) && [[ -z $gpu ]]; then
    echo "error: no GPU here (nvidia-smi names none); --dry-run does what can be done without one" >&2
    exit 4
fi
((!dry)) || gpu='none: dry run'
mkdir -p "$out/work"
out=$(cd "$out" && pwd)
work=$out/work
commit=$(git describe --always --dirty --abbrev=12 --exclude '*' 2>/dev/null) || commit=${KNAPSACK_COMMIT:-unknown}

if [[ $inside ]]; then
    set +e  # a part says itself what of it failed
    choose_pythons
    use_cuda_libraries
    "part_$inside"
    exit
fi

# ---- which parts, and what is known of them

# part, status, code, seconds, limit, GPU, reason. The last row of a part counts; one with limit 0 (there was no time)
# only where there is no other.
status_row() { printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" "$5" "$gpu" "${6:-}" >>"$out/status.tsv"; }
status_of() {
    awk -F'\t' -v part="$1" '$1 == part && $5 > 0 { status = $2 } END { print status }' "$out/status.tsv"
}
todo=()
((!continued)) || [[ -e $out/status.tsv ]] || say "nothing to continue in $out: from the beginning"
touch "$out/status.tsv"
for part in "${only[@]}"; do
    # what is built is not built again, but make knows best what that is
    if ((continued)) && [[ $part != build && $(status_of "$part") == passed ]]; then continue; fi
    todo+=("$part")
done
declare -A now  # their status in this run
for part in "${todo[@]}"; do status_row "$part" 'not begun' - 0 0 'not begun'; done

choose_pythons
again=(--out "$out" --torch "$torch" --jobs "$jobs" --only "${todo[@]}")
[[ -z $text ]] || again+=(--text "$text")
((!dry)) || again+=(--dry-run)

# ---- processes: the report's, those aside, and the part's

: >"$work/processes"
"$PYTHON" scripts/gpu/watch.py "$out" $$ ${result:+--result "$result"} </dev/null >"$work/watch.log" 2>&1 &
watch=$!
running=() nice=()
declare -A aside
finish() {  # whatever is left ends; the last report
    for process in "${running[@]}" "${aside[@]}"; do kill "$process" 2>/dev/null || true; done
    kill "$watch" 2>/dev/null || true
    wait "$watch" || true
}
trap finish EXIT
trap 'exit 143' TERM
trap 'exit 130' INT
"$PYTHON" scripts/gpu/environment.py --commit "$commit" --torch "$torch" --out "$out/environment.json" \
    $( ((!dry)) || echo --dry-run)

# start SECONDS NAME [--resume]: a process group of its own, which the limit ends as a whole
start() {
    local limit=$1 name=$2
    shift 2
    KNAPSACK_LIMIT=$limit "${nice[@]}" timeout --kill-after=4 "$limit" \
        scripts/on_gpu.sh "${again[@]}" --inside "$name" "$@" </dev/null >>"$out/$name.log" 2>&1 &
    echo $! >>"$work/processes"
}
start_aside() {  # NAME: next to the parts, with what they leave of the cores
    rm -f "$out/$1.log" "$out/$1.json"
    nice=(nice -n 5)
    start 3600 "$1"
    aside[$1]=$! nice=()
}

# ---- time

left() { awk -v m="$minutes" -v s="$SECONDS" 'BEGIN { printf "%d", 60 * m - s - 7 }'; }  # 7: to end a part, to report
# The seconds that a part may take now: its share of what is left, at least what it needs to find anything, and at most
# its limit; 0 where there is not even that.
allowance() {
    local limit=${LIMITS[$1]} share need=${NEEDS[$1]}
    ((!dry)) || need=2
    if [[ $minutes ]]; then
        share=$(($(left) * SHARES[$1] / 100))
        ((share >= need)) || share=$need
        ((share <= $(left))) || share=0
        ((share >= limit)) || limit=$share
    fi
    echo "$limit"
}

# run_part PART [--resume]
run_part() {
    local part=$1 limit code=0 began=$SECONDS status reason='' word=error
    limit=$(allowance "$part")
    shift
    if ((limit == 0)); then  # what it left before stays
        [[ $* == *--resume* ]] || status_row "$part" skipped 77 0 0 'no time was left'
        echo "   $part: no time was left"
        return 1
    fi
    # what is timed has the GPU for itself
    if [[ " ${TIMED[*]} " == *" $part "* && ${aside[compile]:-} ]]; then
        kill "${aside[compile]}" 2>/dev/null || true
    fi
    say "$part${*:+, which goes on} (at most $limit s)"
    if [[ $* != *--resume* ]]; then
        for file in ${OUTPUTS[$part]:-} "$part.log"; do rm -f "${out:?}/$file"; done  # of an earlier run
    fi
    status_row "$part" running - 0 "$limit" "began at $(date +%T)"
    start "$limit" "$part" "$@"
    running=($!)
    wait "${running[0]}" || code=$?
    running=()
    case $code in
        0) status=passed ;;
        77) status=skipped word=skipped ;;
        3 | 124 | 137) status='cut off' ;;
        *) status=failed ;;
    esac
    reason=$(sed -n "s/^$word: //p" "$out/$part.log" | tail -1 | tr '\t' ' ' | cut -c1-300)
    case $status in
        passed) reason='' ;;
        'cut off') reason="had $limit s" ;;
    esac
    now[$part]=$status
    status_row "$part" "$status" "$code" $((SECONDS - began)) "$limit" "$reason"
    echo "   $part: $status in $((SECONDS - began)) s${reason:+ ($reason)}"
    [[ $status != failed ]] || tail -n 5 "$out/$part.log" | cut -c1-300 | sed 's/^/     /'
}

if [[ " ${todo[*]} " =~ \ (parity|sanitizer|experiment|profile)\  ]]; then start_aside data; fi
if [[ " ${todo[*]} " == *' peers '* ]] && ((!dry)); then start_aside compile; fi
# The time that is left goes to the parts that were cut off, by their value.
go_on() {
    local part
    for part in "${todo[@]}"; do
        if [[ $minutes && $part != build && ${now[$part]:-} == 'cut off' ]] && (($(left) >= NEEDS[$part])); then
            run_part "$part" --resume || true
        fi
    done
}
for part in "${todo[@]}"; do
    mode=''
    if ((continued)) && [[ $(status_of "$part") == @('cut off'|failed|running) ]]; then mode=--resume; fi
    if [[ $part == others ]]; then go_on; fi  # the rest is of less value
    run_part "$part" $mode || true
done
go_on

missing=()
for part in "${todo[@]}"; do
    case ${now[$part]:-} in
        passed) ;;
        failed) missing+=("$part") ;;
        *) ((dry)) || missing+=("$part") ;;
    esac
done
finish
trap - EXIT
say "$out/report.md"
if ((${#missing[@]})); then
    say "not passed: ${missing[*]}"
    exit 1
fi
