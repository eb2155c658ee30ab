#!/usr/bin/env bash
# Import what Keras 2 on TensorFlow itself writes: .keras, HDF5, architecture with weights, SavedModel. Needs .venv (make) for
# building the wheels, and 3 GB of disk. PYTHON names the interpreter of the fresh environment.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tests/jobs/distributions.sh "$work/dist"
"${PYTHON:-.venv/bin/python}" -m venv "$work/venv"
grep -v '^h5py==' constraints.txt >"$work/constraints.txt" # TensorFlow names its own
"$work/venv/bin/python" -m pip install --quiet "$work"/dist/*.whl h5py tensorflow-cpu==2.21.0 tf_keras==2.21.0 \
    -c "$work/constraints.txt"
cd "$work" # nothing of the source tree is on the path
venv/bin/python "$root/tests/jobs/tensorflow_models.py" models

if message=$("$root/.venv/bin/edgegru" import models/sequential -o without.safetensors 2>&1); then
    echo "a SavedModel was imported without TensorFlow" >&2
    exit 1
fi
[[ $message == *'edgegru[tensorflow]'* && $message != *Traceback* ]] || { echo "import said: $message" >&2; exit 1; }
echo "without TensorFlow: $message"
