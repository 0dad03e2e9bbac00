# What the launchers share: which program, and the arguments of two. Sourced after lib.sh, not run.
# shellcheck shell=bash disable=SC2034  # they are the launchers'
ABOUT_PROGRAM='The program is ./train_gpt where it is built, else ./train_gpt_cpu; PROGRAM=PATH chooses another. Paths
are relative to the root of the repository.'
program=${PROGRAM:-./train_gpt}
[[ ${PROGRAM:-} || -x $program ]] || program=./train_gpt_cpu

# OPTIONS -- FLAGS: two arrays.
split_arguments() {
    options=() flags=()
    while (($#)) && [[ $1 != -- ]]; do
        if [[ $1 == --help ]]; then usage; exit 0; fi
        options+=("$1")
        shift
    done
    if (($# == 0)); then
        echo "error: no -- between the launcher's options and the trainer's flags; see $0 --help" >&2
        exit 2
    fi
    flags=("${@:2}")
    [[ -x $program ]] || fail "$program is not there: run make"
}
