"""The integer reference against docs/quantization.md written a second time, in plain Python integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegru_runtime import fixed_point as fx
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ArtifactError
from edgegru_runtime.integer_reference import IntegerReference
from edgegru_runtime.model_config import GruNode, QuantizationConfig
from tests.builders import changed, from_arrays, random_integer_artifact


def _r(value: int, multiplier: int, shift: int) -> int:
    return (value * multiplier + (1 << (shift - 1))) >> shift


def _clamp(value: int, limit: int) -> int:
    return max(-limit, min(limit, value))


def _tanh(argument: int) -> int:
    u = abs(_clamp(argument, 32767))
    k, p = u >> 9, (u & 511) << 6
    value = fx.TANH_C0[k] + _r(p * (fx.TANH_C1[k] + _r(p * fx.TANH_C2[k], 1, 15)), 1, 15)
    return value if argument >= 0 else -value


def _gru_step(artifact: Artifact, node: GruNode, q_x: list[int], h: list[int], reset: str) -> list[int]:
    """The GRU section of the document, unit by unit."""
    assert artifact.config.quantization is not None
    scales = artifact.config.quantization.operand_scale
    name, size = node.name, node.hidden_size
    w_ih, w_hh = artifact.array(f"{name}.weight_ih").tolist(), artifact.array(f"{name}.weight_hh").tolist()
    b_ih = artifact.array(f"{name}.bias_ih").tolist() if node.bias else [0] * 3 * size
    b_hn = artifact.array(f"{name}.bias_hn").tolist() if node.bias and reset == "after" else [0] * size
    s_ih, s_hh = artifact.array(f"{name}.weight_ih_scale"), artifact.array(f"{name}.weight_hh_scale")
    x_scale = scales[node.inputs[0]]
    h_scale = scales[name]
    n_scale = h_scale if reset == "after" else scales[f"{name}.rh"]
    ratios = [float(s_ih[i]) * x_scale * (2**11 if i < 2 * size else 2**12) for i in range(3 * size)]
    ratios += [float(s_hh[i]) * (h_scale * 2**11 if i < 2 * size else n_scale * 2**12) for i in range(3 * size)]
    multiplier, t = fx.multipliers(ratios, name)
    m_ih, m_hh = multiplier[: 3 * size], multiplier[3 * size :]
    (m_h,), t_h = fx.multipliers([2.0**-24 / h_scale], name)
    (m_rh,), t_rh = fx.multipliers([2.0**-24 / n_scale], name)

    def dot(row: list[int], q: list[int]) -> int:
        return sum(w * v for w, v in zip(row, q, strict=True))

    q_h = [_clamp(_r(value, m_h, t_h), 127) for value in h]
    ih = [(dot(w_ih[i], q_x) + b_ih[i]) * m_ih[i] for i in range(3 * size)]
    gate = [2**15 + _tanh(_r(ih[i] + dot(w_hh[i], q_h) * m_hh[i], 1, t)) for i in range(2 * size)]
    r, z = gate[:size], gate[size:]
    q_rh = [_clamp(_r(_r(r[i] * h[i], 1, 16), m_rh, t_rh), 127) for i in range(size)]
    following = []
    for i in range(size):
        row = 2 * size + i
        if reset == "after":
            hn = _clamp(_r((dot(w_hh[row], q_h) + b_hn[i]), m_hh[row], t), 2**24)
            argument = _r(ih[row], 1, t) + _r(r[i] * hn, 1, 16)
        else:
            argument = _r(ih[row] + dot(w_hh[row], q_rh) * m_hh[row], 1, t)
        following.append(_r((2**16 - z[i]) * (_tanh(argument) << 9) + z[i] * h[i], 1, 16))
    return following


def _states(artifact: Artifact, x: np.ndarray) -> list[list[int]]:
    engine = IntegerReference(artifact)
    state = engine.new_state()
    result = []
    for sample in x:
        engine.step(state, sample)
        result.append(state.h[0].tolist())
    return result


def _document_states(artifact: Artifact, x: np.ndarray, reset: str) -> list[list[int]]:
    node = artifact.config.gru_nodes[0]
    assert artifact.config.quantization is not None
    a, b = fx.input_coefficients(
        artifact.array("standardise.mean").tolist(),
        artifact.array("standardise.std").tolist(),
        artifact.config.quantization.operand_scale["standardise"],
        "standardise",
    )
    h, result = [0] * node.hidden_size, []
    for sample in x:
        q_x = [
            _clamp(int(np.floor(np.float32(np.float32(ai) * xi) + np.float32(bi))), 127)
            for ai, bi, xi in zip(a, b, sample, strict=True)
        ]
        h = _gru_step(artifact, node, q_x, h, reset)
        result.append(h)
    return result


def _inputs(steps: int, size: int, spread: float = 8.0) -> np.ndarray:
    return np.random.default_rng(7).normal(0, spread, (steps, size)).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    input_size=st.integers(1, 13),
    hidden_size=st.integers(1, 17),
    reset=st.sampled_from(["after", "before"]),
    bias=st.booleans(),
)
def test_every_bit_equals_the_document(seed: int, input_size: int, hidden_size: int, reset: str, bias: bool) -> None:
    artifact = random_integer_artifact(seed, input_size, (hidden_size,), reset=reset, bias=bias)
    x = _inputs(12, input_size)
    assert _states(artifact, x) == _document_states(artifact, x, reset)


@pytest.mark.parametrize("reset", ["after", "before"])
def test_the_comparison_can_tell_the_formulations_apart(reset: str) -> None:
    artifact = random_integer_artifact(3, 4, (9,), reset=reset, bias=False)
    if reset == "after":  # the flipped equations need a scale for r ⊙ h
        assert artifact.config.quantization is not None
        artifact.config.quantization.operand_scale["gru0.rh"] = 1 / 127
    flipped = "before" if reset == "after" else "after"
    x = _inputs(12, 4)
    assert _states(artifact, x) != _document_states(artifact, x, flipped)


@pytest.mark.parametrize("reset", ["after", "before"])
def test_the_state_stays_in_range_under_saturation(reset: str) -> None:
    artifact = random_integer_artifact(5, 6, (16,), reset=reset)
    engine = IntegerReference(artifact)
    state = engine.new_state()
    for sample in _inputs(300, 6, 1e6):
        outputs = engine.step(state, sample)
        assert np.max(np.abs(state.h[0])) <= 2**24
        assert np.all(np.isfinite(outputs[0]))
    assert engine.clipped(state) > 0


def test_inputs_beyond_float32_products_saturate_without_a_warning() -> None:
    engine = IntegerReference(random_integer_artifact(1, 2))
    state = engine.new_state()
    engine.step(state, np.array([3e38, -3e38], np.float32))
    assert engine.clipped(state) == 2


def test_state_bytes_round_trip() -> None:
    engine = IntegerReference(random_integer_artifact(2, 3, (4, 5)))
    state, other = engine.new_state(), engine.new_state()
    for sample in _inputs(20, 3):
        engine.step(state, sample)
    engine.load_state(other, engine.state_arrays(state))
    assert [h.tolist() for h in other.h] == [h.tolist() for h in state.h]


@pytest.mark.parametrize("target", [1.0, 0.5, 0.1, 0.0, -0.1, -0.5, -1.0])
@pytest.mark.parametrize("time_constant", [16, 128, 512])
def test_slow_units_reach_their_target(target: float, time_constant: int) -> None:
    """A unit with 1 − z = 1/τ, n = the target: ends within .002 of full scale (15 bits stop .008 short)."""
    logit = float(np.log(time_constant - 1))
    candidate = float(np.arctanh(np.clip(target, -0.99999, 0.99999)))
    artifact = random_integer_artifact(0, 1, (1,), output_size=1, head="identity")
    arrays = {name: artifact.array(name).copy() for name in artifact.tensors}
    for name in ("gru0.weight_ih", "gru0.weight_hh", "gru0.bias_hn"):
        arrays[name][...] = 0
    arrays["gru0.weight_ih_scale"][...] = 2.0**-20
    scale = 4 / 127 * 2.0**-20
    arrays["gru0.bias_ih"][...] = [0, round(logit / scale), round(candidate / scale)]
    arrays["gru0.bias_ih"] = arrays["gru0.bias_ih"].astype(np.int32)
    slow = from_arrays(
        changed(artifact.config, quantization=QuantizationConfig({"standardise": 4 / 127, "gru0": 1 / 127})), arrays
    )
    engine = IntegerReference(slow)
    state = engine.new_state()
    state.h[0][...] = -(2**23) if target > 0 else 2**23
    for _ in range(8 * time_constant):
        engine.step(state, np.zeros(1, np.float32))
    assert abs(state.h[0][0] / 2**24 - target) < 0.002


def test_scales_beyond_the_arithmetic_are_refused_by_name() -> None:
    artifact = random_integer_artifact(0)
    arrays = {name: artifact.array(name).copy() for name in artifact.tensors}
    arrays["gru0.weight_ih_scale"][...] = 1e20
    with pytest.raises(ArtifactError, match="gru0"):
        IntegerReference(from_arrays(artifact.config, arrays))
