#!/usr/bin/env bash
# Starts the CUDA trainer as several processes by PyTorch's launcher, which needs no MPI.
. "$(dirname "$0")/../lib.sh"
. scripts/launch/launch.sh
usage() {
    cat <<TEXT
usage: scripts/launch/torchrun.sh OPTIONS OF TORCHRUN -- FLAGS OF THE TRAINER

  scripts/launch/torchrun.sh --nproc-per-node 8 -- --config run.toml --out runs/a --resume
  scripts/launch/torchrun.sh --nnodes 2 --node-rank 0 --master-addr HOST --master-port 29500 --nproc-per-node 8 -- ...

$ABOUT_PROGRAM
train_gpt_cpu needs MPI: start it with mpirun.sh. TORCHRUN=PROGRAM chooses the launcher (default: torchrun).

A signal reaches the processes as SIGTERM; torchrun kills them 30 s later unless --shutdown-timeout SECONDS among its
options gives a checkpoint more time.

Exit code: torchrun's, which is 1 whenever the program's is not 0; what the program said is above torchrun's own report.
TEXT
}
split_arguments "$@"
torchrun=${TORCHRUN:-torchrun}
command -v "$torchrun" >/dev/null || fail "no $torchrun: install PyTorch, or name it with TORCHRUN"
exec "$torchrun" "${options[@]}" --no-python "$program" "${flags[@]}"
