#!/usr/bin/env bash
# Pre-train a backbone: tools/pretrain.sh CONFIG [key=value ...]
#
# Examples:
#   tools/pretrain.sh configs/pretrain/mini.yaml
#   tools/pretrain.sh configs/pretrain/mini.yaml out=runs/order1 objective.order=1
#   tools/pretrain.sh configs/pretrain/mini.yaml --dry-run
# The same command resumes an interrupted run. Uses .venv when tools/setup.sh made one, else python3.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=.venv/bin/python
[ -x "$root/$python" ] || python=python3
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
[ $# -gt 0 ] || set -- --help
# Paths in recipes are relative to the checkout; a recipe given from elsewhere is made absolute.
[ "$PWD" = "$root" ] || [ ! -e "$1" ] || set -- "$(realpath "$1")" "${@:2}"
cd "$root"
exec "$python" -m pretrain "$@"
