#!/usr/bin/env bash
# Starts the trainer as several processes by Open MPI. As root, mpirun wants OMPI_ALLOW_RUN_AS_ROOT=1 and
# OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 in the environment.
. "$(dirname "$0")/../lib.sh"
. scripts/launch/launch.sh
usage() {
    cat <<TEXT
usage: scripts/launch/mpirun.sh OPTIONS OF MPIRUN -- FLAGS OF THE TRAINER

  scripts/launch/mpirun.sh -np 8 -- --config run.toml --out runs/a --resume
  scripts/launch/mpirun.sh -np 16 --hostfile hosts -- --config run.toml --out runs/a --resume

$ABOUT_PROGRAM
Processes are bound to no core unless the options say so; those of a machine share its cores, each with
OMP_NUM_THREADS threads, or else an equal share.

SIGINT and SIGTERM stop the run with a checkpoint; a second one ends it at once.

Exit code: the program's (75: stopped by a signal, go on with --resume).
TEXT
}
split_arguments "$@"
command -v mpirun >/dev/null || fail "no mpirun: install openmpi-bin"
[[ " ${options[*]}" == *\ -*bind-to* || " ${options[*]}" == *\ -*map-by* ]] || options=(--bind-to none "${options[@]}")

# SIGINT, SIGTERM: mpirun kills all processes a second later, which is too soon for a checkpoint. SIGUSR1 it passes on,
# and that stops a run, too. A second signal is left to mpirun.
# shellcheck disable=SC2317  # reached by the trap
stop() {
    kill -s "$next_signal" "$launched" 2>/dev/null || true
    next_signal=TERM again=1
}
next_signal=USR1 again=1
set -m  # in a group of its own: a Ctrl-C comes here alone
# shellcheck disable=SC2016  # expanded by each process
mpirun "${options[@]}" bash -c '
    cores=$(nproc)
    share=$((cores / ${OMPI_COMM_WORLD_LOCAL_SIZE:-1}))
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((share > 0 ? share : 1))}
    exec "$@"' process "$program" "${flags[@]}" </dev/null &
launched=$!
trap stop INT TERM HUP
while ((again)); do
    again=0 code=0
    wait "$launched" || code=$?
done
exit "$code"
