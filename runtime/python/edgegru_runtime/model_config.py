"""The configuration inside an artifact: what a model is, as plain frozen data.

Parsing and validation are in ``artifact.py``; the JSON form is documented in ``docs/format.md``.
Gate order everywhere: reset, update, candidate (``rzn``), as in PyTorch.
"""

from __future__ import annotations

from edgegru_runtime.plain_data import dataclass, field

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    from typing import Any

FORMAT_VERSION = 1
STATIC_SCHEMES = ("static-w8a8", "static-w8a16")  # integers from the input to the decision
SCHEMES = ("float32", *STATIC_SCHEMES, "dynamic-w8")
HARD_SIGMOIDS = {"hard_sigmoid_5": 5.0, "hard_sigmoid_6": 6.0}  # clip(v / divisor + 1/2, 0, 1), by divisor
ACTIVATIONS = ("linear", "relu", "tanh", "sigmoid", *HARD_SIGMOIDS)
GATE_ACTIVATIONS = ("sigmoid", *HARD_SIGMOIDS)  # of a GRU, as are those below
CANDIDATE_ACTIVATIONS = ("tanh", "relu", "linear", *GATE_ACTIVATIONS)
UNBOUNDED = ("relu", "linear")  # activations whose values have no bound of their own
RESETS = ("after", "before")
NEXT_TOKEN = "next_token"  # the target of log_softmax heads
TARGETS = ("step_label", "recording_label", "step_labels", "step_value", "recording_value", "forecast", NEXT_TOKEN)


@dataclass(frozen=True)
class TokenizerConfig:
    """How text becomes tokens, whose numbers an embedding reads (docs/tokenizers.md).

    ``kind``: "characters", "words" or "pieces" of words. ``tokens``: their texts; the number of a token is its place.
    ``lower``: text is lower-cased first. ``split``: what parts words, "punctuation" or "spaces" alone. ``unknown``: the
    token of what is none of the others; None: it is left out. ``end``: the token that no text gives, of where one ends;
    a text that a model says begins with it too.
    """

    kind: str
    tokens: tuple[str, ...]
    lower: bool = False
    split: str = "punctuation"
    unknown: int | None = None
    end: int | None = None


@dataclass(frozen=True)
class InputConfig:
    """The one input of a model: ``size`` channels sampled together, of which a step takes ``samples_per_step``.

    ``tokenizer``: what makes tokens of text, where the input is the number of a token.
    """

    size: int
    channels: tuple[str, ...]  # one name a channel
    units: tuple[str, ...]  # one unit a channel, "" where unknown
    rate: float | None  # samples per second, None where the data declared none
    samples_per_step: int = 1
    tokenizer: TokenizerConfig | None = None

    @property
    def step_size(self) -> int:
        """Numbers that a step takes: (samples_per_step, size), the oldest sample first."""
        return self.samples_per_step * self.size

    @property
    def number_names(self) -> tuple[str, ...]:
        """What the numbers of a step are called: as their channels, in blocks with the sample's place, ``NAME[0]``."""
        if self.samples_per_step == 1:
            return self.channels
        return tuple(f"{name}[{place}]" for place in range(self.samples_per_step) for name in self.channels)

    @property
    def step_rate(self) -> float | None:
        """Steps per second, None where the data declared no rate."""
        return None if self.rate is None else self.rate / self.samples_per_step


