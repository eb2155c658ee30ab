"""The configuration inside an artifact: what a model is, as plain frozen data.

Parsing and validation are in ``artifact.py``; the JSON form is documented in ``docs/format.md``.
Gate order everywhere: reset, update, candidate (``rzn``), as in PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

FORMAT_VERSION = 1
SCHEMES = ("float32", "static-w8a8")
ACTIVATIONS = ("linear", "relu", "tanh", "sigmoid")
RESETS = ("after", "before")
TARGETS = ("step_label", "recording_label", "step_value", "recording_value", "forecast")


@dataclass(frozen=True)
class InputConfig:
    """The one input of a model: ``size`` channels sampled together."""

    size: int
    channels: tuple[str, ...]  # one name a channel
    units: tuple[str, ...]  # one unit a channel, "" where unknown
    rate: float | None  # samples per second, None where the data declared none


@dataclass(frozen=True)
class StandardiseNode:
    """``(x - mean) / std``; the only node that reads the input ``x``. Tensors ``mean``, ``std``: (size,) float32."""

    name: str
    inputs: tuple[str, ...]
    size: int
    kind: str = "standardise"

    @property
    def output_size(self) -> int:
        return self.size


@dataclass(frozen=True)
class LinearNode:
    """``activation(W x + b)``. Tensors ``weight``: (output_size, input_size), ``bias``: (output_size,)."""

    name: str
    inputs: tuple[str, ...]
    input_size: int
    output_size: int
    bias: bool = True
    activation: str = "linear"
    kind: str = "linear"


@dataclass(frozen=True)
class GruNode:
    """One GRU layer. Tensors ``weight_ih``: (3H, input_size), ``weight_hh``: (3H, H), ``bias_ih``, ``bias_hh``: (3H,).

    ``reset``: "after" the recurrent product (PyTorch, cuDNN) or "before" it (Cho et al. 2014, arXiv:1406.1078).
    """

    name: str
    inputs: tuple[str, ...]
    input_size: int
    hidden_size: int
    reset: str = "after"
    bias: bool = True
    gate_activation: str = "sigmoid"
    candidate_activation: str = "tanh"
    kind: str = "gru"

    @property
    def output_size(self) -> int:
        return self.hidden_size


@dataclass(frozen=True)
class HeadNode:
    """What turns the last linear values into outputs: kind "softmax", "sigmoid" or "identity". No tensors."""

    name: str
    inputs: tuple[str, ...]
    size: int
    kind: str

    @property
    def output_size(self) -> int:
        return self.size


Node = StandardiseNode | LinearNode | GruNode | HeadNode


@dataclass(frozen=True)
class OutputConfig:
    """One output: which head gives it and what its numbers mean.

    ``labels`` names the numbers (class names; channel names for values). ``target`` is one of ``TARGETS``: a
    "recording_*" target is read at the last step of a recording, the others at every step. ``horizon``: for "forecast",
    how many future steps are predicted (labels then run step by step: all channels of t+1, all of t+2, …), else 0.
    """

    node: str
    target: str
    labels: tuple[str, ...]
    units: tuple[str, ...] = ()
    horizon: int = 0


@dataclass(frozen=True)
class DecisionConfig:
    """Defaults for turning class probabilities into decisions on the device."""

    threshold: float = 0.5
    threshold_off: float = 0.5
    smoothing: str = "none"  # "none", "mean:N", "median:N" or "ema:A"
    warm_up: int = 0  # steps after a reset whose output is not to be trusted
    reset: str = "recording"  # when to reset the state: "recording" (at its start) or "never"


@dataclass(frozen=True)
class QuantizationConfig:
    """Parameters of an integer scheme that are not tensors (docs/quantization.md).

    ``operand_scale``: real value of one unit of an operand, by value name: a node's name, or ``NAME.rh`` for ``r ⊙ h``
    of a GRU with reset before. ``observer``, ``margin``: how the ranges were found.
    """

    operand_scale: dict[str, float]
    observer: str = "minmax"
    margin: float = 1.0


@dataclass(frozen=True)
class ModelConfig:
    """All that an artifact says besides its tensors."""

    scheme: str
    identity: str  # SHA-256, 64 lower-case hexadecimal digits, over nodes, tensors and quantization
    input: InputConfig
    nodes: tuple[Node, ...]  # in execution order
    outputs: tuple[OutputConfig, ...]
    decision: DecisionConfig = DecisionConfig()
    quantization: QuantizationConfig | None = None  # None for float32
    data: dict[str, Any] = field(default_factory=dict)  # how to read recordings for it: {"format": …, "options": {…}}
    provenance: dict[str, Any] = field(default_factory=dict)

    def node(self, name: str) -> Node:
        """The node of that name (KeyError where there is none)."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    @property
    def gru_nodes(self) -> tuple[GruNode, ...]:
        """The nodes that carry state, in execution order: also the order of states everywhere."""
        return tuple(node for node in self.nodes if isinstance(node, GruNode))
