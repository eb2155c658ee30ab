"""Small artifacts made in memory, for every test that needs one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgegru.calibration import calibrate
from edgegru.front_ends import integer_tables, log_mel_tables
from edgegru.quantization import quantize_artifact
from edgegru_export.saving import with_identity
from edgegru_export.stimulus import gaussian_input
from edgegru_runtime.artifact import Artifact, expected_tensors, keep_choices
from edgegru_runtime.model_config import (
    ACTIVATIONS,
    CANDIDATE_ACTIVATIONS,
    GATE_ACTIVATIONS,
    RESETS,
    AttentionNode,
    ConcatenateNode,
    ConvolutionNode,
    ElementwiseNode,
    EmbeddingNode,
    GruNode,
    HeadNode,
    InputConfig,
    LayerNormalisationNode,
    LinearNode,
    LogMelNode,
    ModelConfig,
    Node,
    OutputConfig,
    QuantizationConfig,
    StandardiseNode,
    TokenizerConfig,
)
from edgegru_runtime.operands import expected_operands, operand_limit
from edgegru_runtime.tensor import Tensor

CALIBRATION_STEPS = 300
ROWS = 12  # of an embedding's table
# What makes a model of the next token of ``mixed_config``.
TOKENS: dict[str, Any] = {"embedding": True, "head": "log_softmax", "output_size": ROWS}
SIZES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65)  # where vectors of kernels begin and end


def random_config(
    input_size: int = 3,
    hidden_sizes: tuple[int, ...] = (5,),
    output_size: int = 4,
    *,
    reset: str = "after",
    bias: bool = True,
    gates: str = "sigmoid",
    candidate: str = "tanh",
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
    for index, size in enumerate(hidden_sizes):
        last = nodes[-1]
        nodes.append(GruNode(f"gru{index}", (last.name,), last.output_size, size, reset, bias, gates, candidate))
    if hidden_linear is not None:
        add_linear("hidden0", *hidden_linear)
    add_linear("dense", output_size, "linear")
    return _with_head(nodes, head, rate)


def mixed_config(
    input_size: int = 3,
    hidden_size: int = 5,
    output_size: int = 4,
    *,
    reset: str = "after",
    bias: bool = True,
    gates: str = "sigmoid",
    candidate: str = "tanh",
    head: str = "softmax",
    embedding: bool = False,
    kernel_size: int = 3,
    dilation: int = 2,
    convolution: str = "relu",
) -> ModelConfig:
    """A float32 configuration that uses every kind of node: two branches beside each other, and two states.

    ``embedding``: of one channel, to ``input_size`` numbers, in place of the standardisation; ``convolution``: its
    activation. The last linear node reads a product, a sum and a concatenation come before it.
    """
    first: Node = StandardiseNode("standardise", ("x",), input_size)
    if embedding:
        first = EmbeddingNode("embedding", ("x",), ROWS, input_size)
    wide = hidden_size + input_size
    nodes: list[Node] = [
        first,
        ConvolutionNode(
            "conv0", (first.name,), input_size, hidden_size, kernel_size, dilation, bias, activation=convolution
        ),
        GruNode("gru0", ("conv0",), hidden_size, hidden_size, reset, bias, gates, candidate),
        ConcatenateNode("both", ("gru0", first.name), wide),
        LinearNode("hidden0", ("both",), wide, hidden_size, bias, "relu"),
        ElementwiseNode("sum", ("hidden0", "gru0"), hidden_size, "add"),
        LinearNode("gate", ("both",), wide, hidden_size, bias, gates),
        ElementwiseNode("product", ("sum", "gate"), hidden_size, "multiply"),
        LinearNode("dense", ("product",), hidden_size, output_size, bias),
    ]
    return _with_head(nodes, head, 50.0)


def attending_config(
    size: int = 5,
    values: int = 6,
    hidden_size: int = 7,
    length: int = 9,
    head: str = "log_softmax",
    reset: str = "after",
) -> ModelConfig:
    """A float32 configuration of a decoder: a GRU whose query attends to the rows of an encoder, and one behind it."""
    nodes: list[Node] = [
        EmbeddingNode("embedding", ("x",), ROWS, 4),
        GruNode("gru0", ("embedding",), 4, hidden_size, reset),
        LinearNode("query", ("gru0",), hidden_size, size, bias=False),
        AttentionNode("attention", ("query",), size, values, length),
        ConcatenateNode("both0", ("gru0", "attention"), hidden_size + values),
        GruNode("gru1", ("both0",), hidden_size + values, hidden_size, reset),
        ConcatenateNode("both1", ("gru1", "attention"), hidden_size + values),
        LinearNode("dense", ("both1",), hidden_size + values, ROWS),
    ]
    return _with_head(nodes, head, None)


def rows_for(artifact: Artifact, count: int, seed: int = 0) -> np.ndarray:
    """Rows (count, row_size) float32 that a stream of a decoder remembers: states and keys."""
    node = artifact.config.attention
    assert node is not None
    rng = np.random.default_rng(seed)
    parts = rng.uniform(-1, 1, (count, node.output_size)), rng.normal(0, 1, (count, node.size))
    return np.concatenate(parts, axis=1).astype(np.float32)


def remember(stream: Any, rows: np.ndarray) -> Any:
    """The stream, which remembers these rows too."""
    node = stream.model.config.attention
    for row in rows:
        stream.remember(row[: node.output_size], row[node.output_size :])
    return stream


def drawn_config(rng: np.random.Generator, sizes: Sequence[int] = SIZES) -> ModelConfig:
    """A float32 configuration of any kind: of ``random_config`` or ``mixed_config``, layers of any of ``sizes``, with
    initial states or without.
    """
    config = _drawn_shape(rng, sizes)
    return with_initial_states(config) if rng.integers(2) else config


def _drawn_shape(rng: np.random.Generator, sizes: Sequence[int]) -> ModelConfig:

    def size() -> int:
        return int(rng.choice(sizes))

    def linear() -> tuple[int, str] | None:
        return (size(), str(rng.choice(ACTIVATIONS))) if rng.integers(2) else None

    shape: dict[str, Any] = {
        "output_size": int(rng.integers(1, 10)),
        "reset": str(rng.choice(RESETS)),
        "bias": bool(rng.integers(4)),
        "candidate": str(rng.choice(CANDIDATE_ACTIVATIONS)),
        "head": str(rng.choice(["softmax", "sigmoid", "identity"])),
        "gates": str(rng.choice(GATE_ACTIVATIONS)),
    }
    input_size = int(rng.integers(1, 14))
    if rng.integers(2):
        shape["embedding"] = bool(rng.integers(2))
        if shape["embedding"] and rng.integers(2):
            shape |= TOKENS
        shape |= {"kernel_size": int(rng.integers(1, 5)), "dilation": int(rng.integers(1, 4))}
        config = mixed_config(input_size, size(), convolution=str(rng.choice(ACTIVATIONS)), **shape)
    else:
        hidden_sizes = tuple(size() for _ in range(rng.integers(1, 3)))
        config = random_config(input_size, hidden_sizes, input_linear=linear(), hidden_linear=linear(), **shape)
    return (
        with_state_output(config, str(rng.choice(["identity", "sigmoid", "softmax"])))
        if rng.integers(4) == 0
        else config
    )


def with_state_output(config: ModelConfig, head: str) -> ModelConfig:
    """One output more: the state of the first GRU, or what a softmax or sigmoid ``head`` makes of it."""
    size = config.node("gru0").output_size
    target = "step_value" if head == "identity" else "step_label"
    output = OutputConfig("state", target, tuple(f"h{i}" for i in range(size)))
    nodes = (*config.nodes, HeadNode("state", ("gru0",), size, head))
    return replace(config, nodes=nodes, outputs=(*config.outputs, output))


def drawn_float_config(rng: np.random.Generator, sizes: Sequence[int] = SIZES) -> ModelConfig:
    """The same for float32 and dynamic-w8, with kinds of nodes that static schemes do not have."""
    config = drawn_config(rng, sizes)
    return normalised(config, 1.0) if rng.integers(2) else config  # so large that no rounding error grows in it


def normalised(config: ModelConfig, epsilon: float = 1e-3) -> ModelConfig:
    """The configuration with a layer normalisation behind every GRU, and one in front of every head."""
    nodes: list[Node] = []
    names: dict[str, str] = {}  # what is read in place of a node

    def add(source: str, size: int) -> str:
        nodes.append(LayerNormalisationNode(f"{source}_normalised", (source,), size, epsilon))
        return nodes[-1].name

    for node in config.nodes:
        inputs = tuple(names.get(name, name) for name in node.inputs)
        if isinstance(node, HeadNode):
            inputs = (add(inputs[0], node.size),)
        nodes.append(replace(node, inputs=inputs))
        if isinstance(node, GruNode):
            names[node.name] = add(node.name, node.hidden_size)
    return changed(config, nodes=tuple(nodes))


def in_blocks(config: ModelConfig, samples: int) -> ModelConfig:
    """The configuration with the numbers that its first node reads as ``samples`` samples of fewer channels."""
    size = config.input.size // samples
    channels = tuple(f"c{i}" for i in range(size))
    return changed(config, input=InputConfig(size, channels, ("",) * size, config.input.rate, samples))


def with_log_mel(
    config: ModelConfig, hop: int = 20, frame_length: int = 50, fft_size: int = 64, full_scale: float = 1.0
) -> ModelConfig:
    """The configuration with a log_mel node in front of its standardisation, for samples of ``full_scale``."""
    entry, rest = config.nodes[0], config.nodes[1:]
    assert isinstance(entry, StandardiseNode)
    front = LogMelNode("log_mel", ("x",), hop, entry.size, frame_length, fft_size, full_scale, 1e-7)
    sound = InputConfig(1, ("sound",), ("",), 8000.0, hop)
    return changed(config, nodes=(front, replace(entry, inputs=("log_mel",)), *rest), input=sound)


def with_tokenizer(config: ModelConfig) -> ModelConfig:
    """The configuration, which begins with an embedding, for text: each of its tokens is a letter."""
    tokenizer = TokenizerConfig("characters", tuple("abcdefghijkl"))
    assert len(tokenizer.tokens) == ROWS
    return changed(config, input=replace(config.input, tokenizer=tokenizer))


def tables_of(config: ModelConfig) -> dict[str, np.ndarray]:
    """The tensors of the configuration's front end, as its scheme has them; none where it has none."""
    node = config.front_end
    if node is None:
        return {}
    tables = log_mel_tables(node, config.input.rate or 8000.0)
    tables = integer_tables(node, tables) if config.static else tables
    return {f"{node.name}.{name}": table for name, table in tables.items()}


