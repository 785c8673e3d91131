#!/usr/bin/env bash
# Set up, pre-train if no backbone is given, evaluate on every task, write the tables.
#
#   bash tools/eval_all.sh                                  the bundled set, end to end, CPU only
#   bash tools/eval_all.sh --backbone checkpoint_0099.pth.tar --seeds 0,1,2
#   bash tools/eval_all.sh --suite configs/suite/small.yaml --only sot --dry-run
#   bash tools/eval_all.sh --status                         what has become of each job, while it runs or after
#   bash tools/eval_all.sh --suite configs/suite/paper.yaml --backbone F --executor slurm --partition gpu
#
# Finished work is skipped. Exit status 0 when everything is done, 1 when a task failed or was interrupted
# (its cells in the tables then say why), 2 for unusable input. All options but --suite go to
# `python -m transfer.suite`; --help-all prints them.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
suite=configs/suite/mini.yaml
arguments=()
setup=true  # the status of a grid must not wait for it
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
        --help-all) arguments=(--help); setup=false; shift; break ;;
        --suite) suite=${2:?--suite needs a file}; shift 2 ;;
        --status) setup=false; arguments+=("$1"); shift ;;
        *) arguments+=("$1"); shift ;;
    esac
done
# Paths in configurations are relative to the checkout; those given from elsewhere are made absolute.
if [ "$PWD" != "$root" ]; then
    for i in "${!arguments[@]}"; do
        [ ! -e "${arguments[i]}" ] || arguments[i]=$(realpath -- "${arguments[i]}")
    done
    [ ! -e "$suite" ] || suite=$(realpath -- "$suite")
fi
cd "$root"
if $setup; then
    bash tools/setup.sh
elif [ ! -x .venv/bin/python ]; then
    echo "eval_all: no .venv here, so nothing was started; bash tools/setup.sh makes it" >&2
    exit 2
fi
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec .venv/bin/python -m transfer.suite "$suite" ${arguments[@]+"${arguments[@]}"}
