"""The plan: a checked artifact as a flat list of operations over vectors, which is all that the C kernel reads.

docs/plan.md has the format. Standard library only; the same artifact always gives the same bytes.
"""

from __future__ import annotations

import struct

from edgegru_runtime.derivation import Derivation, Multipliers, row_coefficients
from edgegru_runtime.fixed_point import SAMPLE_BITS, log_mel_floor
from edgegru_runtime.model_config import (
    AttentionNode,
    ConcatenateNode,
    ConvolutionNode,
    ElementwiseNode,
    EmbeddingNode,
    GruNode,
    HeadNode,
    LayerNormalisationNode,
    LinearNode,
    LogMelNode,
    Node,
    StandardiseNode,
)
from edgegru_runtime.operands import operand_bits

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgegru_runtime.artifact import Artifact

PLAN_VERSION = 1
PLAN_SUFFIX = ".plan"  # of a file
_HEADER = struct.Struct("<8sII32sIIIIII")
_WORDS = 20  # of an operation
_NONE = 0xFFFFFFFF
_FLOAT, _VALUE, _Q8, _Q16 = range(4)  # kinds of vectors
_SCHEMES = {"float32": 0, "static-w8a8": 1, "static-w8a16": 1, "dynamic-w8": 2}
_ACTIVATIONS = {"linear": 0, "relu": 1, "tanh": 2, "sigmoid": 3, "hard_sigmoid_5": 4, "hard_sigmoid_6": 5}
_GATES = {"sigmoid": 0, "hard_sigmoid_5": 1, "hard_sigmoid_6": 2}
_RESETS = {"after": 0, "before": 1}
_WITH_INITIAL_STATE = 2
_STANDARDISE, _EMBEDDING, _OPERAND, _LINEAR, _TAPS, _GRU, _ADD, _MULTIPLY, _COPY, _SOFTMAX, _SIGMOID, _IDENTITY = range(
    1, 13
)
_LAYER_NORMALISATION, _LOG_MEL, _LOG_SOFTMAX, _ATTENTION = 13, 14, 15, 16
_HEADS = {"softmax": _SOFTMAX, "log_softmax": _LOG_SOFTMAX, "sigmoid": _SIGMOID, "identity": _IDENTITY}


def make_plan(artifact: Artifact) -> bytes:
    """The plan of an artifact. Raises ArtifactError where scales leave the arithmetic's range."""
    return _Plan(artifact).to_bytes()


