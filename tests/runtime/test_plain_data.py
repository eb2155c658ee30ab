"""The device's dataclasses are to everyone else what the standard library's are."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import FrozenInstanceError, asdict, fields, is_dataclass, replace

import pytest

from edgegru_runtime import model_config
from edgegru_runtime.model_config import GruNode, OutputConfig, QuantizationConfig
from edgegru_runtime.plain_data import dataclass, field
from edgegru_runtime.tensor import Tensor

GRU = GruNode("gru0", ("x",), 3, 5, bias=False)


@dataclass(frozen=True)
class Plain:
    a: int
    b: tuple[int, ...] = (1,)
    c: dict[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return len(self.b)


@dataclasses.dataclass(frozen=True)
class Standard:
    a: int
    b: tuple[int, ...] = (1,)
    c: dict[str, int] = dataclasses.field(default_factory=dict)


def test_values_are_those_of_a_standard_dataclass() -> None:
    for values, named in (((1,), {}), ((1, (2, 3)), {}), ((), {"b": (), "a": 0}), ((1,), {"c": {"x": 1}})):
        plain, standard = Plain(*values, **named), Standard(*values, **named)
        assert list(vars(plain).items()) == list(vars(standard).items())
        assert repr(plain) == repr(standard).replace("Standard", "Plain")
        assert asdict(plain) == asdict(standard)
        assert plain == Plain(*values, **named)
    assert Plain(1) != Plain(2)
    assert Plain(1) != Standard(1)
    assert Plain(1).c is not Plain(1).c
    assert Plain.__match_args__ == Standard.__match_args__
    assert Plain(1, (2, 3)).size == 2


@pytest.mark.parametrize(
    ("values", "named"), [((), {}), ((1, 2, 3, 4), {}), ((1,), {"a": 1}), ((1,), {"d": 1}), ((), {"b": ()})]
)
def test_what_a_standard_dataclass_refuses_is_refused(values: tuple[int, ...], named: dict[str, object]) -> None:
    for kind in (Plain, Standard):
        with pytest.raises(TypeError):
            kind(*values, **named)


def test_it_is_frozen_and_hashable() -> None:
    with pytest.raises(FrozenInstanceError):
        GRU.name = "gru1"  # type: ignore[misc]  # that it is refused is the test
    with pytest.raises(FrozenInstanceError):
        del GRU.name  # type: ignore[misc]
    assert len({GRU, replace(GRU), replace(GRU, reset="before")}) == 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(Plain(1))


def test_the_standard_library_knows_it() -> None:
    assert is_dataclass(GRU) and is_dataclass(GruNode)
    assert [item.name for item in fields(GruNode)] == list(vars(GRU))
    assert fields(GruNode)[5].default is True
    assert replace(GRU, hidden_size=7) == GruNode("gru0", ("x",), 3, 7, bias=False)
    assert fields(QuantizationConfig)[0].default_factory is dict
    with pytest.raises(TypeError):
        replace(GRU, no_field=1)
    for made in (copy.copy(GRU), copy.deepcopy(GRU), pickle.loads(pickle.dumps(GRU))):
        assert made == GRU


def test_it_is_checked_after_it_is_made() -> None:
    with pytest.raises(AssertionError, match="3 bytes for int8"):
        Tensor("int8", (2,), b"123")


def test_patterns_match_by_position_and_name() -> None:
    match OutputConfig("output", "step_label", ("a",)):
        case OutputConfig(node, target, labels=labels):
            assert (node, target, labels) == ("output", "step_label", ("a",))


def test_every_configuration_is_one() -> None:
    named = [kind for name, kind in vars(model_config).items() if name.endswith(("Node", "Config"))]
    kinds = [kind for kind in named if is_dataclass(kind)]
    assert len(kinds) == 18
    for kind in kinds:
        assert tuple(item.name for item in fields(kind)) == kind.__match_args__
