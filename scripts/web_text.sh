# Sourced: where web text comes from when nobody names a file.

FINEWEB=HuggingFaceFW/fineweb-edu:sample-10BT
has_fineweb() {
    timeout 5 "$PYTHON" -c 'import urllib.request; urllib.request.urlopen("https://huggingface.co", timeout=4)' &&
        { "$PYTHON" -c 'import datasets' || timeout 120 "$PYTHON" -m pip install -q datasets; } &&
        timeout 60 "$PYTHON" -c 'import datasets, sys
name, config = sys.argv[1].split(":")
next(iter(datasets.load_dataset(name, config, split="train", streaming=True)))' "$FINEWEB"
}

# The documentation packages' POD and reStructuredText sources, below data/documentation.
unpack_documentation() {
    local folder=data/documentation.tmp name current package
    rm -rf "$folder"
    mkdir -p "$folder/packages"
    if ((EUID == 0)) && ! apt-cache show perl-doc >/dev/null 2>&1; then apt-get update -qq; fi
    for name in perl-doc python3-doc linux-doc; do  # the last two may only depend on the package of the current version
        current=$(apt-cache depends "$name" 2>/dev/null | sed -n 's/^ *Depends: *\(.*-doc.*\)$/\1/p')
        (cd "$folder/packages" && apt-get download -qq "${current:-$name}" 2>/dev/null) ||
            echo "$name: cannot be downloaded"
    done
    for package in "$folder"/packages/*.deb; do
        [[ -e $package ]] ||
            fail "no web text: apt-get could download none of the documentation packages; give WEB_TEXT=FILE"
        # tar says so when one of the patterns matches nothing: no package has all three
        dpkg-deb --fsys-tarfile "$package" |
            tar -x -C "$folder" --wildcards '*.pod' '*.rst.gz' '*.rst.txt' 2>/dev/null || true
    done
    rm -rf "$folder/packages" data/documentation
    mv "$folder" data/documentation
}

# web_text FOLDER BYTES: sets $web to what `knapsack text` takes: WEB_TEXT, FineWeb-Edu where there is a network, or up
# to BYTES of this distribution's English documentation as FOLDER/web.txt.
web_text() {
    if [[ -n ${WEB_TEXT:-} ]]; then
        [[ -r $WEB_TEXT ]] || fail "WEB_TEXT=$WEB_TEXT cannot be read"
        web=$WEB_TEXT
    elif has_fineweb >/dev/null 2>&1; then
        web=$FINEWEB
    else
        web=$1/web.txt
        if [[ -s $web ]]; then return; fi
        say "web text: English documentation of this distribution"
        [[ -d data/documentation ]] || unpack_documentation
        knapsack text prose data/documentation --out "$web" --max-bytes "$2"
    fi
}