class _Plan:
    """Vectors, operations and data, as nodes are lowered one after another."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact, self._config = artifact, artifact.config
        self._static = artifact.config.static
        self._derived = Derivation(artifact) if self._static else None
        self._vectors: list[tuple[int, int]] = [(_FLOAT, self._config.input.step_size)]  # kind and size; the first is x
        self._operations: list[tuple[int, ...]] = []
        self._data = bytearray()
        self._values: dict[str, int] = {}  # the vector of a node's value
        self._operands: dict[str, int] = {}  # and that of its operand
        self._places: dict[str, int] = {}  # where the outputs of a head are
        sizes = [self._config.node(output.node).output_size for output in self._config.outputs]
        for place, output in enumerate(self._config.outputs):
            self._places[output.node] = sum(sizes[:place])
        self._output_size = sum(sizes)
        for node in self._config.nodes:
            self._lower(node)

    def to_bytes(self) -> bytes:
        """Header, vectors, operations, data."""
        body = bytearray()
        for kind, size in self._vectors:
            body += struct.pack("<II", kind, size)
        for words in self._operations:
            body += struct.pack(f"<{_WORDS}I", *words, *[0] * (_WORDS - len(words)))
        start = _HEADER.size + len(body)
        counts = len(self._vectors), len(self._operations), start
        sizes = self._config.input.step_size, self._output_size, _SCHEMES[self._config.scheme]
        identity = bytes.fromhex(self._config.identity)
        head = _HEADER.pack(b"EGRUPLAN", PLAN_VERSION, start + len(self._data), identity, *sizes, *counts)
        return bytes(head + body + self._data)

    def _vector(self, kind: int, size: int) -> int:
        self._vectors.append((kind, size))
        return len(self._vectors) - 1

    def _value(self, node: Node, operand: bool = False) -> int:
        """A new vector for the value of a node, which may be an operand at once."""
        kind = _FLOAT if not self._static else self._operand_kind(node.name) if operand else _VALUE
        self._values[node.name] = vector = self._vector(kind, node.output_size)
        return vector

    def _add(self, *words: int) -> None:
        self._operations.append(words)

    def _bytes(self, data: bytes | memoryview) -> int:
        """Where data are, from the first byte of all of them; each begins at a multiple of four."""
        place = len(self._data)
        self._data += data
        self._data += bytes(-len(self._data) % 4)
        return place

    def _tensor(self, name: str) -> int:
        tensors = self._artifact.tensors
        return self._bytes(tensors[name].data) if name in tensors else _NONE

    def _floats(self, numbers: Sequence[float]) -> int:
        return self._bytes(struct.pack(f"<{len(numbers)}f", *numbers))

    def _integers(self, numbers: Sequence[float]) -> int:
        return self._bytes(struct.pack(f"<{len(numbers)}i", *numbers))

    def _multipliers(self, by: Multipliers) -> tuple[int, int]:
        return self._integers(by.integers), by.shift

    def _operand_kind(self, name: str) -> int:
        return _Q8 if operand_bits(self._config, name) == 8 else _Q16

    def _operand(self, name: str) -> int:
        """The vector that a product with the value ``name`` reads, made where it is first needed."""
        if not self._static:
            return self._values[name]
        if name not in self._operands:
            assert self._derived is not None
            node = self._config.node(name)
            if name in self._derived.operand:
                by = self._derived.operand[name][0]
                vector = self._vector(self._operand_kind(name), node.output_size)
                self._add(_OPERAND, self._values[name], vector, len(by.integers), *self._multipliers(by))
            else:
                assert isinstance(node, ConcatenateNode)
                vector = self._side_by_side([self._operand(read) for read in node.inputs], self._operand_kind(name))
            self._operands[name] = vector
        return self._operands[name]

    def _side_by_side(self, vectors: Sequence[int], kind: int) -> int:
        whole = self._vector(kind, sum(self._vectors[vector][1] for vector in vectors))
        place = 0
        for vector in vectors:
            self._add(_COPY, vector, whole, place)
            place += self._vectors[vector][1]
        return whole

    def _widened(self, vector: int) -> int:
        """A vector that is read as a value: what standardise and embedding give is an operand."""
        narrow = self._vectors[vector][0] in (_Q8, _Q16)
        return self._side_by_side([vector], _VALUE) if narrow else vector

    def _lower(self, node: Node) -> None:
        name, derived = node.name, self._derived
        match node:
            case LogMelNode():
                self._lower_log_mel(node)
            case StandardiseNode():
                source = self._values.get(node.inputs[0], 0)
                vector = self._value(node, operand=True)
                if derived is None:
                    coefficients = self._tensor(f"{name}.mean"), self._tensor(f"{name}.std")
                else:
                    self._operands[name] = vector
                    a, b = derived.coefficients[name]
                    coefficients = self._floats(a), self._floats(b)
                self._add(_STANDARDISE, vector, *coefficients, source)
            case EmbeddingNode():
                vector = self._value(node, operand=True)
                rows, shift = self._tensor(f"{name}.weight_scale"), 0
                if derived is not None:
                    self._operands[name] = vector
                    rows, shift = self._multipliers(derived.rows[name])
                self._add(_EMBEDDING, vector, node.num_embeddings, self._tensor(f"{name}.weight"), rows, shift)
            case LinearNode():
                self._lower_linear(node, self._operand(node.inputs[0]))
            case ConvolutionNode():
                source = self._operand(node.inputs[0])
                if node.frames:
                    kind, size = self._vectors[source]
                    taps = self._vector(kind, node.kernel_size * size)
                    self._add(_TAPS, source, taps, node.kernel_size, node.dilation)
                    source = taps
                self._lower_linear(node, source)
            case GruNode():
                self._lower_gru(node, self._operand(node.inputs[0]))
            case AttentionNode():
                self._lower_attention(node)
            case ElementwiseNode():
                self._lower_elementwise(node)
            case LayerNormalisationNode():
                source, vector = self._values[node.inputs[0]], self._value(node)
                tensors = self._tensor(f"{name}.weight"), self._tensor(f"{name}.bias")
                self._add(_LAYER_NORMALISATION, source, vector, *tensors, self._floats((node.epsilon,)))
            case ConcatenateNode():
                if self._needs_value(name):
                    values = [self._values[read] for read in node.inputs]
                    self._values[name] = self._side_by_side(values, _VALUE if self._static else _FLOAT)
            case HeadNode():
                self._lower_head(node)

    def _lower_log_mel(self, node: LogMelNode) -> None:
        """Samples, in static schemes made integers, behind those that are kept; then the features, which are floats."""
        if not self._static:
            frame, kind, numbers = 0, _FLOAT, _FLOAT
            weights = self._artifact.numbers(f"{node.name}.window")
            window = self._floats([weight / node.full_scale for weight in weights])
            floor = self._floats((node.floor,))
        else:
            frame, kind, numbers = self._vector(_Q16, node.input_size), _Q16, _VALUE
            slope = 2.0**SAMPLE_BITS / node.full_scale
            coefficients = self._floats([slope] * node.input_size), self._floats([0.5] * node.input_size)
            self._add(_STANDARDISE, frame, *coefficients, 0)
            window = self._tensor(f"{node.name}.window")
            floor = self._bytes(struct.pack("<q", log_mel_floor(node.floor, node.fft_size)))
        if node.frames:
            samples, frame = frame, self._vector(kind, (node.frames + 1) * node.input_size)
            self._add(_TAPS, samples, frame, node.frames + 1, 1)
        work = self._vector(numbers, node.fft_size)
        self._values[node.name] = value = self._vector(_FLOAT, node.output_size)
        tables = (self._tensor(f"{node.name}.{name}") for name in ("twiddles", "edges", "rising"))
        self._add(_LOG_MEL, frame, value, work, node.frame_length, window, *tables, floor)

    def _needs_value(self, name: str) -> bool:
        """Whether the numbers of a concatenate node are read as a value, not only as its pieces' operands."""
        if self._derived is None or name in self._derived.operand:
            return True
        readers = [reader for reader in self._config.nodes if name in reader.inputs]
        return any(
            reader.kind == "add" or (isinstance(reader, ConcatenateNode) and self._needs_value(reader.name))
            for reader in readers
        )

    def _lower_linear(self, node: LinearNode | ConvolutionNode, source: int) -> None:
        name = node.name
        weight, bias = self._tensor(f"{name}.weight"), self._tensor(f"{name}.bias")
        by, shift = self._tensor(f"{name}.weight_scale"), 0
        if self._derived is not None:
            by = _NONE
            if name in self._derived.argument:
                by, shift = self._multipliers(self._derived.argument[name])
        self._add(_LINEAR, source, self._value(node), _ACTIVATIONS[node.activation], weight, bias, by, shift)

    def _lower_gru(self, node: GruNode, source: int) -> None:
        name = node.name
        h, q, words = self._value(node), _NONE, [0] * 6
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weight_ih, weight_hh, bias_ih, bias_hh = (self._tensor(f"{name}.{tensor}") for tensor in names)
        if self._derived is None:
            by = self._tensor(f"{name}.weight_ih_scale"), self._tensor(f"{name}.weight_hh_scale")
        else:
            self._operands[name] = q = self._vector(self._operand_kind(name), node.hidden_size)
            gru = self._derived.gru[name]
            by = self._integers([*gru.rz.a, *gru.n.a]), self._integers([*gru.rz.b, *gru.n.b])
            words = [gru.rz.shift, gru.n.shift]
            words += [gru.h.integers[0], gru.h.shift, gru.rh.integers[0], gru.rh.shift]
            if f"{name}.bias_hn" in self._artifact.tensors:
                bias_hn = self._artifact.numbers(f"{name}.bias_hn")
                bias_hh = self._integers([*[0] * (2 * node.hidden_size), *bias_hn])
        forms = _RESETS[node.reset], _ACTIVATIONS[node.candidate_activation] + 8 * _GATES[node.gate_activation]
        if node.initial_state:  # said in the word of the reset, where a reader that knows none refuses it
            forms = forms[0] + _WITH_INITIAL_STATE, forms[1]
            words.append(self._tensor(f"{name}.h0"))
        self._add(_GRU, source, h, q, *forms, weight_ih, weight_hh, bias_ih, bias_hh, *by, *words)

    def _lower_attention(self, node: AttentionNode) -> None:
        query, vector = self._widened(self._values[node.inputs[0]]), self._value(node, operand=True)
        words = [query, vector, node.length, self._tensor(f"{node.name}.weight")]
        if self._derived is not None:
            self._operands[node.name] = vector
            by = self._derived.attention[node.name]
            words += [self._floats(numbers) for numbers in row_coefficients(self._config, node)]
            words += [*self._multipliers(by.query), by.score.integers[0], by.score.shift]
        self._add(_ATTENTION, *words)

    def _lower_elementwise(self, node: ElementwiseNode) -> None:
        if node.kind == "add":
            code, (left, right) = _ADD, (self._widened(self._values[read]) for read in node.inputs)
        else:
            code, (left, right) = _MULTIPLY, (self._operand(read) for read in node.inputs)
        a, b, shift = _NONE, _NONE, 0
        if self._derived is not None and node.kind == "add":
            pair = self._derived.pair[node.name]
            a, b, shift = self._integers(pair.a), self._integers(pair.b), pair.shift
        elif self._derived is not None:
            a, shift = self._multipliers(self._derived.product[node.name])
        self._add(code, left, right, self._value(node), a, b, shift)

    def _lower_head(self, node: HeadNode) -> None:
        words = [_NONE, 0, _NONE, _NONE]
        if self._derived is not None:
            head = self._derived.head[node.name]
            if head.multipliers is not None:
                words[:2] = self._multipliers(head.multipliers)
            words[2] = self._floats(head.scale)
            if head.offset is not None:
                words[3] = self._floats(head.offset)
        self._add(_HEADS[node.kind], self._values[node.inputs[0]], self._places[node.name], *words)
