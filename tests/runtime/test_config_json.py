"""The configuration goes to JSON and back unchanged. What is refused is in tests/attacks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru_runtime.config_json import MAX_DEPTH, config_to_json, dump_json, parse_config, parse_config_text
from edgegru_runtime.errors import ArtifactError, FormatVersionError
from edgegru_runtime.model_config import (
    SCHEMES,
    DecisionConfig,
    InputConfig,
    ModelConfig,
    OutputConfig,
    QuantizationConfig,
)
from tests.builders import TOKENS, mixed_artifact, quantized, random_artifact, random_config, random_integer_artifact

IDENTITY = "0123456789abcdef" * 4
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=200)
FREE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


def round_trip(config: ModelConfig) -> ModelConfig:
    return parse_config_text(dump_json(config_to_json(config)))


@pytest.mark.parametrize("make", [random_artifact, random_integer_artifact])
@pytest.mark.parametrize("reset", ["after", "before"])
@pytest.mark.parametrize("head", ["softmax", "sigmoid", "identity"])
def test_round_trip(make: type, reset: str, head: str) -> None:
    config = make(0, 3, (5, 2), reset=reset, bias=reset == "after", head=head, hidden_linear=(4, "tanh")).config
    assert round_trip(config) == config


@pytest.mark.parametrize("scheme", ["float32", "static-w8a8", "static-w8a16", "dynamic-w8"])
@pytest.mark.parametrize("embedding", [True, False])
def test_round_trip_of_every_kind_of_node(embedding: bool, scheme: str) -> None:
    artifact = mixed_artifact(0, candidate="relu", embedding=embedding)
    config = (artifact if scheme == "float32" else quantized(artifact, scheme)).config
    assert round_trip(config) == config


def test_tokens_have_no_labels() -> None:
    config = mixed_artifact(0, **TOKENS).config
    assert config_to_json(config)["outputs"] == [{"node": "output", "target": "next_token"}]
    assert round_trip(config) == config


@st.composite
def configs(draw: st.DrawFn) -> ModelConfig:
    size, outputs = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    threshold = draw(st.floats(0, 1))
    texts = st.lists(TEXT, min_size=outputs, max_size=outputs).map(tuple)
    scales = st.floats(2.0**-100, 2.0**100)
    config = random_config(size, (2,), outputs)
    return replace(
        config,
        scheme=draw(st.sampled_from(SCHEMES)),
        identity=IDENTITY,
        input=InputConfig(
            size,
            draw(st.lists(TEXT.filter(bool), min_size=size, max_size=size, unique=True).map(tuple)),
            draw(st.lists(TEXT, min_size=size, max_size=size).map(tuple)),
            draw(st.none() | scales),
            draw(st.integers(1, 16384 // size)),
        ),
        outputs=(
            OutputConfig("output", "forecast", draw(texts), draw(st.just(()) | texts), draw(st.integers(0, 16384))),
        ),
        decision=DecisionConfig(
            threshold,
            draw(st.floats(0, threshold)),
            draw(st.sampled_from(["none", "mean:1", "mean:9999", "median:25", "ema:0.125", "ema:1", "ema:1.0"])),
            draw(st.integers(0, 2**31 - 1)),
            draw(st.sampled_from(["recording", "never"])),
            draw(st.integers(1, 2**31 - 1)),
            *draw(st.tuples(*[st.just(0.0) | st.floats(0, 1e9)] * 3)),
        ),
        quantization=draw(
            st.none()
            | st.builds(
                QuantizationConfig,
                st.dictionaries(st.sampled_from(["standardise", "gru0", "gru0.rh", "x1_y"]), scales),
                st.dictionaries(st.sampled_from(["standardise", "gru0", "x1_y"]), st.sampled_from(SCHEMES)),
                st.sampled_from(["minmax", "percentile:99.9"]),
                scales,
                st.dictionaries(st.sampled_from(["standardise", "gru0.rh"]), st.floats(0, 1)),
            )
        ),
        data=draw(st.dictionaries(TEXT, FREE.filter(shallow), max_size=3)),
        provenance=draw(st.dictionaries(TEXT, FREE.filter(shallow), max_size=3)),
    )


def shallow(value: object, levels: int = MAX_DEPTH - 1) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(shallow(part, levels - 1) for part in inner)


@given(configs())
def test_round_trip_of_any_configuration(config: ModelConfig) -> None:
    text = dump_json(config_to_json(config))
    assert parse_config_text(text) == config
    assert dump_json(config_to_json(parse_config_text(text))) == text


def test_what_says_nothing_is_left_out() -> None:
    config = replace(random_config(rate=None), identity=IDENTITY)
    written = config_to_json(config)
    assert set(written) == {"format", "format_version", "scheme", "identity", "input", "nodes", "outputs", "decision"}
    assert set(written["input"]) == {"size", "channels"}
    assert set(written["outputs"][0]) == {"node", "target", "labels"}
    assert written["decision"] == {
        "threshold": 0.5, "threshold_off": 0.5, "smoothing": "none", "warm_up": 0, "reset": "recording",
    }  # fmt: skip
    assert parse_config(written) == config


@pytest.mark.parametrize(
    ("field", "value"), [("trigger_level", 2), ("minimum_on", 0.5), ("minimum_off", 0.5), ("refractory", 0.5)]
)
def test_only_settings_of_the_decision_that_say_something_are_added(field: str, value: float) -> None:
    config = replace(random_config(), identity=IDENTITY, decision=replace(DecisionConfig(), **{field: value}))
    written = config_to_json(config)
    assert len(written["decision"]) == 6 and written["decision"][field] == value
    assert parse_config(written) == config


def test_text_is_compact_and_sorted() -> None:
    text = dump_json(config_to_json(random_config()))
    assert text.startswith('{"decision":{"reset":"recording","smoothing":"none",')
    assert " " not in text.replace("class ", "")


def test_an_integer_is_read_as_the_fraction_it_stands_for() -> None:
    value = config_to_json(replace(random_config(rate=50), identity=IDENTITY))
    assert isinstance(parse_config(value).input.rate, float)


def test_version_is_looked_at_before_unknown_fields() -> None:
    value = config_to_json(random_config()) | {"format_version": 7, "new": 1}
    with pytest.raises(FormatVersionError, match="has format version 7; this reader knows version 1"):
        parse_config(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}])
def test_what_json_cannot_say_is_not_written(value: object) -> None:
    with pytest.raises(ArtifactError, match="cannot be written as JSON"):
        dump_json({"provenance": value})
