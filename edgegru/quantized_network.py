"""The network in the integer arithmetic of a static scheme: forward in every bit what the artifact computes.

Float weights and operand scales are learned; whenever values are computed they become an integer artifact, by the same
functions that ``edgegru quantize`` uses, whose constants ``integer_torch`` runs. ``quantized_gradients`` says how
gradients come back. Shapes: B lanes, T steps, I inputs, H hidden units, O outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from edgegru.data import Dataset
from edgegru.data.config import VALUE_TARGETS
from edgegru.freezing import frozen_layers
from edgegru.integer_torch import operand, run_add, run_gru, run_head, run_linear, run_standardise
from edgegru.network import ACTIVATIONS, Network, State, layers_by_name, state_at
from edgegru.network_input import FrontEnd
from edgegru.quantization import StaticScales, integer_artifact
from edgegru.quantized_gradients import dequantized, exactly, gru
from edgegru_runtime import fixed_point as fx
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.derivation import Derivation
from edgegru_runtime.errors import ArtifactError
from edgegru_runtime.integer_arithmetic import Rescaling
from edgegru_runtime.integer_layers import Elementwise, Embedding, Gru, Head, Linear, Standardise
from edgegru_runtime.model_config import (
    ConvolutionNode,
    ElementwiseNode,
    EmbeddingNode,
    GruNode,
    HeadNode,
    LinearNode,
    ModelConfig,
    ProductNode,
    StandardiseNode,
)
from edgegru_runtime.operands import operand_bits, operand_limit, operand_scales
from edgegru_runtime.tensor import Tensor as ArtifactTensor

LARGEST_FACTOR = 8.0  # by which a learned scale may differ from the calibrated one


@dataclass
class _Value:
    """What goes from node to node, (T, B, size). ``operand``: integers as floats; ``real``: in real units, with
    gradients. Dropout makes what it keeps larger, in both.
    """

    operand: Tensor
    real: Tensor


class QuantizedNetwork(nn.Module):
    """``network`` in integers. ``config``: of the integer model, with what it keeps but without scales; ``scales``:
    those of calibration.

    Parameters are those of ``network`` and ``scale_factor`` (K,): what each calibrated scale is multiplied by, operands
    of one scale first, then every number of those that have one each. Steps of 16 bits are too fine to be worth
    learning: there it stays 1.
    """

    calibrated: Tensor
    largest: Tensor
    output_scale: Tensor
    _target_std: Tensor

    def __init__(
        self,
        network: Network,
        config: ModelConfig,
        scales: StaticScales,
        dataset: Dataset,
        front_end: FrontEnd | None = None,
    ) -> None:
        super().__init__()
        self.network, self.model_config, self._dataset, self._front_end = network, config, dataset, front_end
        self._layers = layers_by_name(network)
        device = network.mean.device
        groups = {**{name: np.array([scale]) for name, scale in scales.operand.items()}, **scales.full}
        edges = np.cumsum([0, *map(len, groups.values())])
        self._places = {name: slice(*edges[index : index + 2]) for index, name in enumerate(groups)}
        self._full = frozenset(scales.full)
        calibrated = torch.from_numpy(np.concatenate(list(groups.values()))).float().to(device)
        largest = torch.full_like(calibrated, torch.inf)
        for name in scales.operand:
            if isinstance(config.node(name.removesuffix(".rh")), ProductNode):  # never beyond ±1
                largest[self._places[name]] = fx.float32(1.0 / operand_limit(config, name))
        self.register_buffer("calibrated", calibrated)
        self.register_buffer("largest", largest)
        self.scale_factor = nn.Parameter(torch.ones_like(calibrated))
        self.register_buffer("_target_std", torch.from_numpy(dataset.target_std).to(device), persistent=False)
        self._output = next(iter(scales.output), None)  # what an identity head reads
        output_scale = torch.zeros(0) if self._output is None else torch.from_numpy(scales.output[self._output])
        self.register_buffer("output_scale", output_scale.float().to(device))

    def zero_state(self, lanes: int) -> State:
        """Zeros for whatever keeps something: (lanes, its numbers) each; of a convolution its operands."""
        return self.network.zero_state(lanes)

    @torch.no_grad()
    def bound_scales(self) -> None:
        """Take factors back that left their bounds, so that they do not wander where they change nothing."""
        self.scale_factor.clamp_(1 / LARGEST_FACTOR, LARGEST_FACTOR)
        self.scale_factor.copy_(torch.minimum(self.scale_factor, self.largest / self.calibrated))

    def scales(self) -> StaticScales:
        """The scales as they are now."""
        learned = self._scales().detach().cpu().double().numpy()
        values = {name: learned[place] for name, place in self._places.items()}
        full = {name: value for name, value in values.items() if name in self._full}
        operands = {name: float(value[0]) for name, value in values.items() if name not in self._full}
        output = {} if self._output is None else {self._output: self.output_scale.cpu().double().numpy()}
        return StaticScales(operands, full, output)

    def integer_artifact(self) -> Artifact:
        """The integer model of the present weights and scales, without identity and data.

        Raises ArtifactError where a weight is not finite or a scale leaves the arithmetic's range.
        """
        _, arrays = frozen_layers(self.network, self._front_end, self._dataset)
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise ArtifactError(f"tensor {name!r} is no longer finite")
        tensors = {name: ArtifactTensor.from_numpy(array) for name, array in arrays.items()}
        scales = self.scales()
        assert self.model_config.quantization is not None
        quantization = replace(self.model_config.quantization, operand_scale=scales.operand, observer="learned")
        config = replace(self.model_config, quantization=quantization)
        return integer_artifact(Artifact(config, tensors), config, scales, moments={})

    def forward(self, x: Tensor, state: Sequence[Tensor], lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """x (B, T, I) in raw units, the state → outputs (B, T, O) in float64 and the state after the last step;
        ``lengths`` as in ``Network``.

        Outputs are, for softmax and sigmoid, the arguments that the head gets, rounded; else values in their own unit.
        """
        artifact = self.integer_artifact()
        derived, scales = Derivation(artifact), self._scales()
        x, before, after = x.transpose(0, 1), iter(state), []
        operands: dict[str, _Value] = {}  # by node, as are
        values: dict[str, tuple[Tensor, Tensor]] = {}  # in fixed point, and in real units with gradients
        outputs: list[Tensor] = []
        for node in artifact.config.nodes:
            match node:
                case StandardiseNode(name=name):
                    real = (x - self.network.mean) / self.network.std
                    integers = run_standardise(Standardise(artifact, node, derived), x)
                    operands[name] = self._operand(name, real, integers, scales)
                case EmbeddingNode(name=name):
                    table = torch.from_numpy(Embedding(artifact, node, derived).table).to(x.device)
                    rows = x[:, :, 0].long()
                    value = self._operand(name, self.network.embedding(rows), table[rows], scales)
                    operands[name] = self._dropped(value)
                case GruNode():
                    layer = Gru(artifact, node, derived)
                    source = operands[node.inputs[0]]
                    operands[node.name], h = self._gru(artifact, node, layer, source, next(before), lengths, scales)
                    after.append(h)
                case LinearNode() | ConvolutionNode():
                    source = operands[node.inputs[0]]
                    if isinstance(node, ConvolutionNode):
                        source, kept = self._taps(node, source, next(before), lengths)
                        after.append(kept)
                    values[node.name] = self._linear(artifact, node, Linear(artifact, node, derived), source)
                case ElementwiseNode():
                    (a, real_a), (b, real_b) = (values[name] for name in node.inputs)
                    values[node.name] = run_add(Elementwise(node, derived), a, b), real_a + real_b
                case HeadNode():
                    integers, surrogate = values[node.inputs[0]]
                    outputs.append(exactly(surrogate.double(), run_head(Head(node, derived), integers)))
            if node.name in values and node.name in derived.operand:
                integers, surrogate = values[node.name]
                scale = torch.tensor(derived.scale[node.name], dtype=torch.float64, device=x.device)
                multipliers, limit = derived.operand[node.name]
                q = operand(integers, Rescaling.of(multipliers), limit)
                exact = exactly(surrogate, (integers * scale).float())
                operands[node.name] = self._operand(node.name, exact, q, scales)
        return torch.cat(outputs, dim=2).transpose(0, 1), after

    def _linear(
        self, artifact: Artifact, node: LinearNode | ConvolutionNode, layer: Linear, source: _Value
    ) -> tuple[Tensor, Tensor]:
        integers = run_linear(layer, source.operand, operand_limit(artifact.config, node.inputs[0]))
        weight, bias = self._real_weight(artifact, node.name, "weight"), self._real_bias(node.name)
        return integers, ACTIVATIONS[node.activation](nn.functional.linear(source.real, weight, bias))

    def _taps(
        self, node: ConvolutionNode, source: _Value, state: Tensor, lengths: Tensor | None
    ) -> tuple[_Value, Tensor]:
        """What a convolution multiplies at each step (T, B, kernel_size · I), and the operands that it keeps (B, …)."""
        size = node.input_size
        kept = state.view(len(state), node.frames, size)
        unit = self._scales().detach()[self._places[node.inputs[0]]]
        past = kept.transpose(0, 1)
        operands, real = torch.cat([past, source.operand]), torch.cat([past * unit, source.real])
        if lengths is None:
            last = operands[len(source.operand) :].transpose(0, 1)
        else:
            index = lengths.unsqueeze(1) + torch.arange(node.frames, device=state.device)
            last = operands.transpose(0, 1).gather(1, index.unsqueeze(2).expand(-1, -1, size))
        windows = (v.unfold(0, node.kernel_size, 1).transpose(2, 3).flatten(2) for v in (operands, real))
        return _Value(*windows), last.flatten(1)

    def _gru(
        self,
        artifact: Artifact,
        node: GruNode,
        layer: Gru,
        value: _Value,
        h0: Tensor,
        lengths: Tensor | None,
        scales: Tensor,
    ) -> tuple[_Value, Tensor]:
        name, size = node.name, node.hidden_size
        start = (h0 * 2.0**fx.STATE_BITS).to(torch.int64)  # exact: |h| is at most 1, a multiple of 2^-24
        with torch.no_grad():
            trace = run_gru(layer, value.operand, start, operand_limit(artifact.config, node.inputs[0]))
        parameters = self._layers[name]
        bias_hn = bias = None
        if node.bias and node.reset == "after":
            bias_hn = parameters.bias_hh_l0[2 * size :]
            bias = parameters.bias_ih_l0 + nn.functional.pad(parameters.bias_hh_l0[: 2 * size], (0, size))
        elif node.bias:
            bias = parameters.bias_ih_l0 + parameters.bias_hh_l0
        products = nn.functional.linear(value.real, self._real_weight(artifact, name, "weight_ih"), bias)
        weight_hh = self._real_weight(artifact, name, "weight_hh")
        rh_scale = self._learning_scale(f"{name}.rh", scales) if node.reset == "before" else None
        scale = self._learning_scale(name, scales)
        real = gru(products, weight_hh, bias_hn, scale, rh_scale, trace, layer.limit)
        after = real[-1] if lengths is None else state_at(real.transpose(0, 1), h0, lengths)
        return self._dropped(self._operand(name, real, trace.operand[1:], scales)), after

    def _dropped(self, value: _Value) -> _Value:
        """The value with dropout, while training."""
        if not self.network.dropout.p or not self.training:
            return value
        mask = self.network.dropout(torch.ones_like(value.real))
        return _Value(value.operand * mask.to(value.operand.dtype), value.real * mask)

    def _operand(self, name: str, real: Tensor, q: Tensor, scales: Tensor) -> _Value:
        limit = operand_limit(self.model_config, name)
        q = q.to(torch.float32)  # at most 16 bits
        return _Value(q, dequantized(real, q, self._learning_scale(name, scales), limit))

    def _scales(self) -> Tensor:
        """The scales (K,) as the artifact stores them, with gradients to their factors."""
        factor = self.scale_factor.detach().clamp(1 / LARGEST_FACTOR, LARGEST_FACTOR)
        return exactly(self.scale_factor * self.calibrated, torch.minimum(factor * self.calibrated, self.largest))

    def _learning_scale(self, name: str, scales: Tensor) -> Tensor:
        """What one unit of an operand is worth, with LSQ's gradient scale, 1 / √(numbers · limit)."""
        config = self.model_config
        scale = scales[self._places[name]]
        numbers = config.node(name.removesuffix(".rh")).output_size / len(scale)
        if name in self._full:
            scale = scale * 2.0 ** (1 - operand_bits(config, name))
        if operand_bits(config, name) == 16:
            return scale.detach()
        return exactly(scale * (numbers * operand_limit(config, name)) ** -0.5, scale.detach())

    def _real_weight(self, artifact: Artifact, node: str, kind: str) -> Tensor:
        """The real values of int8 weights, with gradients to the float weights."""
        config = artifact.config
        array, scale = (artifact.array(f"{node}.{name}").astype(np.float64) for name in (kind, f"{kind}_scale"))
        weight = array.reshape(len(array), -1) * scale[:, np.newaxis]
        if kind != "weight_hh":  # columns were multiplied by the share of the largest scale that their operand has
            scales = np.array(operand_scales(artifact, config.node(node).inputs[0]))
            weight *= np.tile(np.max(scales) / scales, weight.shape[1] // len(scales))
        surrogate = getattr(self._layers[node], kind if kind == "weight" else f"{kind}_l0")
        if surrogate.ndim == 3:  # of a convolution, the steps last
            surrogate = surrogate.transpose(1, 2).flatten(1)
        if self._gives_units(node):
            surrogate = surrogate * self._target_std.unsqueeze(1)
        return exactly(surrogate, torch.from_numpy(weight).to(surrogate))

    def _real_bias(self, node: str) -> Tensor | None:
        """The bias of a linear layer, if it has one; less the mean of target values, which has no gradient."""
        bias = self._layers[node].bias
        return bias * self._target_std if bias is not None and self._gives_units(node) else bias

    def _gives_units(self, node: str) -> bool:
        """Whether freezing folds the scale of target values into a layer."""
        return node in ("dense", "skip") and self._dataset.target in VALUE_TARGETS
