"""The configuration as JSON (docs/format.md): strict reading and compact writing.

Every field is checked by type and range and an unknown field is refused by its name, so what ``parse_config`` returns
holds only values that the rest of the program can use. How nodes and tensors fit together is for ``artifact.py``.
"""

from __future__ import annotations

import sys

from edgegru_runtime.errors import ArtifactError, FormatVersionError
from edgegru_runtime.json_fields import (
    DIGITS,
    MAX_SIZE,
    MAX_TEXT,
    has_control,
    is_identity,
    is_node_name,
    is_observer,
    is_value_name,
    take_choice,
    take_fields,
    take_flag,
    take_integer,
    take_list,
    take_matching,
    take_number,
    take_positive,
    take_size,
    take_texts,
)
from edgegru_runtime.model_config import (
    ACTIVATIONS,
    CANDIDATE_ACTIVATIONS,
    FORMAT_VERSION,
    GATE_ACTIVATIONS,
    NEXT_TOKEN,
    RESETS,
    SCHEMES,
    TARGETS,
    AttentionNode,
    ConcatenateNode,
    ConvolutionNode,
    DecisionConfig,
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
    ResidualConfig,
    StandardiseNode,
)
from edgegru_runtime.strict_json import parse_json, shown

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

FORMAT = "edgegru"
MAX_NODES = 256
MAX_OUTPUTS = 16
MAX_DEPTH = 8  # of the free-form fields data and provenance
HEAD_KINDS = ("softmax", "log_softmax", "sigmoid", "identity")
ELEMENTWISE_KINDS = ("add", "multiply")
MAX_INPUTS = 64  # of a concatenate node
MAX_EMBEDDINGS = 2**20  # rows of a table; fewer than 2^24, above which a float32 input skips numbers
FFT_SIZES = tuple(2**bits for bits in range(3, 15))
MAX_TIME = 1e9  # of a decision, in seconds or steps
MAX_SCORE = 32767.0  # that a threshold may ask for

_DECISION_RESETS = ("recording", "never")
_DECISION_FIELDS = ("threshold", "threshold_off", "smoothing", "warm_up", "reset")  # always written


def config_to_json(config: ModelConfig) -> dict[str, Any]:
    """The JSON object of a configuration; fields that say nothing are left out. The inverse of ``parse_config``."""
    result: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "scheme": config.scheme,
        "identity": config.identity,
        "input": _input_to_json(config.input),
        "nodes": [node_to_json(node) for node in config.nodes],
        "outputs": [_output_to_json(output) for output in config.outputs],
        "decision": decision_to_json(config.decision),
    }
    if config.quantization is not None:
        result["quantization"] = _quantization_to_json(config.quantization)
    if config.encoder is not None:
        result["encoder"] = config.encoder
    if config.data:
        result["data"] = config.data
    if config.provenance:
        result["provenance"] = config.provenance
    return result


def node_to_json(node: Node) -> dict[str, Any]:
    """The JSON object of one node."""
    result = {**vars(node), "inputs": list(node.inputs)}
    if not result.get("initial_state"):  # of a GRU; false is the default
        result.pop("initial_state", None)
    return result


def decision_to_json(decision: DecisionConfig) -> dict[str, Any]:
    """The JSON object of the decision defaults; the inverse of ``parse_decision``."""
    usual = vars(DecisionConfig())
    result = {name: value for name, value in vars(decision).items() if name in _DECISION_FIELDS or value != usual[name]}
    if decision.residual is not None:
        result["residual"] = residual_to_json(decision.residual)
    return result


def residual_to_json(residual: ResidualConfig) -> dict[str, Any]:
    """The JSON object of a residual."""
    result = {"output": residual.output, "scale": list(residual.scale)}
    return result | {"memory": residual.memory} if residual.memory else result


def dump_json(value: object) -> str:
    """Compact JSON with sorted names: the same value gives the same text.

    Raises ``ArtifactError`` where JSON cannot say it.
    """
    import json

    try:
        return json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ArtifactError(f"configuration cannot be written as JSON: {error}") from None