@dataclass(frozen=True)
class LogMelNode:
    """log2 of the energies in ``output_size`` bands of a spectrum, of one channel of sound (docs/front-ends.md).

    Reads the input ``x``: the ``input_size`` newest samples. Keeps the samples before them that its window of
    ``frame_length`` samples still covers, zero at first. Tensors ``window``: (frame_length,), ``twiddles``: (fft_size /
    4 + 1,), ``edges``: (output_size + 2,) and ``rising``: (fft_size / 2 + 1,).
    """

    name: str
    inputs: tuple[str, ...]
    input_size: int  # samples from one frame to the next
    output_size: int
    frame_length: int  # samples in the window
    fft_size: int  # a power of two, at least frame_length
    full_scale: float  # what a sample of full scale is: 32768 for those of 16 bits as they are
    floor: float  # added to each energy, so that silence has a logarithm
    kind: str = "log_mel"

    @property
    def frames(self) -> int:
        """How many past values of ``input_size`` samples it keeps."""
        return -(-self.frame_length // self.input_size) - 1

    @property
    def state_size(self) -> int:
        """Numbers kept between steps: (frames, input_size), the oldest first."""
        return self.frames * self.input_size


@dataclass(frozen=True)
class StandardiseNode:
    """``(x - mean) / std`` of the input ``x``, or of a front end's value. Tensors ``mean``, ``std``: (size,)."""

    name: str
    inputs: tuple[str, ...]
    size: int
    kind: str = "standardise"

    @property
    def output_size(self) -> int:
        return self.size


@dataclass(frozen=True)
class EmbeddingNode:
    """Row ``⌊x + 1/2⌋`` of a table, for an input ``x`` of one channel; beyond the table its first or last row.

    Tensor ``weight``: (num_embeddings, output_size).
    """

    name: str
    inputs: tuple[str, ...]
    num_embeddings: int
    output_size: int
    kind: str = "embedding"


@dataclass(frozen=True)
class ConvolutionNode:
    """Causal 1-D convolution over time, ``activation(Σ_k W_k x_(t − (kernel_size − 1 − k) · dilation) + b)``.

    Keeps the last ``(kernel_size − 1) · dilation`` values it read, zero at first. Tensors ``weight``: (output_size,
    kernel_size, input_size), the oldest step first as in PyTorch's Conv1d; ``bias``: (output_size,).
    """

    name: str
    inputs: tuple[str, ...]
    input_size: int
    output_size: int
    kernel_size: int
    dilation: int = 1
    bias: bool = True
    activation: str = "linear"
    kind: str = "convolution"

    @property
    def frames(self) -> int:
        """How many past values it keeps."""
        return (self.kernel_size - 1) * self.dilation

    @property
    def state_size(self) -> int:
        """Numbers kept between steps: (frames, input_size), the oldest first."""
        return self.frames * self.input_size


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
    ``initial_state``: a stream begins with the tensor ``h0``: (H,), not with zeros.
    """

    name: str
    inputs: tuple[str, ...]
    input_size: int
    hidden_size: int
    reset: str = "after"
    bias: bool = True
    gate_activation: str = "sigmoid"
    candidate_activation: str = "tanh"
    initial_state: bool = False
    kind: str = "gru"

    @property
    def output_size(self) -> int:
        return self.hidden_size

    @property
    def state_size(self) -> int:
        """Numbers kept between steps: h."""
        return self.hidden_size

    @property
    def unbounded(self) -> bool:
        """Whether h has no bound of its own: with a candidate of tanh or a sigmoid |h| ≤ 1."""
        return self.candidate_activation in UNBOUNDED


@dataclass(frozen=True)
class AttentionNode:
    """Additive attention (Bahdanau et al. 2014, arXiv:1409.0473) over the rows that a stream was given to remember.

    A row is a value m_j: (output_size,) and a key k_j: (size,). With the query q: (size,) that it reads, ``e_j =
    weight · tanh(q + k_j)``, ``a = softmax(e)`` over the rows that there are, and it gives ``Σ a_j m_j``: zeros while
    there are none. Tensor ``weight``: (size,).
    """

    name: str
    inputs: tuple[str, ...]
    size: int
    output_size: int
    length: int = 64  # rows at most
    kind: str = "attention"

    @property
    def row_size(self) -> int:
        """Numbers of a row: the value, then the key."""
        return self.output_size + self.size

    @property
    def state_size(self) -> int:
        """Numbers kept between steps: how many rows there are, then (length, row_size), zero behind the last row."""
        return 1 + self.length * self.row_size


@dataclass(frozen=True)
class ElementwiseNode:
    """Two values of ``size``, element by element: kind "add" or "multiply". No tensors."""

    name: str
    inputs: tuple[str, ...]  # two
    size: int
    kind: str

    @property
    def output_size(self) -> int:
        return self.size


@dataclass(frozen=True)
class LayerNormalisationNode:
    """``(v − mean(v)) / √(var(v) + epsilon) · weight + bias`` over the numbers of a value, ``var`` divided by ``size``.

    Tensors ``weight``, ``bias``: (size,) float32. No static scheme has it.
    """

    name: str
    inputs: tuple[str, ...]
    size: int
    epsilon: float = 1e-5
    kind: str = "layer_normalisation"

    @property
    def output_size(self) -> int:
        return self.size


@dataclass(frozen=True)
class ConcatenateNode:
    """Two or more values side by side, ``size`` numbers in all. No tensors."""

    name: str
    inputs: tuple[str, ...]
    size: int
    kind: str = "concatenate"

    @property
    def output_size(self) -> int:
        return self.size


@dataclass(frozen=True)
class HeadNode:
    """What turns the last linear values into outputs. No tensors.

    ``kind``: "softmax", "log_softmax" (its natural logarithms), "sigmoid" or "identity".
    """

    name: str
    inputs: tuple[str, ...]
    size: int
    kind: str

    @property
    def output_size(self) -> int:
        return self.size


StateNode = LogMelNode | ConvolutionNode | GruNode | AttentionNode  # what remembers something from step to step
ProductNode = LinearNode | ConvolutionNode | GruNode  # what multiplies a matrix with the value it reads
Node = (
    LogMelNode
    | StandardiseNode
    | EmbeddingNode
    | ProductNode
    | AttentionNode
    | ElementwiseNode
    | LayerNormalisationNode
    | ConcatenateNode
    | HeadNode
)


@dataclass(frozen=True)
class OutputConfig:
    """One output: which head gives it and what its numbers mean.

    ``labels`` names the numbers (class names; channel names for values). ``target`` is one of ``TARGETS``: a
    "recording_*" target is read at the last step of a recording, the others at every step; of "step_labels" any number
    may hold at once. ``horizon``: for "forecast",
    how many future steps are predicted (labels then run step by step: all channels of t+1, all of t+2, …), else 0.
    "next_token", the row of the embedding that comes next, has no labels: its numbers are called by their places.
    """

    node: str
    target: str
    labels: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    horizon: int = 0


@dataclass(frozen=True)
class ResidualConfig:
    """How far an output of values is from what is measured, as a score (docs/deciding.md)."""

    output: str  # the node of a "forecast" or "step_value"
    scale: tuple[float, ...]  # the usual size of a residual, in units of the data: one a label, of the first step ahead
    memory: float = 0.0  # time in which a peak of the score, which later ones are compared with, fades; 0: none are


@dataclass(frozen=True)
class DecisionConfig:
    """Defaults for turning probabilities, or the score of residuals, into decisions on the device (docs/deciding.md).

    Times are seconds where the input has a rate, and steps where it has none.
    """

    threshold: float = 0.5
    threshold_off: float = 0.5
    smoothing: str = "none"  # "none", "mean:N", "median:N" or "ema:A"
    warm_up: int = 0  # steps after a reset whose output is not to be trusted
    reset: str = "recording"  # when to reset the state: "recording" (at its start) or "never"
    trigger_level: int = 1  # steps in a row at the threshold that switch on
    minimum_on: float = 0.0  # time from on to off, at least
    minimum_off: float = 0.0  # time from off to on, at least
    refractory: float = 0.0  # time from on to the next on, at least
    residual: ResidualConfig | None = None


@dataclass(frozen=True)
class QuantizationConfig:
    """Parameters of an integer scheme that are not tensors (docs/quantization.md).

    ``operand_scale``: real value of one unit of an operand, by value name: a node's name, or ``NAME.rh`` for ``r ⊙ h``
    of a GRU with reset before. ``keep``: the scheme of single nodes where it is not the model's. ``observer``,
    ``margin``: how the ranges were found. ``clips``: the share of values beyond the range in calibration, by value.
    """

    operand_scale: dict[str, float] = field(default_factory=dict)
    keep: dict[str, str] = field(default_factory=dict)
    observer: str = "minmax"
    margin: float = 1.0
    clips: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelConfig:
    """All that an artifact says besides its tensors."""

    scheme: str
    identity: str  # SHA-256, 64 lower-case hexadecimal digits, over nodes, tensors and quantization
    input: InputConfig
    nodes: tuple[Node, ...]  # in execution order
    outputs: tuple[OutputConfig, ...]
    decision: DecisionConfig = DecisionConfig()
    quantization: QuantizationConfig | None = None  # None for float32 exactly
    encoder: str | None = None  # the identity of the model whose outputs are the rows that attention reads
    data: dict[str, Any] = field(default_factory=dict)  # how to read recordings for it: {"format": …, "options": {…}}
    provenance: dict[str, Any] = field(default_factory=dict)

    def node(self, name: str) -> Node:
        """The node of that name (KeyError where there is none)."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    @property
    def front_end(self) -> LogMelNode | None:
        """What makes features of samples, in front of all other nodes; None where samples are features."""
        first = self.nodes[0]
        return first if isinstance(first, LogMelNode) else None

    @property
    def attention(self) -> AttentionNode | None:
        """What reads the rows that a stream remembers; None where streams remember none."""
        return next((node for node in self.nodes if isinstance(node, AttentionNode)), None)

    @property
    def entry(self) -> Node:
        """The node whose value all later ones build on: a standardise or embedding node, behind the front end."""
        return self.nodes[0 if self.front_end is None else 1]

    @property
    def state_nodes(self) -> tuple[StateNode, ...]:
        """The nodes that carry state, in execution order: also the order of states everywhere."""
        return tuple(node for node in self.nodes if isinstance(node, StateNode) and node.state_size)

    @property
    def static(self) -> bool:
        """Whether the arithmetic is integer from the input to the decision."""
        return self.scheme in STATIC_SCHEMES

    def scheme_of(self, name: str) -> str:
        """The scheme of the node ``name``: what it keeps, or the model's."""
        return self.scheme if self.quantization is None else self.quantization.keep.get(name, self.scheme)
