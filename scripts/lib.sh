# What the scripts of this folder share: messages, packages, the Python environment. Sourced, not run.
# Every script works from the repository's root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PYTHON=.venv/bin/python

knapsack() { "$PYTHON" -m knapsack "$@"; }  # the Python package of this checkout
say() { printf '== %s\n' "$*"; }
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Installs those of the Debian packages named that are not there; as root, or through sudo.
install_packages() {
    command -v dpkg-query >/dev/null || {
        say "not a Debian or Ubuntu: please provide yourself what these packages hold: $*"
        return 0
    }
    local package missing=() as_root=()
    for package in "$@"; do
        [[ $(dpkg-query -W -f='${Status}' "$package" 2>/dev/null) == *' ok installed' ]] || missing+=("$package")
    done
    if ((${#missing[@]} == 0)); then return 0; fi
    if ((EUID != 0)); then
        if ! command -v sudo >/dev/null || ! { [[ -t 0 ]] || sudo -n true 2>/dev/null; }; then
            fail "these packages are missing, and installing them needs root: apt-get install ${missing[*]}"
        fi
        as_root=(sudo)
    fi
    say "installing ${missing[*]}"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# A local environment on top of the distribution's Python (numpy, scipy, pandas, matplotlib and tqdm are its), with what
# it does not package.
make_venv() {
    local modules='numpy, pandas, matplotlib, scipy, tokenizers, tqdm, zstandard'
    if [[ -x $PYTHON ]] && "$PYTHON" -c "import $modules" 2>/dev/null; then return 0; fi
    say "making .venv with the Python package tokenizers"
    /usr/bin/python3 -m venv --system-site-packages .venv
    local wanted=(tokenizers)
    "$PYTHON" -c 'import zstandard' 2>/dev/null || wanted+=(zstandard)
    "$PYTHON" -m pip install --quiet --disable-pip-version-check "${wanted[@]}" ||
        fail "pip could not install ${wanted[*]}; with no network, install them into .venv yourself"
}

setup_build() {
    install_packages g++ make git pkg-config nlohmann-json3-dev libcli11-dev
    install_packages libopenmpi-dev openmpi-bin
}
setup_python() {
    install_packages python3 python3-venv python3-numpy python3-scipy python3-pandas python3-matplotlib python3-tqdm
    make_venv
}
build() { make --no-print-directory --jobs="$(nproc)" "$@"; }