def parse_config_text(text: str) -> ModelConfig:
    """The configuration written in a JSON text; raises like ``parse_config``."""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise ArtifactError("configuration has half a surrogate pair; expected UTF-8 text") from None
    return parse_config(parse_json(data, "configuration"))


def parse_config(value: object) -> ModelConfig:
    """The configuration that a JSON value describes.

    Raises ``FormatVersionError`` for another format version and ``ArtifactError``, with the place, for a field that is
    unknown, missing, of a wrong type or out of range.
    """
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ArtifactError(f'configuration is not of format "{FORMAT}"')
    version = value.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise FormatVersionError(f"has format version {shown(version)}; this reader knows version {FORMAT_VERSION}")
    top = take_fields(
        value,
        "configuration",
        ("format", "format_version", "scheme", "identity", "input", "nodes", "outputs", "decision"),
        ("quantization", "encoder", "data", "provenance"),
    )
    nodes = take_list(top["nodes"], "nodes", 1, MAX_NODES)
    outputs = take_list(top["outputs"], "outputs", 1, MAX_OUTPUTS)
    quantization = top.get("quantization")
    config = ModelConfig(
        scheme=take_choice(top["scheme"], "scheme", SCHEMES),
        identity=_identity(top["identity"], "identity"),
        input=_input(top["input"]),
        nodes=tuple(_node(node, f"nodes[{i}]") for i, node in enumerate(nodes)),
        outputs=tuple(_output(output, f"outputs[{i}]") for i, output in enumerate(outputs)),
        decision=parse_decision(top["decision"]),
        quantization=None if quantization is None else _quantization(quantization),
        encoder=_identity(top["encoder"], "encoder") if "encoder" in top else None,
        data=_free_object(top.get("data", {}), "data"),
        provenance=_free_object(top.get("provenance", {}), "provenance"),
    )
    if config.decision.residual is not None:
        from edgegru_runtime.residuals import check_residual  # models that have none start without it

        check_residual(config, config.decision.residual)
    return config


def _identity(value: object, at: str) -> str:
    return take_matching(value, at, is_identity, "64 lower-case hexadecimal digits")


def _input_to_json(config: InputConfig) -> dict[str, Any]:
    result: dict[str, Any] = {"size": config.size, "channels": list(config.channels)}
    if any(config.units):
        result["units"] = list(config.units)
    if config.rate is not None:
        result["rate"] = config.rate
    if config.samples_per_step != 1:
        result["samples_per_step"] = config.samples_per_step
    if config.tokenizer is not None:
        from edgegru_runtime.tokenizer import tokenizer_to_json

        result["tokenizer"] = tokenizer_to_json(config.tokenizer)
    return result


def _output_to_json(config: OutputConfig) -> dict[str, Any]:
    result: dict[str, Any] = {"node": config.node, "target": config.target}
    if config.labels:
        result["labels"] = list(config.labels)
    if config.units:
        result["units"] = list(config.units)
    if config.horizon:
        result["horizon"] = config.horizon
    return result


def _quantization_to_json(config: QuantizationConfig) -> dict[str, Any]:
    result = dict(vars(config))
    for name in ("keep", "clips"):
        if not result[name]:
            del result[name]
    return result


