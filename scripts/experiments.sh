#!/usr/bin/env bash
# The experiments of dev/experiments at CPU scale, one instrument each; dev/results has what came out, and how to read
# it.
. "$(dirname "$0")/lib.sh"
. scripts/web_text.sh
names=()
for file in dev/experiments/*.json; do names+=("$(basename "$file" .json)"); done
usage() {
    cat <<TEXT
usage: scripts/experiments.sh NAME...

Prepares data/experiments (once), runs the grids dev/experiments/NAME.json one after the other into
runs/experiments/NAME, and prints their tables. Finished runs are skipped, others resumed. Names: ${names[*]}.
Each takes 5 to 40 minutes on two cores. Web text: WEB_TEXT=FILE, else as scripts/quickstart.sh takes it; ours is 75 MB
of English Wikipedia.
TEXT
}
[[ ${1:-} == --help ]] && { usage; exit 0; }
(($#)) || { usage >&2; exit 2; }
for name in "$@"; do [[ -r dev/experiments/$name.json ]] || fail "no experiment $name; there are ${names[*]}"; done

data=data/experiments
synbio() { knapsack synbio --tokenizer "$data/tokenizer" --out "$data/$@"; }
prepare() {
    mkdir -p "$data"
    web_text "$data" 75M
    local from
    from="$web, facts $(cat knapsack/facts/{sample,relations}.tsv | sha256sum | cut -c1-12)"
    [[ -e $data/READY && $(<"$data/READY") == "$from" ]] && return
    say "tokenizer of 2048 ids, web text, people, facts"
    knapsack synbio --people 320 --text-only 10 --out "$data/people"
    knapsack tokenizer "$web@6M" "$data/people.txt" --vocab-size 2048 --out "$data/tokenizer"
    knapsack text "$web" --tokenizer "$data/tokenizer" --out "$data/web" --val-fraction 0.02
    synbio bio80 --people 80 --qa 0.5 --compact
    synbio bio320 --people 320
    synbio shuffled80 --people 80 --shuffled
    synbio power320 --people 320 --groups powerlaw:1:16
    local m
    for m in 1 2 5 20 50; do synbio "m$m" --people 80 --templates "$m"; done
    knapsack facts write knapsack/facts/sample.tsv --tokenizer "$data/tokenizer" --out "$data/wd" \
        --infused 400 --once 50 --early 100 --control 150
    echo "$from" >"$data/READY"
}

setup_build
setup_python
say "building"
build all
prepare
for name in "$@"; do
    about=$("$PYTHON" -c 'import json, sys; print(json.load(open(sys.argv[1]))["about"])' "dev/experiments/$name.json")
    say "$name: $about"
    knapsack sweep --grid "dev/experiments/$name.json" --out "runs/experiments/$name"
done
