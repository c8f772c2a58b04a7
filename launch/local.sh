#!/bin/sh
# One stage on all GPUs of this machine (JAX takes every one that it sees):
#
#   launch/local.sh head runs/head --config.data=PORTRAIT
#
# Fewer of them: CUDA_VISIBLE_DEVICES=0,1 launch/local.sh …
set -eu
stage=$1
workdir=$2
shift 2
exec emogene train --config "$stage" --workdir "$workdir" "$@"
