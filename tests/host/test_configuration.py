"""The training configuration: what it accepts, what it refuses and how it is printed."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru.configuration import (
    LAYER_ACTIVATIONS,
    SECTIONS,
    AugmentationConfig,
    NetworkConfig,
    TrainConfig,
    TrainingConfig,
    config_to_toml,
    config_values,
    load_config,
    parse_config,
    settings_of,
)
from edgegru.data import DataConfig
from edgegru_runtime.errors import ConfigError
from edgegru_runtime.model_config import DecisionConfig

sizes = st.lists(st.integers(1, 4096), max_size=3).map(tuple)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def test_defaults_are_printed_and_read_back() -> None:
    printed = config_to_toml(TrainConfig())
    assert parse_config(tomllib.loads(printed)) == TrainConfig()
    for section, kind in SECTIONS.items():
        assert set(tomllib.loads(printed)[section]) == {field.name for field in settings_of(kind)}
    assert {field.name for field in dataclasses.fields(DecisionConfig)} - set(tomllib.loads(printed)["decision"]) == {
        "residual"
    }


@given(
    data=st.builds(DataConfig, path=text, channels=st.lists(text, max_size=3, unique=True), rate=st.floats(0, 1e9)),
    model=st.builds(
        NetworkConfig,
        hidden_size=st.integers(1, 4096),
        input_layers=sizes,
        output_activation=st.sampled_from(LAYER_ACTIVATIONS),
        bias=st.booleans(),
        dropout=st.floats(0, 1, exclude_max=True),
    ),
    training=st.builds(
        TrainingConfig,
        learning_rate=st.floats(0, 10, exclude_min=True),
        class_weights=st.one_of(st.just("balanced"), st.lists(st.floats(0, 1e6), max_size=3).map(tuple)),
    ),
    augmentation=st.builds(AugmentationConfig, rotation=st.floats(0, 180)),
)
def test_any_configuration_is_printed_and_read_back(
    data: DataConfig, model: NetworkConfig, training: TrainingConfig, augmentation: AugmentationConfig
) -> None:
    data = dataclasses.replace(data, channels=tuple(data.channels))
    decision = DecisionConfig(smoothing="mean:5", refractory=2.0)
    config = TrainConfig(data, model=model, training=training, augmentation=augmentation, decision=decision)
    assert parse_config(tomllib.loads(config_to_toml(config))) == config
    assert parse_config(config_values(config)) == config


def test_file_is_read_with_its_sections(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[model]\nhidden_size = 8\ninput_layers = [4]\n[training]\nweight_decay = 0\n", "utf-8")
    config = load_config(path)
    assert config.model == NetworkConfig(hidden_size=8, input_layers=(4,))
    assert config.training.weight_decay == 0.0 and isinstance(config.training.weight_decay, float)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[modell]", "unknown section: 'modell'; known are data, front_end"),
        ("[model]\nhidden = 1", "unknown key in [model]: 'hidden'; known are hidden_size"),
        ("[decision]\nsmooth = 1", "unknown key in [decision]: 'smooth'; known are threshold"),
        ("model = 3", "model is 3, expected a section [model]"),
        ("[[model]]\nhidden_size = 1", "expected a section [model]"),
        ("[model]\nhidden_size = 0", "model.hidden_size is 0, expected at least 1"),
        ("[model]\nhidden_size = 8.0", "model.hidden_size is 8.0, expected a whole number"),
        ("[model]\nhidden_size = true", "model.hidden_size is True, expected a whole number"),
        ("[model]\nbias = 1", "model.bias is 1, expected true or false"),
        ("[model]\nreset = 'middle'", "model.reset is 'middle', expected one of after, before"),
        ("[model]\ninput_layers = 4", "model.input_layers is 4, expected a list"),
        ("[model]\ninput_layers = [4, 'a']", "model.input_layers[1] is 'a', expected a whole number"),
        ("[model]\ninput_layers = [4, 0]", "model.input_layers is 0, expected at least 1"),
        ("[model]\ndropout = 1", "model.dropout is 1.0, expected less than 1.0"),
        ("[training]\nlearning_rate = 0", "training.learning_rate is 0.0, expected more than 0.0"),
        ("[training]\nlearning_rate = nan", "training.learning_rate is nan, expected a finite number"),
        ("[training]\nlearning_rate = true", "training.learning_rate is True, expected a number"),
        ("[training]\nseed = -1", "training.seed is -1, expected at least 0"),
        ("[training]\nclass_weights = 'even'", "training.class_weights is 'even', expected one of none, balanced"),
        ("[training]\nclass_weights = 3", "training.class_weights is 3, expected a string or a list"),
        ("[training]\nclass_weights = [1, -1]", "training.class_weights is -1.0, expected at least 0.0"),
        ("[training]\nschedule = 1", "training.schedule is 1, expected a string"),
        ("[augmentation]\nrotation = 181", "augmentation.rotation is 181.0, expected at most 180.0"),
        ("[data]\nrate = -1", "data.rate is -1"),
        ("[data]\nchannels = 'a'", "data.channels is 'a', expected a list"),
        ("[decision]\nresidual = 1", "unknown key in [decision]: 'residual'; known are threshold"),
        ("[decision]\ntrigger_level = 0", "decision.trigger_level is 0; expected an integer from 1"),
        ("[decision]\nthreshold = 2", "decision.threshold is 2.0"),
        ("[decision]\nsmoothing = 'much'", "decision.smoothing"),
        ("[model", "no valid TOML"),
        ("[model]\nreset = 'after'\nreset = 'after'", "no valid TOML"),
    ],
)
def test_wrong_files_are_refused_by_name(tmp_path: Path, toml: str, message: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(toml, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load_config(tmp_path)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "bytes.toml")
    (tmp_path / "deep.toml").write_text("a = " + "[" * 100_000)
    with pytest.raises(ConfigError):
        load_config(tmp_path / "deep.toml")


def test_python_construction_is_checked_too() -> None:
    with pytest.raises(ConfigError, match="model.hidden_size is 'many'"):
        NetworkConfig(hidden_size="many")  # type: ignore[arg-type] # the point of the test
    assert NetworkConfig(input_layers=[3]).input_layers == (3,)  # type: ignore[arg-type] # as TOML gives it


def test_every_setting_says_what_it_means() -> None:
    for kind in (NetworkConfig, TrainingConfig, AugmentationConfig):
        assert all(field.metadata["meaning"] for field in dataclasses.fields(kind))


def test_documentation_shows_the_defaults() -> None:
    printed = config_to_toml(TrainConfig())
    page = Path(__file__).parents[2] / "docs" / "training.md"
    assert f"```toml\n{printed[printed.index('[front_end]') :].rstrip()}\n```" in page.read_text("utf-8")
