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

Exit code: the program's (75: stopped by a signal, go on with --resume).
TEXT
}
split_arguments "$@"
command -v mpirun >/dev/null || fail "no mpirun: install openmpi-bin"
[[ " ${options[*]}" == *\ -*bind-to* || " ${options[*]}" == *\ -*map-by* ]] || options=(--bind-to none "${options[@]}")

# shellcheck disable=SC2016  # expanded by each process
exec mpirun "${options[@]}" bash -c '
    cores=$(nproc)
    share=$((cores / ${OMPI_COMM_WORLD_LOCAL_SIZE:-1}))
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((share > 0 ? share : 1))}
    exec "$@"' process "$program" "${flags[@]}"
