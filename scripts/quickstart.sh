#!/usr/bin/env bash
# The main job, small: web text and synthetic biographies are mixed in several ratios, a GPT is trained on each mixture
# and asked what it knows; a table and a figure show how knowledge comes with the ratio.
. "$(dirname "$0")/lib.sh"
. scripts/web_text.sh
usage() {
    cat <<'TEXT'
usage: scripts/quickstart.sh [--smoke] [--out DIR]

  --smoke     the same path in under two minutes: a tiny model, few tokens, two ratios
  --out DIR   runs, table and figure (default: runs/quickstart; with --smoke runs/smoke)

Web text: WEB_TEXT=FILE (.txt with <|endoftext|> lines, .jsonl, either with .gz or .zst, .parquet) if set; else a
sample of FineWeb-Edu where there is a network; else the English documentation in the distribution's packages perl-doc,
python3-doc and linux-doc, unpacked into data/ and reduced to prose.
A second call goes on where the first one stopped. Needs Debian or Ubuntu; about 10 minutes on two cores.
TEXT
}

smoke=0 out=
while (($#)); do
    case $1 in
        --smoke) smoke=1 ;;
        --out) out=${2:?--out needs a folder}; shift ;;
        --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done

# People, tokens and ratios go together: about 98 tokens a biography, so the lowest ratio shows each fact fewer than 40
# times, the highest more than 200 times.
if ((smoke)); then
    people=50 web_bytes=1M vocabulary=1024 model=pythia:L2:C32:H2 tokens=200k ratios=(0.1 0.4)
    out=${out:-runs/smoke}
else
    people=80 web_bytes=12M vocabulary=2048 model=pythia:L2:C64:H2 tokens=4M ratios=(0.05 0.1 0.2 0.3 0.45)
    out=${out:-runs/quickstart}
fi
data=data/quickstart-$people-$vocabulary

prepare() {
    mkdir -p "$data"
    web_text "$data" "$web_bytes"
    if [[ ! -e $data/READY || $(<"$data/READY") != "$web" ]]; then
        say "tokenizer of $vocabulary ids, trained on the mixture; token shards"
        knapsack synbio --people "$people" --text-only 10 --out "$data/synbio"
        knapsack tokenizer "$web@3M" "$data/synbio.txt" --vocab-size "$vocabulary" --out "$data/tokenizer"
        knapsack text "$web" --tokenizer "$data/tokenizer" --out "$data/web" --val-fraction 0.02 --max-tokens 5M
        knapsack synbio --people "$people" --tokenizer "$data/tokenizer" --out "$data/synbio"
        echo "$web" >"$data/READY"
    fi
}

setup_build
setup_python
say "building"
build all  # with a GPU the CUDA programs too; `knapsack sweep` takes them where they are
prepare

say "training $model on $tokens tokens at ${#ratios[@]} mixing ratios, results in $out"
ratio_list=$(printf ',synbio=%s' "${ratios[@]}")
columns=run,share/synbio,exposures/synbio,epochs/web,val/web/loss
for number in accuracy_seen accuracy_heldout accuracy_question chance bits most_bits; do
    columns+=,know/synbio/$number
done
knapsack sweep --out "$out" --vary "ratio=${ratio_list:1}" --columns "$columns" -- \
    --model "$model" --tokens "$tokens" --seq-len 128 --micro-batch 16 --batch-tokens 2048 --lr 3e-3 \
    --source "web=$data/web.bin" --source "synbio=$data/synbio.bin" \
    --val "web=$data/web_val.bin" --val-tokens 50k --questions "$data/synbio_questions" --questions-per-set 1000
knapsack plot mixing "$out" --source synbio --out "$out/mixing.png"
say "$out/mixing.png shows it; $out/*/ are the runs (README.md says how to read them)"
