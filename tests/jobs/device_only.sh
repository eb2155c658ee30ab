#!/usr/bin/env bash
# Install the device package alone and use it: its kernel without NumPy; then, built where no compiler is, without either,
# and with NumPy. Needs .venv (make) for building wheels and the models with their expected outputs. PYTHON names the
# interpreter of the fresh environment.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

build() { # FOLDER [VARIABLE=VALUE]
    local folder=$1
    shift
    cp -r runtime "$folder" # what an earlier build left in the tree belongs to another compiler
    rm -rf "$folder/build" "$folder"/python/edgegru_runtime/*.so
    env "$@" .venv/bin/python -m build --wheel --no-isolation --outdir "$folder" "$folder" >"$folder.log" 2>&1 ||
        { cat "$folder.log"; exit 1; }
}

build "$work/with-compiler" CC="${CC:-cc}"
build "$work/without-compiler" CC=false
.venv/bin/python tests/jobs/device_models.py "$work"
cp tests/jobs/device_only.py "$work"
numpy=$(grep '^numpy==' constraints.txt)

"${PYTHON:-.venv/bin/python}" -m venv "$work/venv"
cd "$work" # nothing of the source tree is on the path
install() { venv/bin/python -m pip install --quiet --force-reinstall "$@"; }

install --no-index with-compiler/edgegru_runtime-*.whl
venv/bin/python -W error device_only.py kernel
install --no-index without-compiler/edgegru_runtime-*.whl
venv/bin/python -W error device_only.py neither
install "$numpy"
venv/bin/python -W error device_only.py reference
