"""h0 on its way to integers: rounded, reported, and refused where training would lose it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgegru.integer_tensors import initial_state
from edgegru.quantization_report import quantization_report
from edgegru.starting_model import read_start
from edgegru_export.dequantization import dequantize
from edgegru_export.saving import save_artifact
from edgegru_runtime.errors import ConfigError
from tests.builders import from_arrays, quantized, random_config, random_floats, with_initial_states


@pytest.mark.parametrize("candidate", ["tanh", "relu"])
def test_an_initial_state_is_rounded_to_units_of_the_state(candidate: str) -> None:
    before = random_floats(with_initial_states(random_config(candidate=candidate)), 0)
    after = quantized(before)
    unit = 2.0**-24 * (1 if candidate == "tanh" else after.array("gru0.full_scale").astype(np.float64))
    np.testing.assert_array_equal(after.array("gru0.h0"), np.round(before.array("gru0.h0") / unit))
    np.testing.assert_allclose(dequantize(after).array("gru0.h0"), before.array("gru0.h0"), rtol=0, atol=np.max(unit))
    line = next(tensor for tensor in quantization_report(before, after, None).tensors if tensor.name == "gru0.h0")
    assert (line.dtype, line.scale, line.bytes_before, line.bytes_after) == ("int32", None, 20, 20)


def test_an_initial_state_beyond_the_states_saturates() -> None:
    config = with_initial_states(random_config(hidden_sizes=(3,), candidate="linear"))
    artifact = random_floats(config, 0)
    arrays = {**{name: artifact.array(name) for name in artifact.tensors}, "gru0.h0": np.array([2e3, -2e3, 1], "f4")}
    h0 = initial_state(from_arrays(config, arrays), config.nodes[1], np.array([1, 1, 4.0]))["gru0.h0"].to_numpy()
    assert h0.tolist() == [2**30, -(2**30), 2**22]
    arrays["gru0.h0"] = np.array([1 + 2.0**-20, -1, 0.25], np.float32)
    bounded = with_initial_states(random_config(hidden_sizes=(3,)))
    h0 = initial_state(from_arrays(bounded, arrays), bounded.nodes[1], None)["gru0.h0"].to_numpy()
    assert h0.tolist() == [2**24, -(2**24), 2**22]


def test_training_does_not_start_from_it(tmp_path: Path) -> None:
    save_artifact(random_floats(with_initial_states(random_config()), 0), tmp_path / "start.safetensors")
    with pytest.raises(ConfigError, match="node gru0 has initial_state True, but the configuration makes it False"):
        read_start(tmp_path / "start.safetensors", random_config())
