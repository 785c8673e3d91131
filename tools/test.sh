#!/usr/bin/env bash
# Set up the environment, then lint, type-check and test. Arguments go to pytest.
set -euo pipefail

usage() {
    cat <<'HELP'
usage: bash tools/test.sh [--no-setup] [pytest arguments]

  --no-setup   use .venv as it is; needs no network
  -m slow      the tests that take minutes
  -k WORD      only tests whose name contains WORD

All three checks run even if one fails; the exit status is 0 only if all pass.
HELP
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
case ${1-} in
    --help | -h) usage; exit 0 ;;
    --no-setup)
        shift
        [[ -x .venv/bin/python ]] || { echo "test: no .venv here; run bash tools/setup.sh" >&2; exit 1; } ;;
    *) bash tools/setup.sh ;;
esac

failed=()
echo "ruff check"
.venv/bin/ruff check . || failed+=("ruff check")
echo "mypy"
.venv/bin/mypy || failed+=(mypy)
echo "pytest $*"
.venv/bin/python -m pytest "$@" || failed+=(pytest)
if ((${#failed[@]})); then
    printf 'test: failed: %s\n' "${failed[*]}" >&2
    exit 1
fi
