#!/usr/bin/env bash
# Install the host package without its extra `train` and take a model through everything but training. Needs .venv (make)
# for building the wheels and training the model. PYTHON names the interpreter of the fresh environment.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tests/jobs/distributions.sh "$work/dist"
.venv/bin/python tests/jobs/recordings.py "$work"
.venv/bin/edgegru train --config "$work/config.toml" --data "$work/recordings" -o "$work/trained"

"${PYTHON:-.venv/bin/python}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet "$work"/dist/*.whl -c constraints.txt
cd "$work" # nothing of the source tree is on the path
edgegru=venv/bin/edgegru
for package in torch matplotlib; do
    ! venv/bin/python -c "import $package" 2>/dev/null || { echo "$package is installed" >&2; exit 1; }
done

export PYTHONWARNINGS=error
$edgegru --help >/dev/null
$edgegru info trained/model.safetensors
$edgegru quantize trained/model.safetensors --calibration recordings --data recordings -o int8.safetensors
for model in trained/model int8; do
    for format in onnx tflite; do
        name=$(basename "$model").$format
        $edgegru export "$model.safetensors" --format $format -o "$name"
        $edgegru verify "$name" --against "$model.safetensors"
        $edgegru evaluate "$name" --data recordings --part all
        $edgegru info "$name" >/dev/null
    done
    $edgegru evaluate "$model.safetensors" --data recordings --part all
done
$edgegru bench int8.safetensors --steps 200
head -n 20 recordings/r00.csv | $edgegru run int8.onnx - | tail -n 1

if message=$($edgegru train --config config.toml --data recordings -o again 2>&1); then
    echo "train worked without torch" >&2
    exit 1
fi
[[ $message == *'edgegru[train]'* && $message != *Traceback* ]] || { echo "train said: $message" >&2; exit 1; }
echo "train says: $message"
