#!/usr/bin/env bash
# Make .venv: CPython 3.10 with PyTorch, detectron2 and mmtrack in one environment, exactly as locked
# in locks/, and prove that it works. Safe to interrupt and to run again; says so when nothing is to do.
set -euo pipefail

usage() {
    cat <<'HELP'
usage: bash tools/setup.sh [--check | --prove] [--python PATH]

  --check        only say whether .venv is complete (status 1 if not); change nothing
  --prove        run the whole proof again even if nothing changed
  --python PATH  the CPython 3.10 to use (default: PATH, then pyenv, then uv)

Environment variables
  MEC_TRANSFER_CACHE         where compiled wheels are kept (default: ~/.cache/mec-transfer)
  MEC_TRANSFER_FREE_GB       free disk space to ask for before installing (default: 12)
  MAX_JOBS                   parallel compilations of mmcv-full (default: number of cores)
  FORCE_CUDA=1               compile mmcv-full's CUDA operators too (needs nvcc; default: CPU only)

Needs Linux on x86-64, CPython 3.10 with headers, a C++ compiler, a package index, and about 6 GB.
HELP
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
python=$venv/bin/python
stamp=$venv/.setup-complete      # what was installed; written last, so it means "proved"
unfinished=$venv/.setup-running  # its presence means that an installation was cut short

say() { printf '[%4d s] %s\n' "$SECONDS" "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

check_only=false
full_proof=false
wanted_python=
while (($#)); do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --check) check_only=true; shift ;;
        --prove) full_proof=true; shift ;;
        --python) wanted_python=${2-}; [[ $wanted_python ]] || die "--python needs a path"; shift 2 ;;
        *) usage >&2; die "unknown argument $1" ;;
    esac
done

# ------------------------------------------------------------------------------------------- checks

# Prints the real path of the interpreter if it is a CPython 3.10 with pip's bootstrap; else its fault.
examine_python() {
    "$1" - <<'PYTHON' 2>/dev/null
import sys
if sys.implementation.name != "cpython" or sys.version_info[:2] != (3, 10):
    sys.exit(print(f"is {sys.implementation.name} {sys.version.split()[0]}") or 3)
try:
    import ensurepip, ssl, venv
except ImportError as error:
    sys.exit(print(f"lacks {error.name} (Debian and Ubuntu: install python3.10-venv)") or 3)
print(sys.executable)
PYTHON
}

find_python() {
    local candidate found
    if [[ $wanted_python ]]; then
        found=$(examine_python "$wanted_python") \
            || die "--python $wanted_python ${found:-does not run}; CPython 3.10 is needed"
        printf '%s' "$found"
        return
    fi
    for candidate in python3.10 python3 python "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.10*/bin/python; do
        if found=$(examine_python "$candidate"); then printf '%s' "$found"; return; fi
    done
    if command -v uv >/dev/null; then
        candidate=$(uv python find 3.10 2>/dev/null) \
            || { uv python install 3.10 >&2 && candidate=$(uv python find 3.10); } || candidate=
        if [[ $candidate ]] && found=$(examine_python "$candidate"); then printf '%s' "$found"; return; fi
    fi
    die "no CPython 3.10 on PATH, in pyenv or through uv; get it with 'uv python install 3.10'," \
        "'pyenv install 3.10' or 'apt-get install python3.10-venv python3.10-dev', then run this again"
}

check_disk() {
    local place=$1 wanted=${MEC_TRANSFER_FREE_GB:-12} free
    while [[ ! -d $place ]]; do place=$(dirname "$place"); done
    free=$(($(df -Pk "$place" | awk 'NR == 2 {print $4}') / 1000000))
    ((free >= wanted)) || die "$place has $free GB free, $wanted GB are needed; free some space, or set" \
        "MEC_TRANSFER_FREE_GB if you know better"
}

check_compiler() {
    local cxx=${CXX:-c++} include
    command -v "$cxx" >/dev/null || cxx=g++
    command -v "$cxx" >/dev/null || die "no C++ compiler (tried ${CXX:-c++} and g++), and mmcv-full must be" \
        "compiled; Debian and Ubuntu: apt-get install build-essential"
    include=$("$1" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    [[ -f $include/Python.h ]] || die "$include/Python.h is missing, and mmcv-full must be compiled;" \
        "Debian and Ubuntu: apt-get install python3.10-dev"
}

# ------------------------------------------------------------------------------------------- steps

make_venv() {
    if [[ -x $python ]] && "$python" -m pip --version >/dev/null 2>&1; then
        local fault
        fault=$(examine_python "$python") \
            || die "$venv $fault and is not ours to replace; move it away and run this again"
        return
    fi
    if [[ -e $venv && ! -f $venv/pyvenv.cfg && $(ls -A "$venv") ]]; then
        die "$venv exists and is no virtual environment; move it away and run this again"
    fi
    say "making .venv with $base_python"
    "$base_python" -m venv --clear "$venv"
}

install_lock() {
    local options=(--no-deps --require-hashes --python "$python" -r "$root/locks/requirements.txt")
    # A package that was being copied when an earlier run was cut short can look installed.
    if [[ -e $unfinished ]]; then
        options+=(--reinstall)
        rm -rf "$venv"/lib/python3.10/site-packages/~*  # what pip had set aside
    fi
    touch "$unfinished"
    say "installing the installer (locks/uv.txt)"
    "$python" -m pip install --quiet --no-deps --require-hashes -r "$root/locks/uv.txt"
    say "installing $(grep -c '==' "$root/locks/requirements.txt") packages (locks/requirements.txt)"
    # uv does not read pip's settings; a mirror named there is meant for us, too.
    if [[ -z ${UV_DEFAULT_INDEX-}${UV_INDEX_URL-} ]]; then
        local index
        index=$("$python" -m pip config list | sed -n "s/^[^=]*\.index-url='\(.*\)'$/\1/p" | tail -n 1)
        [[ -z $index ]] || export UV_DEFAULT_INDEX=$index
    fi
    [[ -t 2 ]] || options+=(--quiet)
    # Compiled once here, or, where bytecode is not kept, in every process again: four seconds each.
    "$venv/bin/uv" pip install --compile-bytecode "${options[@]}"
}

install_mmcv() {
    # With build isolation the operators are left out silently, and uv's cache would hand back a wheel
    # compiled against another torch: so pip, no isolation, and a cache of our own keyed by torch.
    local key folder wheel jobs
    key=$("$python" - <<'PYTHON'
import sys, sysconfig
import torch  # its metadata does not tell a CUDA build from a CPU build, its version does
print(f"torch-{torch.__version__}-cp{sys.version_info[0]}{sys.version_info[1]}-{sysconfig.get_platform()}")
PYTHON
    )
    [[ ${FORCE_CUDA-} == 1 ]] && key+=-cuda
    folder=$cache/wheels/$key
    wheel=$folder/$mmcv_wheel
    if [[ ! -f $wheel ]]; then
        check_compiler "$python"
        jobs=${MAX_JOBS:-$(nproc)}
        say "compiling mmcv-full with its operators, $jobs at a time (once per torch version; 4 to 8 minutes)"
        mkdir -p "$folder"
        scratch=$(mktemp -d "$folder/.building.XXXXXX")
        # Without the lock's descriptor and with its own output closed, the sleep can outlive us harmlessly.
        (while sleep 30 >/dev/null 2>&1 && kill -0 $$; do say "  $(progress "$scratch/build.log")"; done) 9<&- &
        heartbeat=$!
        (
            # With a GPU in sight mmcv would ask for nvcc; only FORCE_CUDA=1 asks for that.
            [[ ${FORCE_CUDA-} == 1 ]] || export CUDA_VISIBLE_DEVICES=
            export MMCV_WITH_OPS=1 MAX_JOBS=$jobs CFLAGS="${CFLAGS--g0 -O2}" PATH="$venv/bin:$PATH"
            "$python" -m pip wheel --verbose --no-build-isolation --no-deps --no-cache-dir --require-hashes \
                -r "$root/locks/mmcv.txt" -w "$scratch"
        ) >"$scratch/build.log" 2>&1 || {
            mv "$scratch/build.log" "$folder/build-failed.log"
            tail -n 15 "$folder/build-failed.log" >&2
            die "mmcv-full did not compile; the whole log is $folder/build-failed.log"
        }
        stop_heartbeat
        [[ -f $scratch/$mmcv_wheel ]] || die "expected $mmcv_wheel, pip built $(ls "$scratch")"
        mv "$scratch/$mmcv_wheel" "$wheel"
        rm -rf "$scratch" "$folder/build-failed.log"
    fi
    say "installing $wheel"
    "$python" -m pip install --quiet --no-deps --no-index --force-reinstall "$wheel"
}

progress() {
    local step
    step=$(grep -oE '^ *\[[0-9]+/[0-9]+\]' "$1" 2>/dev/null | tail -n 1) || true
    printf 'mmcv-full: %s' "${step:-preparing}"
}

stop_heartbeat() {
    [[ -z ${heartbeat-} ]] || { kill "$heartbeat" && wait "$heartbeat"; } 2>/dev/null || true
    heartbeat=
}

prove() {
    local log=$venv/.proof.log
    say "proving the result"
    "$python" -W ignore "$root/tools/prove_environment.py" 2>"$log" || { cat "$log" >&2; die "$1"; }
}

# -------------------------------------------------------------------------------------------- main

[[ $(uname -sm) == "Linux x86_64" ]] || die "the locked environment is for Linux on x86-64, this is" \
    "$(uname -sm); 'pip install .' gives the part that needs neither detectron2 nor mmtrack"

exec 9<"$root/locks"
if command -v flock >/dev/null && ! flock -n 9; then
    say "another set-up of this checkout is running; waiting for it"
    flock 9
fi

cache=${MEC_TRANSFER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mec-transfer}
mmcv_wheel=mmcv_full-$(sed -n 's/^mmcv-full==\([0-9.]*\).*/\1/p' "$root/locks/mmcv.txt")-cp310-cp310-linux_x86_64.whl
state=$(cat "$root"/locks/*.txt "$root/tools/prove_environment.py" "$root/tools/setup.sh" | sha256sum | cut -c 1-64)
state+=" FORCE_CUDA=${FORCE_CUDA-} $venv"

if [[ -f $stamp && $(<"$stamp") == "$state" ]] \
    && "$python" "$root/tools/prove_environment.py" --versions; then
    if $full_proof; then prove "the environment does not work; remove .venv and run this again"; fi
    say "ready: .venv is complete (bash tools/setup.sh --prove checks it in depth)"
    exit 0
fi

$check_only && die ".venv is missing, incomplete or not as locked; run bash tools/setup.sh"

scratch=
trap 'stop_heartbeat; [[ -z $scratch ]] || rm -rf "$scratch"' EXIT
base_python=$(find_python)
if [[ ! -x $venv/bin/uv ]]; then check_disk "$root"; fi
[[ -n $(find "$cache/wheels" -name "$mmcv_wheel" 2>/dev/null) ]] || check_compiler "$base_python"
rm -f "$stamp"
make_venv
install_lock
install_mmcv
prove "the installed environment does not work; see above"
rm -f "$unfinished"
printf '%s' "$state" >"$stamp.new"
mv "$stamp.new" "$stamp"
say "ready: .venv"
