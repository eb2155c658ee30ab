"""Results of models whose labels are anything, as sinks get them."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from edgegru_runtime.model_config import ModelConfig
from edgegru_runtime.result import Event, Result
from tests.builders import TOKENS, mixed_config, random_config, with_state_output

LABELS = ("sit", "walk, slowly", 'the "stairs"', "größe=1 \\")
# What artifacts allow in labels: no control characters, no halves of surrogate pairs.
labels = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=8)
label_sets = st.lists(labels, min_size=4, max_size=4).map(tuple)
keys = st.text(st.characters(), max_size=8)  # JSON can hold anything
times = st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(min_size=1, max_size=12)
probabilities = st.floats(0, 1, width=32) | st.sampled_from([0.0, 1.0, 0.5, -0.0])
values = st.floats(width=32)  # also those that no model should give


def labelled(names: tuple[str, ...] = LABELS, head: str = "softmax") -> ModelConfig:
    """A model with one output of these labels."""
    config = random_config(3, output_size=len(names), head=head)
    return replace(config, outputs=(replace(config.outputs[0], labels=names),))


def two_outputs() -> ModelConfig:
    """Classes "output" and independent labels "state"."""
    return with_state_output(labelled(), "sigmoid")


def of_tokens() -> ModelConfig:
    """A model of the next token."""
    return mixed_config(**TOKENS)


def float32(number: float) -> float:
    return float(struct.unpack("f", struct.pack("f", number))[0])


def result(**fields: Any) -> Result:
    """A step of the one sensor of a model with four classes."""
    outputs = ([float32(p) for p in (0.125, 0.7, 0.1, 0.075)],)
    return Result(**({"key": "", "index": 7, "t": None, "outputs": outputs, "on": ((),), "events": ()} | fields))


@st.composite
def results(draw: st.DrawFn, names: tuple[str, ...], numbers: st.SearchStrategy[float] = probabilities) -> Result:
    """Any result of a model with one output of these labels."""
    events = st.builds(Event, st.booleans(), st.sampled_from(names), st.floats(0, 1), st.just(0))
    return Result(
        draw(keys),
        draw(st.integers(0, 2**40)),
        draw(times),
        (draw(st.lists(numbers, min_size=len(names), max_size=len(names))),),
        (tuple(draw(st.lists(st.sampled_from(names), max_size=2))),),
        draw(st.lists(events, max_size=2)),
        draw(st.none() | st.floats(0, 1e9)),
        draw(st.none() | st.floats(0, 1e6)),
    )