def with_initial_states(config: ModelConfig) -> ModelConfig:
    """The configuration with GRUs that begin with an h0 each."""
    nodes = (replace(node, initial_state=True) if isinstance(node, GruNode) else node for node in config.nodes)
    return changed(config, nodes=tuple(nodes))


def drawn_keep(rng: np.random.Generator, config: ModelConfig, scheme: str) -> dict[str, str]:
    """The other width of operands for some nodes that may have it in a static ``scheme``, or for none."""
    choices, share = keep_choices(changed(config, scheme=scheme)), float(rng.choice([0, 0.3]))
    return {name: others[0] for name, others in choices.items() if rng.random() < share}


def _with_head(nodes: list[Node], head: str, rate: float | None) -> ModelConfig:
    """The nodes and, on the last of them, a head of that kind."""
    first, size = nodes[0], nodes[-1].output_size
    channels = first.size if isinstance(first, StandardiseNode) else 1
    target, prefix = ("step_value", "value") if head == "identity" else ("step_label", "class")
    labels = tuple(f"{prefix} {i}" for i in range(size))
    if head == "log_softmax":
        target, labels = "next_token", ()
    return ModelConfig(
        scheme="float32",
        identity="",
        input=InputConfig(channels, tuple(f"c{i}" for i in range(channels)), ("",) * channels, rate),
        nodes=(*nodes, HeadNode("output", (nodes[-1].name,), size, head)),
        outputs=(OutputConfig("output", target, labels),),
    )


