#!/usr/bin/env bash
# Install the device package alone and use it: first without NumPy, then with it. Needs .venv (make) for building the
# wheel and the models with their expected outputs. PYTHON names the interpreter of the fresh environment.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

.venv/bin/python -m build --no-isolation --outdir "$work" runtime >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
.venv/bin/python tests/jobs/device_models.py "$work"
cp tests/jobs/device_only.py "$work"

"${PYTHON:-.venv/bin/python}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --no-index "$work"/edgegru_runtime-*.whl
cd "$work" # nothing of the source tree is on the path
venv/bin/python -W error device_only.py without-numpy

numpy=$(grep '^numpy==' "$OLDPWD/constraints.txt")
venv/bin/python -m pip install --quiet "$numpy"
venv/bin/python -W error device_only.py with-numpy
