#!/bin/sh
#SBATCH --job-name=emogene
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
#
# One stage on several hosts, one process a host:
#
#   sbatch --nodes=4 launch/slurm.sh audio_to_motion runs/a2m --config.data=RECORDS
#
# Work directory and data lie on a file system that all hosts share. The training finds
# the other hosts through SLURM's own variables (jax.distributed.initialize), and goes on
# from its last checkpoint when the job is requeued.
set -eu
stage=$1
workdir=$2
shift 2
exec srun --kill-on-bad-exit=1 env EMOGENE_DISTRIBUTED=1 \
    emogene train --config "$stage" --workdir "$workdir" "$@"
