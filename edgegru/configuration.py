"""The training configuration: a TOML file as frozen dataclasses, every field with a default, a type and a range.

Sections: ``[data]`` (edgegru.data.DataConfig), ``[front_end]``, ``[model]``, ``[training]``, ``[augmentation]``,
``[decision]`` (edgegru_runtime.model_config.DecisionConfig). An unknown section or key is refused by name.
docs/training.md says what each one does.
"""

from __future__ import annotations

import json
import math
import tomllib
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from edgegru.data import DataConfig
from edgegru_runtime.config_json import decision_to_json, parse_decision
from edgegru_runtime.errors import ArtifactError, ConfigError
from edgegru_runtime.model_config import RESETS, DecisionConfig

SCHEDULES = ("one-cycle", "cosine", "constant")
METRICS = ("auto", "loss", "accuracy", "macro_f1", "nll", "micro_f1", "mse", "mae")
CLASS_WEIGHTS = ("none", "balanced")
LAYER_ACTIVATIONS = ("linear", "relu", "tanh", "sigmoid")
FRONT_ENDS = ("none", "log-mel")
SUPERVISIONS = ("last", "all")
Config = TypeVar("Config")


def setting(default: Any, meaning: str, **rule: Any) -> Any:
    """A field with what it means and what it may be.

    ``rule``: ``minimum``, ``maximum`` (both included), ``above``, ``below`` (both excluded), for a tuple of each of its
    items; ``choices`` for strings.
    """
    return field(default=default, metadata={"meaning": meaning, **rule})


@dataclass(frozen=True)
class FrontEndConfig:
    """What makes features of the samples of a step, in front of the standardisation (docs/front-ends.md).

    Raises ConfigError.
    """

    kind: str = setting("none", '"none", or "log-mel": energies of sound in bands', choices=FRONT_ENDS)
    frame_length: int = setting(200, "samples in a frame; one ends with every step", minimum=2, maximum=4096)
    fft_size: int = setting(256, "points of the Fourier transform, a power of two", minimum=8, maximum=4096)
    bands: int = setting(32, "mel bands", minimum=1, maximum=256)
    low: float = setting(60.0, "Hz, where the lowest band begins", minimum=0.0, maximum=1e6)
    high: float = setting(0.0, "Hz, where the highest band ends; 0: half the sample rate", minimum=0.0, maximum=1e6)
    full_scale: float = setting(32768.0, "what a sample of full scale is", above=0.0, maximum=1e9)
    floor: float = setting(1e-6, "added to each energy before its logarithm", above=0.0, maximum=1e6)

    def __post_init__(self) -> None:
        check_fields(self, "front_end")
        if self.fft_size & (self.fft_size - 1) or self.fft_size < self.frame_length:
            raise ConfigError(
                f"front_end.fft_size is {self.fft_size}, expected a power of two of at least the frame_length "
                f"{self.frame_length}"
            )


@dataclass(frozen=True)
class NetworkConfig:
    """The network between standardisation and head; docs/training.md draws it. Raises ConfigError."""

    hidden_size: int = setting(32, "units of each GRU layer", minimum=1, maximum=4096)
    num_layers: int = setting(1, "GRU layers", minimum=1, maximum=16)
    reset: str = setting("after", "reset gate after the recurrent product (PyTorch, cuDNN) or before", choices=RESETS)
    bias: bool = setting(True, "biases in the GRU layers")
    embedding_size: int = setting(0, "numbers that stand for a token of text; 0: no text", minimum=0, maximum=4096)
    convolution_size: int = setting(0, "outputs of a causal convolution in front; 0: none", minimum=0, maximum=4096)
    convolution_kernel: int = setting(5, "steps it sees", minimum=1, maximum=1024)
    convolution_activation: str = setting("relu", "its activation", choices=LAYER_ACTIVATIONS)
    differences: tuple[int, ...] = setting(
        (), "in place of a convolution: inputs less those so many steps ago", minimum=1, maximum=1023
    )
    input_layers: tuple[int, ...] = setting((), "sizes of linear layers before the GRU", minimum=1, maximum=4096)
    input_activation: str = setting("relu", "their activation", choices=LAYER_ACTIVATIONS)
    output_layers: tuple[int, ...] = setting((), "sizes of linear layers after the GRU", minimum=1, maximum=4096)
    output_activation: str = setting("relu", "their activation", choices=LAYER_ACTIVATIONS)
    dropout: float = setting(0.0, "share of each GRU layer's outputs dropped in training", minimum=0.0, below=1.0)
    time_constant: float = setting(32.0, "largest initial time constant of a unit, in steps", minimum=2.0, maximum=1e6)
    standardise: bool = setting(True, "inputs by mean and standard deviation of the training part; false: as they are")
    skip_steps: int = setting(0, "latest inputs that a linear map adds to the outputs", minimum=0, maximum=1024)
    skip_ridge: float = setting(0.0, "ridge of its closed form, a channel each; 0: learned", minimum=0.0, maximum=1e9)

    def __post_init__(self) -> None:
        check_fields(self, "model")
        if self.differences and self.convolution_size:
            raise ConfigError("model.differences is in place of a convolution, but model.convolution_size is not 0")
        if self.skip_ridge and not self.skip_steps:
            found = f"model.skip_ridge is {self.skip_ridge:g}, but model.skip_steps is 0"
            raise ConfigError(f"{found}: expected some steps")


