"""Small artifacts made in memory, for every test that needs one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgegru_export.saving import with_identity
from edgegru_runtime.artifact import Artifact, expected_operands, expected_tensors
from edgegru_runtime.model_config import (
    GruNode,
    HeadNode,
    InputConfig,
    LinearNode,
    ModelConfig,
    Node,
    OutputConfig,
    QuantizationConfig,
    StandardiseNode,
)
from edgegru_runtime.tensor import Tensor


def random_config(
    input_size: int = 3,
    hidden_sizes: tuple[int, ...] = (5,),
    output_size: int = 4,
    *,
    reset: str = "after",
    bias: bool = True,
    head: str = "softmax",
    input_linear: tuple[int, str] | None = None,
    hidden_linear: tuple[int, str] | None = None,
    rate: float | None = 50.0,
) -> ModelConfig:
    """A float32 configuration of the shape that training writes; ``*_linear``: (size, activation) of a linear layer."""
    nodes: list[Node] = [StandardiseNode("standardise", ("x",), input_size)]

    def add_linear(name: str, size: int, activation: str) -> None:
        nodes.append(LinearNode(name, (nodes[-1].name,), nodes[-1].output_size, size, bias, activation))

    if input_linear is not None:
        add_linear("input0", *input_linear)
    for index, hidden_size in enumerate(hidden_sizes):
        nodes.append(GruNode(f"gru{index}", (nodes[-1].name,), nodes[-1].output_size, hidden_size, reset, bias))
    if hidden_linear is not None:
        add_linear("hidden0", *hidden_linear)
    add_linear("dense", output_size, "linear")
    nodes.append(HeadNode("output", ("dense",), output_size, head))
    target, prefix = ("step_value", "value") if head == "identity" else ("step_label", "class")
    return ModelConfig(
        scheme="float32",
        identity="",
        input=InputConfig(input_size, tuple(f"c{i}" for i in range(input_size)), ("",) * input_size, rate),
        nodes=tuple(nodes),
        outputs=(OutputConfig("output", target, tuple(f"{prefix} {i}" for i in range(output_size))),),
    )


def random_artifact(
    seed: int = 0, input_size: int = 3, hidden_sizes: tuple[int, ...] = (5,), **shape: object
) -> Artifact:
    """A float32 artifact with weights of trained magnitude; ``shape`` as in ``random_config``."""
    rng = np.random.default_rng(seed)
    config = random_config(input_size, hidden_sizes, **shape)  # type: ignore[arg-type]  # passed on unchanged
    arrays = {}
    for name, (_, size) in expected_tensors(config).items():
        if name.endswith(".mean"):
            array = rng.normal(0, 3, size)
        elif name.endswith(".std"):
            array = rng.uniform(0.5, 4, size)
        elif name.endswith((".bias", ".bias_ih", ".bias_hh")):
            array = rng.normal(0, 0.3, size)
        else:
            array = rng.normal(0, 1.2 / np.sqrt(size[-1]), size)
        arrays[name] = array.astype(np.float32)
    return from_arrays(config, arrays)


def random_integer_artifact(
    seed: int = 0, input_size: int = 3, hidden_sizes: tuple[int, ...] = (5,), **shape: object
) -> Artifact:
    """A valid static-w8a8 artifact of random integers (not quantized from a float model)."""
    rng = np.random.default_rng(seed)
    config = random_config(input_size, hidden_sizes, **shape)  # type: ignore[arg-type]  # passed on unchanged
    scales = {name: 4 / 127 if name == "standardise" else 1 / 127 for name in expected_operands(config)}
    config = changed(config, scheme="static-w8a8", quantization=QuantizationConfig(scales))
    arrays: dict[str, np.ndarray] = {}
    for name, (dtype, size) in expected_tensors(config).items():
        if name.endswith(".mean"):
            arrays[name] = rng.normal(0, 3, size).astype(np.float32)
        elif name.endswith(".std"):
            arrays[name] = rng.uniform(0.5, 4, size).astype(np.float32)
        elif name.endswith(".output_offset"):
            arrays[name] = rng.normal(0, 3, size).astype(np.float32)
        elif name.endswith("_scale"):
            arrays[name] = rng.uniform(0.005, 0.02, size).astype(np.float32)
        elif dtype == "int8":
            arrays[name] = rng.integers(-127, 128, size, dtype=np.int8)
        else:
            arrays[name] = rng.integers(-2000, 2001, size, dtype=np.int32)
    return from_arrays(config, arrays)


def from_arrays(config: ModelConfig, arrays: Mapping[str, np.ndarray]) -> Artifact:
    """An artifact of these arrays, with its identity."""
    return with_identity(Artifact(config, {name: Tensor.from_numpy(array) for name, array in arrays.items()}))


def changed(config: ModelConfig, **fields: object) -> ModelConfig:
    """The configuration with some fields replaced; its identity is left to be filled in."""
    return ModelConfig(**{**vars(config), "identity": "", **fields})  # type: ignore[arg-type]  # fields of ModelConfig
