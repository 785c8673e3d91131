#!/usr/bin/env bash
# Pre-train a backbone: tools/pretrain.sh [torchrun options] CONFIG [key=value ...]
#
# Examples:
#   tools/pretrain.sh configs/pretrain/mini.yaml
#   tools/pretrain.sh configs/pretrain/mini.yaml out=runs/order1 objective.order=1
#   tools/pretrain.sh configs/pretrain/mini.yaml --dry-run
#   tools/pretrain.sh --nproc-per-node 8 configs/pretrain/imagenet_resnet50_100ep.yaml data.dir=...
#   tools/pretrain.sh --nnodes 4 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint "$HOST:29500" CONFIG
# What stands before CONFIG goes to torchrun. The same command resumes an interrupted run, on any number of
# processes. Uses .venv when tools/setup.sh made one, else python3.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=.venv/bin/python
[ -x "$root/$python" ] || python=python3
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
[ $# -gt 0 ] || set -- --help
launch=()
while [ $# -gt 0 ] && [[ "$1" != *.yaml && "$1" != *.yml && "$1" != --help && "$1" != -h ]]; do
    launch+=("$1")
    shift
done
[ $# -gt 0 ] || { echo "pretrain: no CONFIG (a .yaml file) among: ${launch[*]}" >&2; exit 2; }
# Paths in recipes are relative to the checkout; a recipe given from elsewhere is made absolute.
[ "$PWD" = "$root" ] || [ ! -e "$1" ] || set -- "$(realpath "$1")" "${@:2}"
cd "$root"
[ ${#launch[@]} -gt 0 ] || exec "$python" -m pretrain "$@"
# torchrun hands these to the processes, which save and end. Before torch 2.9 it has no such option, and only
# knows the first four.
if "$python" -m torch.distributed.run --help | grep -q -- --signals-to-handle; then
    launch=(--signals-to-handle SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1 "${launch[@]}")
fi
exec "$python" -m torch.distributed.run "${launch[@]}" -m pretrain "$@"
