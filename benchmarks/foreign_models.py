"""What integers cost in models that were not made here: amplifiers like GuitarML's, denoisers like RNNoise's.

    python benchmarks/foreign_models.py --cache /tmp/edgegru-foreign --json foreign.json
    python benchmarks/foreign_models.py amp32-skip rnnoise-raw

Stand-ins for published models, trained by ``foreign_training.py`` without any of EdgeGRU and kept in the cache folder
(about 20 minutes on one core the first time; denoisers hear real speech where ``EDGEGRU_DATA`` holds ``fsdd/``). Each
is calibrated on one part of a signal and scored on another, both from a zero state. The table gives the signal-to-noise
ratio in dB of every output against the float model's: power of its values over power of the error. "rounded" is the
float model with every row of its weights rounded to int8, no more; "int8 weights" the same with the weights that
quantization chose (of static-w8a16). In bold, what is below its bound, taken from the better of the two: 1 dB less for
static-w8a16; for static-w8a8 4 dB less, or 24 dB where that is lower. "quality" is, for amplifiers, the float model's
error-to-signal ratio, and for denoisers the share of the gains' variance that it leaves unexplained; "torch" is by
how much the reference engine differs from the network that was trained, at most.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from foreign_signals import FEATURES
from foreign_training import INPUT, MODELS, AmplifierModel, Arrays, DenoiserModel, ForeignModel, train_model
from numpy.typing import NDArray

from edgegru.calibration import calibrate
from edgegru.observers import OBSERVERS
from edgegru.quantization import quantize_artifact
from edgegru_export.dequantization import dequantize
from edgegru_export.saving import with_identity
from edgegru_runtime.artifact import Artifact, check
from edgegru_runtime.engine import build_engine
from edgegru_runtime.errors import EdgegruError
from edgegru_runtime.model_config import (
    ConcatenateNode,
    ElementwiseNode,
    GruNode,
    HeadNode,
    InputConfig,
    LinearNode,
    ModelConfig,
    Node,
    OutputConfig,
    StandardiseNode,
)
from edgegru_runtime.tensor import Tensor

BELOW_WEIGHTS = {"static-w8a16": 1.0, "static-w8a8": 4.0}  # dB below int8 weights alone that are allowed
ENOUGH = {"static-w8a16": np.inf, "static-w8a8": 24.0}  # dB that are enough whatever the weights cost
DENOISER_MINUTES = 1.6  # of training, times that of an amplifier
NOT_TENSORS = ("calibration", "quality", "scored.", "torch.", "target.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = ", ".join(model.name for model in MODELS)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"default: all of {known}")
    parser.add_argument("--cache", type=Path, default=Path("/tmp/edgegru-foreign"), help="folder of trained models")
    parser.add_argument("--minutes", type=float, default=1.3, help="training of an amplifier (default: 1.3)")
    parser.add_argument("--train-only", action="store_true", help="train what is not in the cache, and stop")
    parser.add_argument("--observer", choices=OBSERVERS, default="minmax", help="how calibration finds ranges")
    parser.add_argument("--keep-input", choices=("8", "16"), help="bits of the input in static-w8a8 (default: its own)")
    parser.add_argument("--json", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    if unknown := set(arguments.models) - {model.name for model in MODELS}:
        parser.error(f"unknown model {', '.join(sorted(unknown))}, expected {known}")
    torch.set_num_threads(1)
    chosen = [model for model in MODELS if not arguments.models or model.name in arguments.models]
    trained = [(model, load_or_train(model, arguments.cache, arguments.minutes)) for model in chosen]
    if arguments.train_only:
        return
    rows: list[dict[str, Any]] = []
    print("| model | quality | torch | output | rounded | int8 weights | static-w8a16 | static-w8a8 |")
    print("|---|---|---|---|---|---|---|---|")
    for model, arrays in trained:
        for row in score(model, arrays, arguments.observer, arguments.keep_input):
            rows.append(row)
            print(as_line(row), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"observer": arguments.observer, "rows": rows}, indent=1) + "\n")


def load_or_train(model: ForeignModel, cache: Path, minutes: float) -> Arrays:
    """The arrays of ``train_model``, from ``cache/NAME.npz`` where that is."""
    file = cache / f"{model.name}.npz"
    if file.exists():
        with np.load(file) as stored:
            return dict(stored)
    started = time.monotonic()
    arrays = train_model(model, minutes * (DENOISER_MINUTES if isinstance(model, DenoiserModel) else 1))
    cache.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial.npz")
    np.savez_compressed(partial, **arrays)
    partial.rename(file)
    largest = max(np.abs(array).max() for name, array in arrays.items() if name.endswith(".weight_hh"))
    print(
        f"{file}: quality {arrays['quality']:.4f}, largest recurrent weight {largest:.2f},"
        f" {time.monotonic() - started:.0f} s",
        file=sys.stderr,
        flush=True,
    )
    return arrays


def build_artifact(model: ForeignModel, arrays: Arrays) -> Artifact:
    """The float32 artifact of a trained model; ArtifactError where ``arrays`` are of another one."""
    config = amplifier_config(model) if isinstance(model, AmplifierModel) else denoiser_config(model)
    tensors = {name: Tensor.from_numpy(array) for name, array in arrays.items() if not name.startswith(NOT_TENSORS)}
    artifact = with_identity(Artifact(config, tensors))
    check(artifact.config, artifact.tensors)
    return artifact


def amplifier_config(model: AmplifierModel) -> ModelConfig:
    """Audio → GRU → dense (+ audio) → audio."""
    nodes: list[Node] = [
        StandardiseNode(INPUT, ("x",), 1),
        GruNode("gru", (INPUT,), 1, model.hidden_size),
        LinearNode("dense", ("gru",), model.hidden_size, 1),
    ]
    if model.skip:
        nodes.append(ElementwiseNode("sum", ("dense", INPUT), 1, "add"))
    nodes.append(HeadNode("audio", (nodes[-1].name,), 1, "identity"))
    return ModelConfig(
        scheme="float32",
        identity="",
        input=InputConfig(1, ("audio",), ("",), 44100.0),
        nodes=tuple(nodes),
        outputs=(OutputConfig("audio", "step_value", ("audio",)),),
    )


def denoiser_config(model: DenoiserModel) -> ModelConfig:
    """Features → dense → GRUs, with a concatenate node before each that reads several values → sigmoid heads."""
    nodes: list[Node] = [
        StandardiseNode(INPUT, ("x",), FEATURES),
        LinearNode("dense", (INPUT,), FEATURES, model.dense_size, activation="tanh"),
    ]
    sizes = {node.name: node.output_size for node in nodes}
    for layer in model.layers:
        source, width = layer.inputs[0], sum(sizes[name] for name in layer.inputs)
        if len(layer.inputs) > 1:
            source = f"{layer.name}_input"
            nodes.append(ConcatenateNode(source, layer.inputs, width))
        nodes.append(
            GruNode(
                layer.name, (source,), width, layer.hidden_size, reset="before", candidate_activation=layer.candidate
            )
        )
        sizes[layer.name] = layer.hidden_size
    outputs = []
    for name, source, size in model.heads:
        nodes.append(LinearNode(name, (source,), sizes[source], size))
        nodes.append(HeadNode(f"{name}_output", (name,), size, "sigmoid"))
        outputs.append(OutputConfig(f"{name}_output", "step_labels", tuple(f"{name} {i}" for i in range(size))))
    return ModelConfig(
        scheme="float32",
        identity="",
        input=InputConfig(FEATURES, tuple(f"feature {i}" for i in range(FEATURES)), ("",) * FEATURES, 100.0),
        nodes=tuple(nodes),
        outputs=tuple(outputs),
    )


def score(model: ForeignModel, arrays: Arrays, observer: str, input_bits: str | None) -> list[dict[str, Any]]:
    """A row for every scored part and output of one model: SNRs in dB by scheme, or the reason why it was refused."""
    artifact = build_artifact(model, arrays)
    rounded = {name: round_rows(array) if ".weight" in name else array for name, array in arrays.items()}
    ranges = calibrate(artifact, [arrays["calibration"]], observer)
    quantized: dict[str, Artifact | str] = {}
    for scheme in BELOW_WEIGHTS:
        try:
            keep = {INPUT: f"static-w8a{input_bits}"} if input_bits and scheme == "static-w8a8" else {}
            quantized[scheme] = quantize_artifact(artifact, ranges, scheme=scheme, keep=keep)
        except EdgegruError as error:
            quantized[scheme] = str(error)
    names = [output.node.removesuffix("_output") for output in artifact.config.outputs]
    rows = []
    for part in (name.removeprefix("scored.") for name in arrays if name.startswith("scored.")):
        x = arrays[f"scored.{part}"]
        exact = run(artifact, x)[0]
        for name, values in zip(names, exact, strict=True):
            difference = float(np.abs(values - arrays[f"torch.{part}.{name}"]).max())
            row = {"model": model.name, "quality": float(arrays["quality"]), "torch": difference}
            rows.append(row | {"output": f"{part} {name}"})
        own = rows[-len(names) :]
        _add(own, "rounded", exact, run(build_artifact(model, rounded), x)[0])
        for scheme, result in quantized.items():
            if isinstance(result, str):
                for row in own:
                    row[scheme] = result
                continue
            if "weights" not in own[0]:
                _add(own, "weights", exact, run(dequantize(result), x)[0])
            outputs, clipped = run(result, x)
            _add(own, scheme, exact, outputs)
            for row in own:
                row[f"{scheme} clipped"] = clipped
    return rows


def _add(rows: list[dict[str, Any]], key: str, exact: list[NDArray[Any]], outputs: list[NDArray[Any]]) -> None:
    for row, target, values in zip(rows, exact, outputs, strict=True):
        row[key] = signal_to_noise(target, values)


def round_rows(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights (rows, columns) at the nearest of 255 levels a row: not edgegru's, so that the bound is not either."""
    step = np.maximum(np.abs(weight).max(axis=1, keepdims=True), 1e-30) / 127
    return np.round(weight / step) * step


