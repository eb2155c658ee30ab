"""The integer engine in NumPy: what every other integer engine must equal in every bit.

The arithmetic is in ``integer_arithmetic.py``, the nodes are in ``integer_layers.py``, both as docs/quantization.md has
them; here values go from node to node and become operands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgegru_runtime.derivation import Derivation
from edgegru_runtime.fixed_point import PROBABILITY_BITS
from edgegru_runtime.integer_arithmetic import Integers, Rescaling, clamp
from edgegru_runtime.integer_layers import Attention, Elementwise, Embedding, Gru, Head, Linear, Standardise
from edgegru_runtime.log_mel import IntegerLogMel, tables_of
from edgegru_runtime.memory import remembered_rows
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

if TYPE_CHECKING:
    from edgegru_runtime.artifact import Artifact

Layer = IntegerLogMel | Standardise | Embedding | Linear | Gru | Attention | Elementwise | Head


@dataclass
class IntegerState:
    """What a stream remembers: the numbers of every state node, and how many inputs were clipped."""

    numbers: list[Integers]
    clipped: int = 0


class IntegerReference:
    """Engine for the static schemes; raises ArtifactError where scales leave the arithmetic's range."""

    name = "reference"

    def __init__(self, artifact: Artifact, trace: Callable[[str, NDArray[np.float64]], None] | None = None) -> None:
        """``trace`` is called with each node's name and real value, and of attention with ``NAME.shares``, how much of
        each row was taken.
        """
        config = artifact.config
        assert config.static
        self._nodes, self._trace = config.nodes, trace
        self._outputs = [output.node for output in config.outputs]
        self._initial = [artifact.initial_state(node) for node in config.state_nodes]
        self._places = {node.name: place for place, node in enumerate(config.state_nodes)}  # in the state
        self._reads = {node.name: node.inputs for node in config.nodes}
        derived = Derivation(artifact)
        self.layers = {node.name: layer for node in config.nodes if (layer := _layer(artifact, node, derived))}
        self.scale = {name: np.array(scale) for name, scale in derived.scale.items()}  # of one unit of each number
        self.to_operand = {name: (Rescaling.of(by), limit) for name, (by, limit) in derived.operand.items()}

    def new_state(self) -> IntegerState:
        """The state that a stream begins with: zeros, or h0 of a GRU that has one."""
        return IntegerState([numbers.astype(np.int64) for numbers in self._initial])

    def step(self, state: IntegerState, x: Sequence[float]) -> list[list[float]]:
        """Advance ``state`` by one sample x (input_size,); the outputs in declared order."""
        sample = np.asarray(x, np.float32)
        values: dict[str, Integers] = {}
        operands: dict[str, Integers] = {}
        outputs: dict[str, NDArray[np.float32]] = {}
        for node in self._nodes:
            name, layer, place = node.name, self.layers.get(node.name), self._places.get(node.name, -1)
            match layer:
                case IntegerLogMel():
                    samples, clipped = layer.samples(sample)
                    state.clipped += clipped
                    if place >= 0:
                        samples = np.concatenate([state.numbers[place], samples])
                        state.numbers[place] = samples[len(sample) :]
                    values[name] = layer(samples[np.newaxis, -len(layer.window) :])[0]
                    sample = (values[name] * self.scale[name]).astype(np.float32)  # exactly: what the next node reads
                case Standardise() | Embedding():
                    values[name], clipped = layer(sample)
                    operands[name] = values[name]
                    state.clipped += clipped
                case Linear():
                    q = self._operand(node.inputs[0], values, operands)
                    if isinstance(node, ConvolutionNode):
                        if place >= 0:
                            q = np.concatenate([state.numbers[place], q])
                            state.numbers[place] = q[node.input_size :]
                        q = q.reshape(-1, node.input_size)[:: node.dilation].reshape(-1)
                    values[name] = layer(q)
                case Gru():
                    q = self._operand(node.inputs[0], values, operands)
                    state.numbers[place] = values[name] = layer(q, state.numbers[place])
                case Attention():
                    assert isinstance(node, AttentionNode)
                    rows = remembered_rows(node, state.numbers[place])
                    values[name], shares = layer(values[node.inputs[0]], rows)
                    operands[name] = values[name]
                    if self._trace is not None:
                        self._trace(f"{name}.shares", shares.astype(np.float64) * 2.0**-PROBABILITY_BITS)
                case Elementwise():
                    if layer.kind == "add":
                        a, b = (values[read] for read in node.inputs)
                    else:
                        a, b = (self._operand(read, values, operands) for read in node.inputs)
                    values[name] = layer(a, b)
                case Head():
                    outputs[name] = layer(values[node.inputs[0]])
                case None:
                    values[name] = np.concatenate([values[read] for read in node.inputs])
            if self._trace is not None:
                real = outputs[name] if name in outputs else values[name] * self.scale[name]
                self._trace(name, np.asarray(real, np.float64))
        return [outputs[name].tolist() for name in self._outputs]

    def _operand(self, name: str, values: dict[str, Integers], operands: dict[str, Integers]) -> Integers:
        """The operand of the value ``name``, made once for all its readers."""
        if name not in operands:
            if name in self.to_operand:
                rescaling, limit = self.to_operand[name]
                operands[name] = clamp(rescaling(values[name]), limit)
            else:  # a concatenate node
                reads = self._reads[name]
                operands[name] = np.concatenate([self._operand(read, values, operands) for read in reads])
        return operands[name]

    def state_arrays(self, state: IntegerState) -> list[bytes]:
        """The states as int32 little-endian bytes, one a state node."""
        return [numbers.astype("<i4").tobytes() for numbers in state.numbers]

    def load_state(self, state: IntegerState, blobs: Sequence[bytes]) -> None:
        """Take over states written by ``state_arrays``, checked by the caller."""
        state.numbers = [np.frombuffer(blob, "<i4").astype(np.int64) for blob in blobs]

    def clipped(self, state: IntegerState) -> int:
        """Input values saturated since the state was made."""
        return state.clipped


def _layer(artifact: Artifact, node: Node, derived: Derivation) -> Layer | None:
    match node:
        case LogMelNode():
            return IntegerLogMel(node, tables_of(artifact, node))
        case StandardiseNode():
            return Standardise(artifact, node, derived)
        case EmbeddingNode():
            return Embedding(artifact, node, derived)
        case LinearNode() | ConvolutionNode():
            return Linear(artifact, node, derived)
        case GruNode():
            return Gru(artifact, node, derived)
        case AttentionNode():
            return Attention(artifact, node, derived)
        case ElementwiseNode():
            return Elementwise(node, derived)
        case HeadNode():
            return Head(node, derived)
        case ConcatenateNode():
            return None
        case LayerNormalisationNode():
            raise AssertionError("an artifact of a static scheme has no such node")