@dataclass(frozen=True)
class TrainingConfig:
    """How the network is trained; docs/training.md explains each rule. Raises ConfigError."""

    seed: int = setting(0, "of split, initial weights, order, resets, augmentation", minimum=0, maximum=2**32 - 1)
    epochs: int = setting(100, "passes over the training part", minimum=1, maximum=1_000_000)
    lanes: int = setting(16, "recordings trained side by side", minimum=1, maximum=65_536)
    bptt_steps: int = setting(64, "steps gradients flow back; the state goes further", minimum=1, maximum=1_000_000)
    random_reset: float = setting(0.1, "chance of a zero state at each chunk boundary", minimum=0.0, maximum=1.0)
    random_start: bool = setting(True, "chunk boundaries fall elsewhere in every epoch (not for recording targets)")
    supervision: str = setting("last", "recording targets count at the last step or at all", choices=SUPERVISIONS)
    learning_rate: float = setting(0.003, "of AdamW, at its highest", above=0.0, maximum=10.0)
    weight_decay: float = setting(0.01, "of AdamW, on matrices only", minimum=0.0, maximum=10.0)
    schedule: str = setting("one-cycle", "of the learning rate", choices=SCHEDULES)
    warm_up: float = setting(0.1, "share of training in which the rate rises; not for constant", minimum=0.0, below=1.0)
    gradient_clip: float = setting(1.0, "largest norm of the gradient; 0 = any", minimum=0.0, maximum=1e6)
    label_smoothing: float = setting(0.0, "probability taken from the true class", minimum=0.0, below=1.0)
    class_weights: str | tuple[float, ...] = setting(
        "none", '"none", "balanced", or a weight a class', choices=CLASS_WEIGHTS, minimum=0.0, maximum=1e6
    )
    averaging: float = setting(0.0, "decay of the running average of weights; 0 = none", minimum=0.0, below=1.0)
    metric: str = setting("auto", 'decides the best epoch; "auto": accuracy of classes, else loss', choices=METRICS)
    patience: int = setting(0, "stop after so many epochs without a better; 0 = never", minimum=0, maximum=1_000_000)
    qat_epochs: int = setting(20, "of quantization-aware training", minimum=1, maximum=1_000_000)
    qat_learning_rate: float = setting(0.0001, "of AdamW in it, at its highest", above=0.0, maximum=10.0)
    threads: int = setting(1, "CPU threads; more only help networks of several hundred units", minimum=1, maximum=1024)

    def __post_init__(self) -> None:
        check_fields(self, "training")


@dataclass(frozen=True)
class AugmentationConfig:
    """Random changes of the training part, drawn anew in every epoch; all off by default. Raises ConfigError."""

    scale: float = setting(0.0, "each channel times exp(N(0, scale))", minimum=0.0, maximum=2.0)
    noise: float = setting(0.0, "N(0, noise) at each step, in standard deviations", minimum=0.0, maximum=10.0)
    time_stretch: float = setting(0.0, "each recording up to this share longer or shorter", minimum=0.0, below=1.0)
    channel_dropout: float = setting(0.0, "chance of a channel held at its mean", minimum=0.0, below=1.0)
    rotation: float = setting(0.0, "degrees, largest 3-D rotation of channel triples", minimum=0.0, maximum=180.0)
    silence: float = setting(0.0, "seconds of zeros at most, in front and as many behind", minimum=0.0, maximum=60.0)
    snr: float = setting(0.0, "dB, recording over added white noise, from this to 60; 0: none", minimum=0.0, below=60.0)
    token_dropout: float = setting(0.0, "chance of a token replaced by the unknown one", minimum=0.0, below=1.0)
    band_gain: float = setting(0.0, "log2, deviation of a gain over the front end's bands", minimum=0.0, maximum=10.0)

    def __post_init__(self) -> None:
        check_fields(self, "augmentation")


