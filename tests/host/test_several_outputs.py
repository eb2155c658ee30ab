"""Two outputs of classes, a tag a word and an intent a sentence: trained, frozen, in integers, exported and scored."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import edgegru
from edgegru.calibration import calibrate
from edgegru.command_line import main
from edgegru.configuration import NetworkConfig, TrainConfig, TrainingConfig, config_to_toml, load_config
from edgegru.data import DataConfig, Dataset, LabelledSequence, labelled_sequences, prepare
from edgegru.data.blocks import in_blocks
from edgegru.data.recordings import side_by_side
from edgegru.evaluation import evaluate_sequences
from edgegru.freezing import freeze
from edgegru.integer_torch import softmax_q15
from edgegru.metrics import chunk_f1
from edgegru.network import Network
from edgegru.objective import SeveralObjective, make_objective
from edgegru.quantization import default_keep, initial_scales
from edgegru.quantized_network import QuantizedNetwork
from edgegru.starting_model import thaw
from edgegru.trainer import Trainer
from edgegru_runtime import Model, load
from edgegru_runtime.errors import ConfigError, DataError
from edgegru_runtime.integer_reference import IntegerReference
from edgegru_runtime.model_config import OutputConfig, QuantizationConfig
from tests.host.test_data_snips import write_part
from tests.training_data import random_dataset, random_sequences

torch.set_num_threads(1)
CPU = torch.device("cpu")
NAMES, CITIES = ("jazz", "polka", "rock"), ("rome", "new york", "oslo")
TAGS = ("B-city", "B-music", "I-city", "O")


def write_commands(folder: Path) -> Path:
    """Commands whose last words say what a word in the middle is, and what all is about."""
    generator = random.Random(0)
    for part, count in (("train", 120), ("valid", 24), ("test", 40)):
        lines = []
        for _ in range(count):
            if generator.random() < 0.5:
                lines.append((f"play some {generator.choice(NAMES)} now", "O O B-music O", "Play"))
            else:
                city = generator.choice(CITIES)
                tags = " ".join(["B-city", "I-city"][: len(city.split())])
                lines.append((f"is it raining in {city}", f"O O O O {tags}", "Weather"))
        write_part(folder / part, tuple(lines))
    return folder


def configured(**training: Any) -> TrainConfig:
    settings = {"epochs": 12, "lanes": 8, "random_reset": 0.0, "supervision": "all", "learning_rate": 0.03}
    return TrainConfig(
        data=DataConfig(format="snips", word_end="spaces"),
        model=NetworkConfig(embedding_size=6, hidden_size=10, time_constant=8.0),
        training=TrainingConfig(**{**settings, **training}),
    )


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_commands(tmp_path_factory.mktemp("two") / "commands")


@pytest.fixture(scope="module")
def trained(commands: Path) -> Path:
    """A folder with a float and an int8 model and its exports."""
    folder = commands.parent / "trained"
    model = edgegru.train(configured(), data=commands, output=folder)
    edgegru.quantize(model, commands, folder / "int8.safetensors", data=commands, report=folder / "report.html")
    for format_ in ("onnx", "tflite"):
        edgegru.export(folder / "int8.safetensors", folder / f"int8.{format_}", format=format_)
    return folder


def dataset_of_two(train: tuple[LabelledSequence, ...] = ()) -> Dataset:
    one = random_dataset(input_size=2, train=train)
    return replace(
        one,
        outputs=(
            OutputConfig("step_label", "step_label", ("a", "b", "c")),
            OutputConfig("recording_label", "recording_label", ("p", "q")),
        ),
    )


def made(settings: dict[str, Any]) -> tuple[Network, TrainConfig, Dataset]:
    """A network with weights away from where they begin."""
    config, dataset = TrainConfig(model=NetworkConfig(**settings)), dataset_of_two()
    mean, std = torch.from_numpy(dataset.mean), torch.from_numpy(dataset.std)
    network = Network(config.model, mean, std, {"step_label": 3, "recording_label": 2}, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return network, config, dataset


def test_sequences_apart_are_side_by_side_again() -> None:
    (one,) = random_sequences([5], 2, 3)
    other = replace(one, target=np.array([1, 1, 1, 1, 0]), mask=np.array([False] * 4 + [True]))
    one = replace(one, mask=np.array([True, False, True, True, False]))
    both = side_by_side([one, other])
    assert both.mask.tolist() == [True, False, True, True, True]
    for found, expected in zip(both.apart, (one, other), strict=True):
        np.testing.assert_array_equal(found.mask, expected.mask)
        np.testing.assert_array_equal(found.target[found.mask], expected.target[expected.mask])
    assert side_by_side([one]) is one and one.apart == (one,)
    values = replace(one, target=np.zeros((5, 2), np.float32))
    assert values.apart == (values,)  # two values are one output


def test_a_step_of_several_samples_has_the_last_label_of_each_output() -> None:
    (one,) = random_sequences([7], 2, 3)
    last = replace(one, target=np.full(7, 1), mask=np.arange(7) == 6)
    steps, whole = in_blocks(side_by_side([one, last]), 3).apart
    assert steps.target.tolist() == [one.target[2], one.target[5]] and steps.mask.all()
    assert whole.mask.tolist() == [False, True]


def test_each_output_adds_its_own_loss_where_it_counts() -> None:
    objective = make_objective(TrainingConfig(label_smoothing=0.2), dataset_of_two(), CPU)
    assert isinstance(objective, SeveralObjective)
    outputs = torch.tensor([[0.0, math.log(2.0), 0.0, 5.0, 5.0], [3.0, 3.0, 3.0, 0.0, math.log(3.0)]])
    targets = torch.tensor([[1, -1], [-1, 1]])
    first = -(0.8 * math.log(2 / 4) + 0.2 / 3 * (math.log(2 / 4) + 2 * math.log(1 / 4)))
    second = -(0.9 * math.log(3 / 4) + 0.1 * math.log(1 / 4))
    torch.testing.assert_close(objective.losses(outputs, targets), torch.tensor([first, second]))
    both = torch.tensor([[1, 0], [-1, 1]])
    torch.testing.assert_close(objective.losses(outputs, both)[0], torch.tensor(first + math.log(2)))
    assert objective.weights(both).tolist() == [2.0, 1.0]
    predictions = objective.predictions(outputs)
    assert predictions[:, 0].tolist()[0] == 1 and predictions[1, 1] == 1
    measured = objective.measure(np.array([[1, 1], [0, 1], [2, -1]]), np.array([[1, 1], [0, 0], [0, 0]]))
    assert measured["step_label_accuracy"] == pytest.approx(2 / 3)
    assert measured["recording_label_accuracy"] == 0.5
    assert measured["accuracy"] == pytest.approx((2 / 3 + 0.5) / 2) and set(measured) == set(objective.metrics)


def test_balanced_classes_are_those_of_each_output() -> None:
    (one,) = random_sequences([4], 2, 3)
    tags = replace(one, target=np.array([0, 0, 0, 2]))
    whole = replace(one, target=np.full(4, 1), mask=np.arange(4) == 3)
    dataset = dataset_of_two((side_by_side([tags, whole]),))
    objective = make_objective(TrainingConfig(class_weights="balanced"), dataset, CPU)
    weights = objective.weights(torch.tensor([[0, -1], [2, 1]]))
    assert weights.tolist() == pytest.approx([4 / (2 * 3), 4 / (2 * 1) + 1])


def test_settings_that_do_not_fit_are_refused(commands: Path, tmp_path: Path) -> None:
    dataset = dataset_of_two()
    with pytest.raises(ConfigError, match="class_weights are a list, expected 'none' or 'balanced' for several"):
        make_objective(TrainingConfig(class_weights=(1.0, 2.0)), dataset, CPU)
    message = "training.metric is 'macro_f1', expected one of auto, loss, accuracy for target step_label, recording_la"
    with pytest.raises(ConfigError, match=message):
        make_objective(TrainingConfig(metric="macro_f1"), dataset, CPU)
    with pytest.raises(ConfigError, match="model.skip_steps is 2, expected 0 with several outputs"):
        made({"skip_steps": 2})
    data = prepare(configured().data, commands)
    silent = tuple(
        side_by_side([tags, replace(whole, mask=np.zeros_like(whole.mask))])
        for tags, whole in (one.apart for one in data.validation)
    )
    with pytest.raises(DataError, match="no step of the validation part has a target recording_label"):
        Trainer(configured(), replace(data, validation=silent), CPU)


@pytest.mark.parametrize("settings", [{"hidden_size": 7}, {"hidden_size": 5, "output_layers": (6,), "num_layers": 2}])
def test_what_streams_is_what_the_network_computes(settings: dict[str, Any]) -> None:
    network, config, dataset = made(settings)
    artifact = freeze(network, config, dataset, {})
    assert [node.name for node in artifact.config.nodes[-4:]] == [
        "dense_step_label", "dense_recording_label", "step_label", "recording_label"
    ]  # fmt: skip
    x = np.random.default_rng(0).normal(0, 3, (30, 2)).astype(np.float32)
    with torch.no_grad():
        outputs, _ = network(torch.from_numpy(x).unsqueeze(0), network.zero_state(1))
    expected = [part.softmax(dim=1).numpy() for part in outputs[0].split([3, 2], dim=1)]
    for engine in ("kernel", "reference"):
        found = Model(artifact, engine).stream().run(x)
        for own, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(np.asarray(own), wanted, rtol=0, atol=1e-6)
    again, _, _ = made({**settings})
    for parameter in again.parameters():
        torch.nn.init.zeros_(parameter)
    thaw(again, artifact, dataset)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)


@pytest.mark.parametrize("scheme", ["static-w8a8", "static-w8a16"])
def test_training_in_integers_is_the_integer_engine_in_every_bit(scheme: str) -> None:
    network, config, dataset = made({"hidden_size": 7, "output_layers": (6,)})
    artifact = freeze(network, config, dataset, {})
    quantization = QuantizationConfig(keep=default_keep(artifact.config, scheme))
    integer = replace(artifact.config, scheme=scheme, quantization=quantization)
    generator = np.random.default_rng(2)
    x = generator.normal(0, 3, (40, 2)).astype(np.float32)
    scales = initial_scales(artifact, integer, calibrate(artifact, [x]), 1.1)
    quantized = QuantizedNetwork(network, integer, scales, dataset)
    quantized.eval()
    outputs, _ = quantized(torch.from_numpy(x).unsqueeze(0), quantized.zero_state(1))
    arguments = (outputs[0].detach() * 2.0**16).long().split([3, 2], dim=1)
    found = [softmax_q15(own).numpy() * 2.0**-15 for own in arguments]
    engine = IntegerReference(quantized.integer_artifact())
    state = engine.new_state()
    said = [engine.step(state, row) for row in x]
    for place, own in enumerate(found):
        np.testing.assert_array_equal(own, np.array([step[place] for step in said]))
    outputs[0, -1, 4].backward()
    assert network.dense["recording_label"].weight.grad[1].abs().sum() > 0
    assert network.dense["step_label"].weight.grad.abs().sum() == 0


def test_a_model_of_two_outputs_from_files_to_every_runtime(commands: Path, trained: Path) -> None:
    files = ("model.safetensors", "int8.safetensors", "int8.onnx", "int8.tflite")
    scores = [edgegru.evaluate(trained / file, commands).metrics for file in files]
    assert [*scores[0]] == [
        "step_label_accuracy", "step_label_macro_f1", "step_label_chunk_f1",
        "recording_label_accuracy", "recording_label_macro_f1",
    ]  # fmt: skip
    assert min(scores[0].values()) > 0.95 and scores[1] == scores[2] == pytest.approx(scores[0], abs=0.03)
    assert scores[3] == pytest.approx(scores[0], abs=0.03)
    page = (trained / "report.html").read_text()
    assert "dense_recording_label" in page and "step label chunk f1" in page
    history = (trained / "history.csv").read_text().splitlines()[0].split(",")
    assert {"validation_accuracy", "validation_recording_label_macro_f1"} <= {*history}


def test_the_scores_are_those_of_what_was_said(commands: Path, trained: Path) -> None:
    """Against a loop over steps; some targets are made wrong so that not all scores are 1."""
    model = load(trained / "int8.safetensors")
    sequences = []
    for index, one in enumerate(labelled_sequences(model.config, commands)):
        target = one.target.copy()
        if index % 3 == 0:
            target[-1] = (target[-1] + 1) % (4, 2)
        sequences.append(replace(one, target=target))
    true, said, hits = [], [], []
    for one in sequences:
        stream = model.stream()
        outputs = [stream.step([number]) for number in one.x[:, 0]]
        tags = model.config.outputs[0].labels
        true.append([tags[number] for number in one.target[:, 0]])
        said.append([tags[int(np.argmax(step[0]))] for step in outputs])
        hits.append(int(np.argmax(outputs[-1][1])) == one.target[-1, 1])
    found = evaluate_sequences(model, sequences)
    assert [own.scored for own in found.outputs] == [sum(map(len, true)), len(sequences)]
    assert found.metrics["recording_label_accuracy"] == pytest.approx(np.mean(hits)) != 1
    assert found.metrics["step_label_chunk_f1"] == pytest.approx(chunk_f1(true, said)) != 1
    shown = str(found)
    assert "\n\nrecording_label: 40 scored\naccuracy" in shown and "chunk_f1" in shown
    assert [own["output"] for own in found.to_dict()["outputs"]] == ["step_label", "recording_label"]


def test_training_in_integers_and_resuming(commands: Path, trained: Path, tmp_path: Path) -> None:
    config = configured(qat_epochs=2, qat_learning_rate=0.001)
    start = trained / "model.safetensors"
    tuned = edgegru.train(config, data=commands, output=tmp_path / "qat", qat="static-w8a8", from_model=start)
    assert edgegru.evaluate(tuned, commands).metrics["step_label_chunk_f1"] > 0.9
    rows = (tmp_path / "qat" / "history.csv").read_text().splitlines()
    kept = [dict(zip(rows[0].split(","), map(float, row.split(",")), strict=True)) for row in rows[1:]]
    validation = edgegru.evaluate(tuned, commands, part="validation").metrics
    assert any(
        all(row[f"validation_{output}_accuracy"] == pytest.approx(validation[f"{output}_accuracy"], abs=1e-12)
            for output in ("step_label", "recording_label"))
        for row in kept
    )  # fmt: skip
    one = replace(config, data=replace(config.data, target="step_label"))
    with pytest.raises(ConfigError, match="has the target recording_label, but the data give nothing"):
        edgegru.train(one, data=commands, output=tmp_path / "one", qat="static-w8a8", from_model=start)


def test_the_command_line(
    commands: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    int8 = str(trained / "int8.safetensors")
    config = tmp_path / "config.toml"
    target = 'target = ["recording_label", "step_label"]'
    config.write_text(config_to_toml(configured(epochs=1)).replace('target = "auto"', target))
    assert load_config(config).data.target == ("recording_label", "step_label")

    def run(*arguments: str) -> str:
        assert main([*arguments]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    assert run("train", "--config", str(config), "--data", str(commands), "-o", str(tmp_path / "out")).endswith(
        "model.safetensors\n"
    )
    assert load(tmp_path / "out" / "model.safetensors").config.outputs[1].labels == TAGS
    scored = json.loads(run("evaluate", int8, "--data", str(commands), "--json"))
    assert [own["target"] for own in scored["outputs"]] == ["step_label", "recording_label"]
    run("verify", str(trained / "int8.onnx"), "--against", int8)
    (tmp_path / "command.txt").write_text("play some jazz\n")
    lines = [json.loads(line) for line in run("run", int8, str(tmp_path / "command.txt")).splitlines()]
    said = [line["outputs"] for line in lines]
    assert [one["step_label"]["label"] for one in said] == ["O", "O", "B-music"]
    assert said[-1]["recording_label"]["label"] == "Play"


def test_cells_are_compared_on_both_outputs(commands: Path) -> None:
    compared = edgegru.compare(configured(epochs=1), data=commands, seeds=1)
    assert (compared.target, compared.metric) == ("step_label, recording_label", "accuracy")
    assert compared.models[0].scores("test", "recording_label_accuracy") and compared.kernel_us.keys() >= {"float32"}


def test_what_is_for_one_output_is_refused(commands: Path, trained: Path, tmp_path: Path) -> None:
    model = trained / "int8.safetensors"
    with pytest.raises(DataError, match="one confusion matrix, but the model has the targets step_label, recording_la"):
        edgegru.evaluate(model, commands, plot=tmp_path / "confusion.png")
    with pytest.raises(DataError, match="has 2 outputs, decisions are tuned for one"):
        edgegru.tune(model, commands, tmp_path / "tuned.safetensors")