def _input(value: object) -> InputConfig:
    fields = take_fields(value, "input", ("size", "channels"), ("units", "rate", "samples_per_step", "tokenizer"))
    size = take_integer(fields["size"], "input.size", 1, MAX_SIZE)
    samples = take_integer(fields.get("samples_per_step", 1), "input.samples_per_step", 1, MAX_SIZE // size)
    channels = take_texts(fields["channels"], "input.channels", size)
    if len(set(channels)) != size or "" in channels:
        raise ArtifactError("input.channels has an empty or repeated name; expected a different name for each channel")
    units = take_texts(fields["units"], "input.units", size) if "units" in fields else ("",) * size
    rate = fields.get("rate")
    tokenizer = None
    if "tokenizer" in fields:
        from edgegru_runtime.tokenizer import parse_tokenizer  # only models of text pay for it

        tokenizer = parse_tokenizer(fields["tokenizer"], "input.tokenizer")
    rate = None if rate is None else take_positive(rate, "input.rate")
    return InputConfig(size, channels, units, rate, samples, tokenizer)


def _node(value: object, at: str) -> Node:
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind == "log_mel":
        return _log_mel(value, at)
    if kind == "standardise":
        fields = take_fields(value, at, ("kind", "name", "inputs", "size"))
        return StandardiseNode(*_name_and_inputs(fields, at), take_size(fields, "size", at))
    if kind == "embedding":
        fields = take_fields(value, at, ("kind", "name", "inputs", "num_embeddings", "output_size"))
        return EmbeddingNode(
            *_name_and_inputs(fields, at),
            take_integer(fields["num_embeddings"], f"{at}.num_embeddings", 1, MAX_EMBEDDINGS),
            take_size(fields, "output_size", at),
        )
    if kind == "convolution":
        kernel = ("kernel_size", "dilation")
        fields = take_fields(
            value, at, ("kind", "name", "inputs", "input_size", "output_size", *kernel, "bias", "activation")
        )
        return ConvolutionNode(
            *_name_and_inputs(fields, at),
            take_size(fields, "input_size", at),
            take_size(fields, "output_size", at),
            take_size(fields, "kernel_size", at),
            take_size(fields, "dilation", at),
            take_flag(fields["bias"], f"{at}.bias"),
            take_choice(fields["activation"], f"{at}.activation", ACTIVATIONS),
        )
    if kind == "attention":
        fields = take_fields(value, at, ("kind", "name", "inputs", "size", "output_size", "length"))
        return AttentionNode(
            *_name_and_inputs(fields, at),
            take_size(fields, "size", at),
            take_size(fields, "output_size", at),
            take_size(fields, "length", at),
        )
    if kind in ELEMENTWISE_KINDS:
        fields = take_fields(value, at, ("kind", "name", "inputs", "size"))
        return ElementwiseNode(*_name_and_inputs(fields, at, 2, 2), take_size(fields, "size", at), kind)
    if kind == "layer_normalisation":
        fields = take_fields(value, at, ("kind", "name", "inputs", "size", "epsilon"))
        epsilon = take_positive(fields["epsilon"], f"{at}.epsilon")
        return LayerNormalisationNode(*_name_and_inputs(fields, at), take_size(fields, "size", at), epsilon)
    if kind == "concatenate":
        fields = take_fields(value, at, ("kind", "name", "inputs", "size"))
        return ConcatenateNode(*_name_and_inputs(fields, at, 2, MAX_INPUTS), take_size(fields, "size", at))
    if kind == "linear":
        fields = take_fields(value, at, ("kind", "name", "inputs", "input_size", "output_size", "bias", "activation"))
        return LinearNode(
            *_name_and_inputs(fields, at),
            take_size(fields, "input_size", at),
            take_size(fields, "output_size", at),
            take_flag(fields["bias"], f"{at}.bias"),
            take_choice(fields["activation"], f"{at}.activation", ACTIVATIONS),
        )
    if kind == "gru":
        formulation = ("reset", "bias", "gate_activation", "candidate_activation")
        required = ("kind", "name", "inputs", "input_size", "hidden_size", *formulation)
        fields = take_fields(value, at, required, ("initial_state",))
        return GruNode(
            *_name_and_inputs(fields, at),
            take_size(fields, "input_size", at),
            take_size(fields, "hidden_size", at),
            take_choice(fields["reset"], f"{at}.reset", RESETS),
            take_flag(fields["bias"], f"{at}.bias"),
            take_choice(fields["gate_activation"], f"{at}.gate_activation", GATE_ACTIVATIONS),
            take_choice(fields["candidate_activation"], f"{at}.candidate_activation", CANDIDATE_ACTIVATIONS),
            take_flag(fields.get("initial_state", False), f"{at}.initial_state"),
        )
    if kind in HEAD_KINDS:
        fields = take_fields(value, at, ("kind", "name", "inputs", "size"))
        return HeadNode(*_name_and_inputs(fields, at), take_size(fields, "size", at), kind)
    layers = ("log_mel", "standardise", "embedding", "linear", "convolution", "gru", "attention", *ELEMENTWISE_KINDS)
    known = ", ".join((*layers, "layer_normalisation", "concatenate", *HEAD_KINDS))
    raise ArtifactError(f"{at}.kind is {shown(kind)}; expected one of {known}")


def _log_mel(value: object, at: str) -> LogMelNode:
    sizes = ("input_size", "output_size", "frame_length", "fft_size")
    fields = take_fields(value, at, ("kind", "name", "inputs", *sizes, "full_scale", "floor"))
    fft_size = fields["fft_size"]
    if type(fft_size) is not int or fft_size not in FFT_SIZES:
        expected = f"a power of two from {FFT_SIZES[0]} to {FFT_SIZES[-1]}"
        raise ArtifactError(f"{at}.fft_size is {shown(fft_size)}; expected {expected}")
    return LogMelNode(
        *_name_and_inputs(fields, at),
        take_size(fields, "input_size", at),
        take_size(fields, "output_size", at),
        take_integer(fields["frame_length"], f"{at}.frame_length", 1, fft_size),
        fft_size,
        take_positive(fields["full_scale"], f"{at}.full_scale"),
        take_positive(fields["floor"], f"{at}.floor"),
    )


def _name_and_inputs(
    fields: dict[str, Any], at: str, fewest: int = 1, most: int = 1
) -> tuple[str, tuple[str, ...]]:
    name = take_matching(fields["name"], f"{at}.name", is_node_name, "a lower-case letter, then a-z, 0-9 and _")
    if name == "x":
        raise ArtifactError(f'{at}.name is "x"; expected another name, because "x" is the input of the model')
    inputs = take_list(fields["inputs"], f"{at}.inputs", fewest, most)
    expected, places = "the name of a node, or x", enumerate(inputs)
    return name, tuple(take_matching(read, f"{at}.inputs[{i}]", is_node_name, expected) for i, read in places)


def _output(value: object, at: str) -> OutputConfig:
    of_tokens = isinstance(value, dict) and value.get("target") == NEXT_TOKEN
    named, optional = ((), ()) if of_tokens else (("labels",), ("units", "horizon"))
    fields = take_fields(value, at, ("node", "target", *named), optional)
    labels = () if of_tokens else take_texts(fields["labels"], f"{at}.labels", None)
    return OutputConfig(
        node=take_matching(fields["node"], f"{at}.node", is_node_name, "the name of a head"),
        target=take_choice(fields["target"], f"{at}.target", TARGETS),
        labels=labels,
        units=take_texts(fields["units"], f"{at}.units", len(labels)) if "units" in fields else (),
        horizon=take_integer(fields.get("horizon", 0), f"{at}.horizon", 0, MAX_SIZE),
    )


def parse_decision(value: object) -> DecisionConfig:
    """The decision defaults that a JSON value describes; raises like ``parse_config``."""
    optional = ("trigger_level", "minimum_on", "minimum_off", "refractory", "residual")
    fields = take_fields(value, "decision", _DECISION_FIELDS, optional)
    residual = None if fields.get("residual") is None else _residual(fields["residual"])
    highest = 1.0 if residual is None else MAX_SCORE
    threshold = take_number(fields["threshold"], "decision.threshold", 0.0, highest)
    smoothing = fields["smoothing"]
    if not isinstance(smoothing, str) or not _is_smoothing(smoothing):
        expected = '"none", "mean:N", "median:N" (N from 1 to 9999) or "ema:A" (0 < A <= 1)'
        raise ArtifactError(f"decision.smoothing is {shown(smoothing)}; expected {expected}")
    return DecisionConfig(
        threshold,
        take_number(fields["threshold_off"], "decision.threshold_off", 0.0, threshold),
        smoothing,
        take_integer(fields["warm_up"], "decision.warm_up", 0, 2**31 - 1),
        take_choice(fields["reset"], "decision.reset", _DECISION_RESETS),
        take_integer(fields.get("trigger_level", 1), "decision.trigger_level", 1, 2**31 - 1),
        _time(fields, "minimum_on"),
        _time(fields, "minimum_off"),
        _time(fields, "refractory"),
        residual,
    )


def _time(fields: dict[str, Any], name: str) -> float:
    return take_number(fields.get(name, 0.0), f"decision.{name}", 0.0, MAX_TIME)


def _residual(value: object) -> ResidualConfig:
    fields = take_fields(value, "decision.residual", ("output", "scale"), ("memory",))
    scale = take_list(fields["scale"], "decision.residual.scale", 1, MAX_SIZE)
    return ResidualConfig(
        take_matching(fields["output"], "decision.residual.output", is_node_name, "the name of a head"),
        tuple(take_positive(number, f"decision.residual.scale[{i}]") for i, number in enumerate(scale)),
        take_number(fields.get("memory", 0.0), "decision.residual.memory", 0.0, MAX_TIME),
    )


def _is_smoothing(text: str) -> bool:
    kind, _, number = text.partition(":")
    if kind in ("mean", "median"):
        return _is_digits(number, 4) and number[0] != "0"
    whole, point, fraction = number.partition(".")
    share = kind == "ema" and whole in ("0", "1") and (not point or _is_digits(fraction, 20)) and 0 < float(number) <= 1
    return share or text == "none"


def _is_digits(text: str, most: int) -> bool:
    return 0 < len(text) <= most and not text.strip(DIGITS)


def _quantization(value: object) -> QuantizationConfig:
    fields = take_fields(value, "quantization", ("operand_scale", "observer", "margin"), ("keep", "clips"))
    scales = _by_name(fields["operand_scale"], "quantization.operand_scale", is_value_name)
    keep = _by_name(fields.get("keep", {}), "quantization.keep", is_node_name)
    clips = _by_name(fields.get("clips", {}), "quantization.clips", is_value_name)
    at = "quantization.operand_scale"
    return QuantizationConfig(
        operand_scale={name: take_positive(scale, f"{at}.{name}") for name, scale in scales.items()},
        keep={name: take_choice(scheme, f"quantization.keep.{name}", SCHEMES) for name, scheme in keep.items()},
        observer=take_matching(fields["observer"], "quantization.observer", is_observer, "a name such as minmax"),
        margin=take_positive(fields["margin"], "quantization.margin"),
        clips={name: take_number(share, f"quantization.clips.{name}", 0.0, 1.0) for name, share in clips.items()},
    )


def _by_name(value: object, at: str, fits: Callable[[str], bool]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ArtifactError(f"{at} is {shown(value)}; expected an object")
    for name in value:
        take_matching(name, f"a name in {at}", fits, "the name of a value")
    return value


def _free_object(value: object, at: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ArtifactError(f"{at} is {shown(value)}; expected an object")
    _check_free(value, at, MAX_DEPTH)
    return value


def _check_free(value: object, at: str, depth: int) -> None:
    if depth == 0:
        raise ArtifactError(f"{at} is nested too deeply; expected at most {MAX_DEPTH} levels")
    if isinstance(value, dict):
        for name, inner in value.items():
            _check_free(name, f"a name in {at}", depth)
            _check_free(inner, f"{at}.{name}"[:MAX_TEXT], depth - 1)
    elif isinstance(value, list):
        for inner in value:
            _check_free(inner, f"{at}[]", depth - 1)
    elif isinstance(value, str):
        if has_control(value):
            raise ArtifactError(f"{at} is {shown(value)}; expected no control characters")
    elif isinstance(value, float):  # a squared error in small units may be any size
        take_number(value, at, -sys.float_info.max, sys.float_info.max)
    elif isinstance(value, int) and not isinstance(value, bool):
        take_number(value, at, -float(2**63), float(2**63))