@dataclass(frozen=True)
class TrainConfig:
    """A whole configuration file."""

    data: DataConfig = field(default_factory=DataConfig)
    front_end: FrontEndConfig = field(default_factory=FrontEndConfig)
    model: NetworkConfig = field(default_factory=NetworkConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    decision: DecisionConfig = field(default_factory=DecisionConfig)


SECTIONS: dict[str, type] = {
    "data": DataConfig,
    "front_end": FrontEndConfig,
    "model": NetworkConfig,
    "training": TrainingConfig,
    "augmentation": AugmentationConfig,
    "decision": DecisionConfig,
}


def load_config(path: str | Path) -> TrainConfig:
    """Read a TOML file. Raises ConfigError with the file's name for whatever is wrong in it."""
    return read_toml(path, parse_config)


def read_toml(path: str | Path, parse: Callable[[Mapping[str, Any]], Config]) -> Config:
    """What ``parse`` makes of a TOML file. Raises ConfigError as ``load_config`` does."""
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"cannot read the configuration {path}: {reason}") from error
    try:
        return parse(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is no valid TOML: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def parse_config(document: Mapping[str, Any]) -> TrainConfig:
    """Build a configuration from nested mappings of sections. Raises ConfigError."""
    sections = parse_sections(document, SECTIONS)
    try:
        parse_decision(decision_to_json(sections["decision"]))  # the ranges that every model file is held to
    except ArtifactError as error:
        raise ConfigError(str(error)) from error
    return TrainConfig(**sections)


def parse_sections(document: Mapping[str, Any], kinds: Mapping[str, type]) -> dict[str, Any]:
    """The sections of a document, each of its kind, by name. Raises ConfigError."""
    _refuse_unknown("section", document, kinds)
    sections = {}
    for name, kind in kinds.items():
        values = document.get(name, {})
        if not isinstance(values, Mapping):
            raise ConfigError(f"{name} is {values!r}, expected a section [{name}]")
        sections[name] = _parse_section(name, kind, values)
    return sections


def config_values(config: Any) -> dict[str, dict[str, Any]]:
    """Section → key → plain value (bool, int, float, str, list): what ``parse_config`` takes back."""
    return {
        name: {
            item.name: list(value) if isinstance(value := getattr(section, item.name), tuple) else value
            for item in settings_of(type(section))
        }
        for name, section in vars(config).items()
    }


def config_to_toml(config: Any) -> str:
    """The configuration as TOML, every field with its value and, where known, its meaning; ``load_config`` reads it."""
    lines = []
    for name, values in config_values(config).items():
        meanings = {item.name: item.metadata.get("meaning") for item in settings_of(type(getattr(config, name)))}
        lines.append(f"[{name}]")
        for key, value in values.items():
            comment = f"  # {meanings[key]}" if meanings[key] else ""
            lines.append(f"{key} = {_toml_value(value)}{comment}")
        lines.append("")
    return "\n".join(lines)


def check_fields(section: Any, name: str) -> None:
    """Check each field of a frozen dataclass made with ``setting``. Raises ConfigError that names field and rule."""
    hints = get_type_hints(type(section))
    for item in fields(section):
        value = _typed(f"{name}.{item.name}", getattr(section, item.name), hints[item.name])
        object.__setattr__(section, item.name, value)  # 1 becomes 1.0 where a float is meant, a list a tuple
        for single in value if isinstance(value, tuple) else (value,):
            _check_rule(f"{name}.{item.name}", single, item.metadata)


def settings_of(kind: type) -> list[Field[Any]]:
    """The fields that a section has: not the residual of a decision, whose scale is measured with the trained model."""
    return [item for item in fields(kind) if (kind, item.name) != (DecisionConfig, "residual")]


def _parse_section(name: str, kind: type, values: Mapping[str, Any]) -> Any:
    _refuse_unknown(f"key in [{name}]", values, [item.name for item in settings_of(kind)])
    hints = get_type_hints(kind)
    return kind(**{key: _typed(f"{name}.{key}", value, hints[key]) for key, value in values.items()})


def _refuse_unknown(what: str, found: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    unknown = [key for key in found if key not in known]
    if unknown:
        raise ConfigError(f"unknown {what}: {unknown[0]!r}; known are {', '.join(known)}")


def _typed(name: str, value: Any, hint: Any) -> Any:
    """``value`` as the type of a field, or ConfigError. bool is no number; an int is a float where one is expected."""
    if get_origin(hint) in (Union, types.UnionType):
        if not isinstance(value, (str, list, tuple)):
            raise ConfigError(f"{name} is {value!r}, expected a string or a list")
        tuple_hint = next(option for option in get_args(hint) if get_origin(option) is tuple)
        return _typed(name, value, str if isinstance(value, str) else tuple_hint)
    if get_origin(hint) is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{name} is {value!r}, expected a list")
        return tuple(_typed(f"{name}[{index}]", item, get_args(hint)[0]) for index, item in enumerate(value))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > 2**53:
            raise ConfigError(f"{name} is {value}, expected a number of ordinary size")
        value = float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        expected = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}[hint]
        raise ConfigError(f"{name} is {value!r}, expected {expected}")
    if hint is float and not math.isfinite(value):
        raise ConfigError(f"{name} is {value!r}, expected a finite number")
    return value


def _check_rule(name: str, value: Any, rule: Mapping[str, Any]) -> None:
    if isinstance(value, str):
        if "choices" in rule and value not in rule["choices"]:
            raise ConfigError(f"{name} is {value!r}, expected one of {', '.join(rule['choices'])}")
        return
    for key, wrong, words in (
        ("minimum", lambda bound: value < bound, "at least"),
        ("above", lambda bound: value <= bound, "more than"),
        ("maximum", lambda bound: value > bound, "at most"),
        ("below", lambda bound: value >= bound, "less than"),
    ):
        if key in rule and wrong(rule[key]):
            raise ConfigError(f"{name} is {value!r}, expected {words} {rule[key]}")


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML allows no bare DEL
    return repr(value)