def random_artifact(seed: int = 0, input_size: int = 3, hidden_sizes: tuple[int, ...] = (5,), **shape: Any) -> Artifact:
    """A float32 artifact with weights of trained magnitude; ``shape`` as in ``random_config``."""
    return random_floats(random_config(input_size, hidden_sizes, **shape), seed)


def mixed_artifact(seed: int = 0, input_size: int = 3, hidden_size: int = 5, **shape: Any) -> Artifact:
    """The same of ``mixed_config``, with every kind of node."""
    return random_floats(mixed_config(input_size, hidden_size, **shape), seed)


def random_floats(config: ModelConfig, seed: int) -> Artifact:
    """The float32 artifact of any configuration, with weights of trained magnitude; unbounded recurrences settle."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, (_, size) in expected_tensors(config).items():
        if name.endswith(".mean"):
            array = rng.normal(0, 3, size)
        elif name.endswith(".std"):
            array = rng.uniform(0.5, 4, size)
        elif name.endswith(".h0"):
            array = rng.uniform(-1, 1, size)
        elif name.endswith((".bias", ".bias_ih", ".bias_hh")):
            array = rng.normal(0, 0.3, size)
        else:
            array = rng.normal(0, 1.2 / np.sqrt(np.prod(size[1:])), size)
        arrays[name] = array.astype(np.float32)
    arrays |= tables_of(config)
    for node in config.nodes:
        if isinstance(node, GruNode) and node.unbounded:
            recurrent = arrays[f"{node.name}.weight_hh"][2 * node.hidden_size :]
            recurrent *= 0.7 / np.linalg.norm(recurrent, 2)  # |h| cannot grow by itself
    return from_arrays(config, arrays)


def quantized(artifact: Artifact, scheme: str = "static-w8a8", keep: Mapping[str, str] | None = None) -> Artifact:
    """The artifact in an integer scheme, calibrated on inputs like those of a verification."""
    ranges = calibrate(artifact, [gaussian_input(artifact, CALIBRATION_STEPS)])
    return quantize_artifact(artifact, ranges, scheme=scheme, keep=keep)


def random_integer_artifact(
    seed: int = 0,
    input_size: int = 3,
    hidden_sizes: tuple[int, ...] = (5,),
    *,
    scheme: str = "static-w8a8",
    keep: Mapping[str, str] | None = None,
    octaves: float = 0,
    **shape: Any,
) -> Artifact:
    """A valid artifact of random integers (not quantized from a float model); ``shape`` as in ``random_config``."""
    return random_integers(random_config(input_size, hidden_sizes, **shape), seed, scheme, keep, octaves)


def with_full_scale(artifact: Artifact, full_scale: float) -> Artifact:
    """The artifact with one full scale of all units of its first GRU, whose candidate is unbounded."""
    arrays = {name: artifact.array(name).copy() for name in artifact.tensors}
    arrays["gru0.full_scale"][...] = full_scale
    return from_arrays(artifact.config, arrays)


def random_integers(
    config: ModelConfig,
    seed: int,
    scheme: str = "static-w8a8",
    keep: Mapping[str, str] | None = None,
    octaves: float = 0,
) -> Artifact:
    """The artifact of random integers of any float32 configuration, in a static scheme.

    ``octaves``: by how many powers of two, up or down, every scale may leave its usual range; biases then fill theirs.
    """
    rng = np.random.default_rng(seed)

    def spread(scales: Any) -> Any:
        return scales * 2.0 ** rng.uniform(-octaves, octaves, np.shape(scales)) if octaves else scales

    config = changed(config, scheme=scheme, quantization=QuantizationConfig(keep=dict(keep or {})))
    scales = {}
    for name in expected_operands(config):
        limit = operand_limit(config, name)
        reach = 4 if config.node(name.removesuffix(".rh")) is config.entry else 1
        scales[name] = float(spread(reach / limit))
    config = changed(config, quantization=replace(config.quantization, operand_scale=scales))
    arrays: dict[str, np.ndarray] = {}
    for name, (dtype, size) in expected_tensors(config).items():
        if name.endswith(".mean"):
            arrays[name] = rng.normal(0, 3, size).astype(np.float32)
        elif name.endswith(".std"):
            arrays[name] = rng.uniform(0.5, 4, size).astype(np.float32)
        elif name.endswith(".output_offset"):
            arrays[name] = rng.normal(0, 3, size).astype(np.float32)
        elif name.endswith(".full_scale"):
            arrays[name] = spread(rng.uniform(0.5, 4, size)).astype(np.float32)
        elif name.endswith("_scale"):
            arrays[name] = spread(rng.uniform(0.005, 0.02, size)).astype(np.float32)
        elif name.endswith(".h0"):
            arrays[name] = rng.integers(-(2**24), 2**24 + 1, size, dtype=np.int32)
        elif dtype == "int8":
            arrays[name] = rng.integers(-127, 128, size, dtype=np.int8)
        else:
            limit = 2**28 if octaves else 2000
            arrays[name] = rng.integers(-limit, limit + 1, size, dtype=np.int32)
    arrays |= tables_of(config)
    return from_arrays(config, arrays)


def from_arrays(config: ModelConfig, arrays: Mapping[str, np.ndarray]) -> Artifact:
    """An artifact of these arrays, with its identity."""
    return with_identity(Artifact(config, {name: Tensor.from_numpy(array) for name, array in arrays.items()}))


def changed(config: ModelConfig, **fields: object) -> ModelConfig:
    """The configuration with some fields replaced; its identity is left to be filled in."""
    return ModelConfig(**{**vars(config), "identity": "", **fields})  # type: ignore[arg-type]  # fields of ModelConfig
