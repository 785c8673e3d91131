#!/usr/bin/env bash
# Set up, pre-train if no backbone is given, evaluate on every task, write the tables.
#
#   bash tools/eval_all.sh                                  the bundled set, end to end, CPU only
#   bash tools/eval_all.sh --backbone checkpoint_0099.pth.tar --seeds 0,1,2
#   bash tools/eval_all.sh --suite configs/suite/mini.yaml --only detect --dry-run
#
# Finished work is skipped. Exit status 0 when everything is done, 1 when a task failed: its cells in
# the tables then say why. Options after --suite go to `python -m transfer.suite` (see its --help).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
suite=configs/suite/mini.yaml
out=
arguments=()
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
        --suite) suite=$2; shift 2 ;;
        --out) out=$2; shift 2 ;;
        *) arguments+=("$1"); shift ;;
    esac
done
[ -n "$out" ] || out=runs/$(basename "$suite" .yaml)
bash tools/setup.sh
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
status=0
.venv/bin/python -m transfer.suite "$suite" --out "$out" ${arguments[@]+"${arguments[@]}"} || status=$?
[ "$status" -lt 2 ] || exit "$status"
if [ -n "$(find "$out" -name results.csv -print -quit 2>/dev/null)" ]; then
    .venv/bin/python tools/make_tables.py --measured "$out" --out "$out/tables"
fi
exit "$status"
