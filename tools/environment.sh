#!/usr/bin/env bash
# Make .venv hold the given extras at the versions of constraints.txt; quick when it does already.
#   tools/environment.sh EXTRA[,EXTRA…]
set -euo pipefail
cd "$(dirname "$0")/.."

extras=${1:?say which extras, for example: all}
venv=${VENV:-.venv}
stamp="$venv/.installed-$extras-$(cat pyproject.toml constraints.txt embedder/encoders/native/kernels/* scoring/native/kernels/* | cksum | cut -d' ' -f1)"
[ -e "$stamp" ] && exit 0

usable_python() {
    for candidate in python3 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "m3-retrieval needs Python 3.11 or newer with its venv module." >&2
    echo "Debian and Ubuntu: apt install python3 python3-venv   macOS: brew install python@3.12" >&2
    return 1
}

# The default build of torch for Linux on PyPI brings several GB of CUDA. Without an NVIDIA GPU,
# PyTorch's own index has a CPU build, which pip prefers for its local version (2.x+cpu).
torch_index() {
    [ "$(uname -s)" = Linux ] || return 0
    [ -e /proc/driver/nvidia/version ] && return 0
    local index=https://download.pytorch.org/whl/cpu
    if "$1" -c "import urllib.request as r; r.urlopen('$index/torch/', timeout=5)" 2>/dev/null; then
        echo "--extra-index-url=$index"
    fi
}

if [ ! -x "$venv/bin/python" ]; then
    python=$(usable_python)
    echo "making $venv with $("$python" --version)"
    "$python" -m venv "$venv"
fi
echo "installing m3-retrieval[$extras] into $venv (the first time takes minutes)"
index=$(torch_index "$venv/bin/python")
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check ${index:+"$index"} \
    --constraint constraints.txt --editable ".[$extras]"
rm -f "$venv"/.installed-"$extras"-*
touch "$stamp"
