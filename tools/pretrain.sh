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
python=$root/.venv/bin/python
[ -x "$python" ] || python=python3
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
[ $# -gt 0 ] || set -- --help
exec "$python" -m pretrain "$@"
