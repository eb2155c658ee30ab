"""The models that step.py measures, and what they must compute: one GRU layer, a linear layer of four outputs.

The head is identity: softmax would cost every contestant the same few operators, and hide what a GRU costs. The weights
are uniform within ±1/√hidden_size, as PyTorch initialises them; mean 0 and std 1, so that contestants without
standardisation compute the same numbers.
"""

from __future__ import annotations

from array import array
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru.calibration import calibrate
from edgegru.quantization import quantize_artifact
from edgegru_export import onnx_float, tflite_float
from edgegru_export.saving import save_artifact
from edgegru_export.stimulus import gaussian_input
from edgegru_export.tflite_model import FLOAT, Value
from edgegru_runtime.artifact import Artifact, expected_tensors
from edgegru_runtime.model_config import Node, StandardiseNode
from edgegru_runtime.plan import make_plan
from edgegru_runtime.reference import Reference
from tests.builders import from_arrays, random_config

OUTPUT_SIZE = 4
CALIBRATION_STEPS = 1000
CHECKED_STEPS = 128
SCHEMES = ("float32", "static-w8a8", "dynamic-w8")

Floats = NDArray[np.float32]


class Case:
    """One size: artifacts and the files made of them, the inputs, and what the float reference gives."""

    def __init__(self, input_size: int, hidden_size: int, folder: Path) -> None:
        self.input_size, self.hidden_size, self.folder = input_size, hidden_size, folder
        self.inputs = gaussian_input(self.float32, 2 * CHECKED_STEPS)

    def __str__(self) -> str:
        return f"{self.input_size} → {self.hidden_size}"

    @cached_property
    def float32(self) -> Artifact:
        """The model, of a seed that never changes."""
        config = random_config(self.input_size, (self.hidden_size,), OUTPUT_SIZE, head="identity")
        rng, bound = np.random.default_rng(0), self.hidden_size**-0.5
        arrays = {
            name: rng.uniform(-bound, bound, size).astype(np.float32)
            for name, (_, size) in expected_tensors(config).items()
        }
        arrays["standardise.mean"][:], arrays["standardise.std"][:] = 0, 1
        return from_arrays(config, arrays)

    def artifact(self, scheme: str) -> Artifact:
        """The model in a scheme, calibrated on inputs like those that are measured."""
        if scheme == "float32":
            return self.float32
        ranges = calibrate(self.float32, [gaussian_input(self.float32, CALIBRATION_STEPS)])
        return quantize_artifact(self.float32, ranges, scheme=scheme)

    def artifact_path(self, scheme: str) -> Path:
        """Its file, written when first asked for."""
        path = self.folder / f"{self.input_size}-{self.hidden_size}-{scheme}.safetensors"
        if not path.exists():
            save_artifact(self.artifact(scheme), path)
        return path

    def write(self, name: str, data: bytes) -> Path:
        """A file of this size."""
        path = self.folder / f"{self.input_size}-{self.hidden_size}-{name}"
        path.write_bytes(data)
        return path

    def plan_path(self, scheme: str) -> Path:
        """The file that the C kernel reads."""
        return self.write(f"{scheme}.plan", make_plan(self.artifact(scheme)))

    @cached_property
    def weights(self) -> dict[str, Floats]:
        """By PyTorch's names: ``weight_ih`` (3H, I), gates in the order r, z, n …, and ``weight``, ``bias`` (4, H)."""
        tensors = {name: np.asarray(self.float32.array(name), np.float32) for name in self.float32.tensors}
        return {name.partition(".")[2]: tensor for name, tensor in tensors.items()}

    @property
    def weight_count(self) -> int:
        """Numbers in the matrices: what a step must read."""
        return sum(self.weights[name].size for name in ("weight_ih", "weight_hh", "weight"))

    @cached_property
    def expected(self) -> NDArray[np.float64]:
        """Outputs (CHECKED_STEPS, 4) of the float reference, in double precision, for the first of the inputs."""
        engine = Reference(self.float32, np.float64)
        state = engine.new_state()
        return np.array([engine.step(state, array("f", x.tobytes()))[0] for x in self.inputs[:CHECKED_STEPS]])

    @property
    def spread(self) -> float:
        """The largest distance of an expected output from its mean."""
        return float(np.max(np.abs(self.expected - self.expected.mean(axis=0))))


class BareOnnx(onnx_float.FloatModel):
    """An exported ONNX file but for its standardisation, which mean 0 and std 1 leave nothing to do."""

    def value(self, node: Node, inputs: list[str]) -> str:
        return inputs[0] if isinstance(node, StandardiseNode) else super().value(node, inputs)


class BareTflite(tflite_float.FloatStep):
    """The same of a float TFLite file."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__(artifact, FLOAT)

    def standardise(self, node: StandardiseNode, x: Value) -> Any:
        return x
