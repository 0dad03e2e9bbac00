#!/usr/bin/env bash
# Installs what is missing, builds, and runs all tests.
. "$(dirname "$0")/lib.sh"
if [[ ${1:-} == --help ]]; then
    cat <<'TEXT'
usage: scripts/test.sh

Installs what is missing (apt as root or through sudo, .venv), builds, runs all tests; the last line is
'N passed, M failed, K skipped'.
TEXT
    exit 0
fi
[[ $# -eq 0 ]] || { echo "scripts/test.sh takes no arguments; see --help" >&2; exit 2; }

setup_build
install_packages catch2 zstd
say "building"
(exec make --no-print-directory --jobs="$(nproc)" tests) &  # while Python's packages come over the network
building=$!
trap 'kill "$building" 2>/dev/null || true' EXIT
setup_python
# what the style check and `make sass` ask; they leave out what they lack, and say so
install_pinned() {
    local pinned
    mapfile -t pinned < <(grep -oE "($1)==[0-9.]+" pyproject.toml)
    "$PYTHON" -m pip install --quiet --disable-pip-version-check "${pinned[@]}" ||
        say "cannot be installed: ${pinned[*]}"
}
install_pinned 'ruff|clang-format'
install_pinned 'nvidia-cuda-[a-z]+'
wait "$building"
"$PYTHON" scripts/run_tests.py
