"""``make demo``: a GRU from speech recordings to every runtime, with one table of what each of them computes.

Trains, evaluates, quantizes, exports to ONNX and TFLite in float and int8, verifies, streams the official test part
through every engine, and draws one recording's class probabilities over time. Everything lands in ``demo-output/``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pytorch_model import load_network, probabilities, weight_bytes

import edgegru
from edgegru.data import LabelledSequence, labelled_sequences
from edgegru.evaluation import evaluate_sequences
from edgegru.evaluation_plots import plot_probabilities
from edgegru.network import Network
from edgegru_runtime import Model, load
from edgegru_runtime.errors import EdgegruError

Outputs = list[NDArray[np.float32]]  # (T, classes) a recording

HERE = Path(__file__).resolve().parent
CONFIG = HERE / "config.toml"
STEP_MILLISECONDS = 6.4  # frame shift of the recordings (UCI Machine Learning Repository, Japanese Vowels)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    engine: str
    precision: str
    accuracy: float
    difference: float | None  # from PyTorch, largest over all probabilities of all steps
    file_bytes: int
    microseconds: float
    resident_bytes: int


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("demo-output"), help="folder for everything written")
    output = parser.parse_args(arguments).output
    started = time.monotonic()
    data = japanese_vowels()

    announce(started, f"training on {data.name} (official training part)")
    float_model = edgegru.train(CONFIG, data=data, output=output)

    announce(started, "quantizing to static-w8a8, calibrated on the training part")
    int8_model = output / "int8.safetensors"
    edgegru.quantize(float_model, data, int8_model, force=True)

    files = []
    for precision, model in (("float32", float_model), ("int8", int8_model)):
        files.append(model)
        for extension in ("onnx", "tflite"):
            file = output / f"{precision}.{extension}"
            announce(started, f"exporting and verifying {file.name}")
            print(f"  {edgegru.export(model, file, format=extension, force=True)}", file=sys.stderr)
            files.append(file)

    sequences = labelled_sequences(load(float_model).config, data, "test")
    announce(started, f"streaming {len(sequences)} test recordings through PyTorch and {len(files)} files")
    network = load_network(output)
    expected = [probabilities(network, sequence.x) for sequence in sequences]
    rows = [pytorch_row(output, network, expected, sequences)]
    for file in files:
        rows.append(model_row(file, expected, sequences))
        announce(started, f"{rows[-1].engine} {rows[-1].precision}: accuracy {rows[-1].accuracy:.4f}")

    picture = output / "probabilities.png"
    draw(load(int8_model), sequences, picture)
    print(table(rows))
    print(f"\npicture: {picture}    everything else: {output}/    {time.monotonic() - started:.0f} s")


def japanese_vowels() -> Path:
    """The training file inside the installed package aeon, which is found without being imported."""
    package = importlib.util.find_spec("aeon")
    if package is None or package.origin is None:
        sys.exit("the demo needs the recordings that come with aeon, which is not installed: pip install aeon")
    return Path(package.origin).parent / "datasets" / "data" / "JapaneseVowels" / "JapaneseVowels_TRAIN.ts"


def announce(started: float, what: str) -> None:
    print(f"[{time.monotonic() - started:5.1f} s] {what}", file=sys.stderr, flush=True)


def pytorch_row(folder: Path, network: Network, expected: Outputs, sequences: tuple[LabelledSequence, ...]) -> Row:
    """What PyTorch itself needs, stepping one stream in a process of its own."""
    hits = [int(rows[-1].argmax() == sequence.target[-1]) for rows, sequence in zip(expected, sequences, strict=True)]
    cost = measured([str(HERE / "pytorch_model.py"), str(folder)])
    return Row(
        engine="PyTorch",
        precision="float32",
        accuracy=sum(hits) / len(hits),
        difference=None,
        file_bytes=weight_bytes(network),
        microseconds=cost["microseconds"],
        resident_bytes=cost["resident_bytes"],
    )


def model_row(file: Path, expected: Outputs, sequences: tuple[LabelledSequence, ...]) -> Row:
    """What one file computes on the test part, streamed on its engine, and what it needs in a process of its own."""
    model = load(file)
    evaluation = evaluate_sequences(model, sequences, part="test")
    stream = model.stream()
    difference = 0.0
    for rows, sequence in zip(expected, sequences, strict=True):
        stream.reset()
        difference = max(difference, float(np.max(np.abs(np.asarray(stream.run(sequence.x)) - rows))))
    (cost,) = edgegru.bench(file)  # in a process of its own
    return Row(
        engine=evaluation.engine,
        precision="float32" if evaluation.scheme == "float32" else "int8",
        accuracy=evaluation.metrics["accuracy"],
        difference=difference,
        file_bytes=file.stat().st_size,
        microseconds=cost.median_us,
        resident_bytes=cost.memory_bytes or 0,
    )


def measured(arguments: list[str]) -> dict[str, float]:
    """The JSON object that a Python process with these arguments prints."""
    result = subprocess.run([sys.executable, *arguments], stdout=subprocess.PIPE, check=True)
    return json.loads(result.stdout)


def draw(model: Model, sequences: tuple[LabelledSequence, ...], path: Path) -> None:
    """The class probabilities of the longest test recording, as the int8 model gives them while it listens."""
    sequence = max(sequences, key=lambda candidate: len(candidate.x))
    labels = model.config.outputs[0].labels
    plot_probabilities(
        np.arange(len(sequence.x)) * STEP_MILLISECONDS,
        np.asarray(model.stream().run(sequence.x)),
        [f"speaker {label}" for label in labels],
        title=f"Who speaks? int8, one step at a time; truly speaker {labels[sequence.target[-1]]}",
        time_label="time (ms)",
        path=path,
    )


def table(rows: list[Row]) -> str:
    head = ("engine", "precision", "accuracy", "max |Δ| from PyTorch", "file bytes", "µs/step", "memory")
    lines = ["{:<12} {:<9} {:>8} {:>20} {:>10} {:>8} {:>8}".format(*head)]
    for row in rows:
        difference = "–" if row.difference is None else f"{row.difference:.1e}"
        lines.append(
            f"{row.engine:<12} {row.precision:<9} {row.accuracy:>8.4f} {difference:>20} {row.file_bytes:>10}"
            f" {row.microseconds:>8.1f} {row.resident_bytes / 1e6:>5.0f} MB"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        main()
    except EdgegruError as error:
        sys.exit(f"error: {error}")
