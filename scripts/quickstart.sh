#!/usr/bin/env bash
# The main job, small: web text and synthetic biographies are mixed in several ratios, a GPT is trained on each mixture and asked
# what it knows; a table and a figure show how knowledge comes with the ratio.
. "$(dirname "$0")/lib.sh"
usage() {
    cat <<'TEXT'
usage: scripts/quickstart.sh [--smoke] [--out DIR]

  --smoke     the same path in under two minutes: a tiny model, few tokens, two ratios
  --out DIR   runs, table and figure (default: runs/quickstart; with --smoke runs/smoke)

Web text: WEB_TEXT=FILE (.txt with <|endoftext|> lines, .jsonl, either with .gz or .zst, .parquet) if set; else a sample of
FineWeb-Edu where there is a network; else the English documentation in the
distribution's packages perl-doc, python3-doc and linux-doc, unpacked into data/ and reduced to prose.
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

# People, tokens and ratios go together: about 98 tokens a biography, so the lowest ratio shows each fact fewer than 40 times,
# the highest more than 200 times.
if ((smoke)); then
    people=50 web_bytes=1M vocabulary=1024 model=pythia:L2:C32:H2 tokens=200k ratios=(0.1 0.4)
    out=${out:-runs/smoke}
else
    people=80 web_bytes=12M vocabulary=2048 model=pythia:L2:C64:H2 tokens=4M ratios=(0.05 0.1 0.2 0.3 0.45)
    out=${out:-runs/quickstart}
fi
data=data/quickstart-$people-$vocabulary

FINEWEB=HuggingFaceFW/fineweb-edu:sample-10BT
has_fineweb() {
    timeout 5 "$PYTHON" -c 'import urllib.request; urllib.request.urlopen("https://huggingface.co", timeout=4)' >/dev/null 2>&1 || return 1
    "$PYTHON" -c 'import datasets' 2>/dev/null || timeout 120 "$PYTHON" -m pip install -q datasets >/dev/null 2>&1 || return 1
    timeout 60 "$PYTHON" -c 'import datasets, sys; name, config = sys.argv[1].split(":"); next(iter(datasets.load_dataset(
        name, config, split="train", streaming=True)))' "$FINEWEB" >/dev/null 2>&1
}

# The documentation packages' POD and reStructuredText sources, below data/documentation.
unpack_documentation() {
    local folder=data/documentation.tmp name current package
    rm -rf "$folder"
    mkdir -p "$folder/packages"
    if ((EUID == 0)) && ! apt-cache show perl-doc >/dev/null 2>&1; then apt-get update -qq; fi
    for name in perl-doc python3-doc linux-doc; do  # the last two may only depend on the package of the current version
        current=$(apt-cache depends "$name" 2>/dev/null | sed -n 's/^ *Depends: *\(.*-doc.*\)$/\1/p')
        (cd "$folder/packages" && apt-get download -qq "${current:-$name}" 2>/dev/null) || echo "$name: cannot be downloaded"
    done
    for package in "$folder"/packages/*.deb; do
        [[ -e $package ]] || fail "no web text: apt-get could download none of the documentation packages; give WEB_TEXT=FILE"
        # tar says so when one of the patterns matches nothing: no package has all three
        dpkg-deb --fsys-tarfile "$package" | tar -x -C "$folder" --wildcards '*.pod' '*.rst.gz' '*.rst.txt' 2>/dev/null || true
    done
    rm -rf "$folder/packages" data/documentation
    mv "$folder" data/documentation
}

web_text() {  # sets $web to what prepare_text.py takes
    if [[ -n ${WEB_TEXT:-} ]]; then
        [[ -r $WEB_TEXT ]] || fail "WEB_TEXT=$WEB_TEXT cannot be read"
        web=$WEB_TEXT
    elif has_fineweb; then
        web=$FINEWEB
    else
        web=$data/web.txt
        if [[ -s $web ]]; then return; fi
        say "web text: English documentation of this distribution"
        [[ -d data/documentation ]] || unpack_documentation
        "$PYTHON" scripts/prose.py data/documentation --out "$web" --max-bytes "$web_bytes"
    fi
}

prepare() {
    mkdir -p "$data"
    web_text
    if [[ ! -e $data/READY || $(<"$data/READY") != "$web" ]]; then
        say "tokenizer of $vocabulary ids, trained on the mixture; token shards"
        "$PYTHON" dev/data/synbio.py --people "$people" --text-only 10 --out "$data/synbio"
        "$PYTHON" dev/data/train_tokenizer.py "$web@3M" "$data/synbio.txt" --vocab-size "$vocabulary" --out "$data/tokenizer"
        "$PYTHON" dev/data/prepare_text.py "$web" --tokenizer "$data/tokenizer" --out "$data/web" --val-fraction 0.02 --max-tokens 5M
        "$PYTHON" dev/data/synbio.py --people "$people" --tokenizer "$data/tokenizer" --out "$data/synbio"
        echo "$web" >"$data/READY"
    fi
}

setup_build
setup_python
say "building"
build all  # with a GPU the CUDA programs too; sweep.py takes them where they are
prepare

say "training $model on $tokens tokens at ${#ratios[@]} mixing ratios, results in $out"
ratio_list=$(printf ',synbio=%s' "${ratios[@]}")
columns=run,share/synbio,exposures/synbio,epochs/web,val/web/loss
for number in accuracy_seen accuracy_heldout accuracy_question chance bits most_bits; do columns+=,know/synbio/$number; done
"$PYTHON" scripts/sweep.py --out "$out" --vary "ratio=${ratio_list:1}" --columns "$columns" -- \
    --model "$model" --tokens "$tokens" --seq-len 128 --micro-batch 16 --batch-tokens 2048 --lr 3e-3 \
    --source "web=$data/web.bin" --source "synbio=$data/synbio.bin" \
    --val "web=$data/web_val.bin" --val-tokens 50k --questions "$data/synbio_questions" --questions-per-set 1000
"$PYTHON" scripts/plot_mixing.py "$out" --source synbio --out "$out/mixing.png"
say "$out/mixing.png shows it; $out/*/ are the runs (README.md says how to read them)"