def run(artifact: Artifact, x: NDArray[np.float32]) -> tuple[list[NDArray[np.float64]], int]:
    """Every output (steps, size) for x (steps, channels) from a zero state, and how many inputs were saturated."""
    engine = build_engine(artifact, "reference")
    state = engine.new_state()
    steps = [engine.step(state, sample) for sample in x.tolist()]
    return [np.array(output, np.float64) for output in zip(*steps, strict=True)], engine.clipped(state)


def signal_to_noise(target: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """10 log10 of the power of ``target`` over the power of the error, in dB."""
    return float(10 * np.log10(np.square(target).sum() / max(np.square(values - target).sum(), 1e-30)))


def as_line(row: dict[str, Any]) -> str:
    """A row of the table; what misses its bound is in bold."""
    cells = [row["model"], f"{row['quality']:.3f}", f"{row['torch']:.0e}", row["output"]]
    bound = max(row["rounded"], row.get("weights", -np.inf))
    for key in ("rounded", "weights", *BELOW_WEIGHTS):
        value = row.get(key, "–")
        if isinstance(value, str):
            cells.append(value)
        else:
            missed = key in BELOW_WEIGHTS and value < min(bound - BELOW_WEIGHTS[key], ENOUGH[key])
            cells.append(f"**{value:.1f}**" if missed else f"{value:.1f}")
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
