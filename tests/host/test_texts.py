"""From sentences to a model that reads text: files, tokens, an embedding that is trained, frozen and in integers."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import edgegru
from edgegru.augmentation import augment, check_augmentation
from edgegru.calibration import calibrate
from edgegru.configuration import AugmentationConfig, NetworkConfig, TrainConfig, TrainingConfig
from edgegru.data import DataConfig, Dataset, labelled_sequences, prepare, read_recordings
from edgegru.freezing import freeze
from edgegru.integer_torch import softmax_q15
from edgegru.network import Network
from edgegru.quantization import default_keep, initial_scales
from edgegru.quantized_network import QuantizedNetwork
from edgegru_runtime import Model, load
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ConfigError, DataError
from edgegru_runtime.integer_arithmetic import log_softmax_q16
from edgegru_runtime.integer_reference import IntegerReference
from edgegru_runtime.model_config import QuantizationConfig, TokenizerConfig
from tests.public_data import public_data
from tests.training_data import random_dataset, random_sequences

torch.set_num_threads(1)
TOKENIZER = TokenizerConfig("characters", tuple("?abcdefghij"), unknown=0)
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {"embedding_size": 5, "hidden_size": 8},
    "convolution": {"embedding_size": 5, "hidden_size": 8, "convolution_size": 6, "convolution_kernel": 3},
    "layers": {"embedding_size": 4, "hidden_size": 6, "input_layers": (5,), "reset": "before"},
}


VERDICTS = ("bad", "good")
WORDS = ("the", "film", "is", "a", "plot", ",", "but", *VERDICTS)


def write_sentences(folder: Path) -> Path:
    """The layout of the Stanford sentences: what is said last of the film is what counts."""
    generator = random.Random(0)
    folder.mkdir()
    for name, count in (("train", 120), ("dev", 20), ("test", 40)):
        lines = []
        for _ in range(count):
            words = generator.choices(WORDS, k=generator.randint(3, 9))
            words.append(generator.choice([word for word in words if word in VERDICTS] or VERDICTS))
            lines.append(f"{VERDICTS.index(words[-1])} {' '.join(words)} .")
        (folder / f"stsa.binary.{name}").write_text("\n".join(lines) + "\n")
    return folder


def test_sentences_have_the_publishers_parts_and_the_tokens_of_the_training_part(tmp_path: Path) -> None:
    (tmp_path / "stsa.binary.train").write_text("1 a good Plot\n\n0 a bad plot\n")
    (tmp_path / "stsa.binary.dev").write_text("0 an awful plot\n")
    data = prepare(DataConfig(lower=True), tmp_path)
    assert data.tokenizer is not None
    assert data.tokenizer.tokens == ("<unknown>", "a", "plot", "bad", "good")
    assert (data.target, data.labels, data.channels) == ("recording_label", ("negative", "positive"), ("token",))
    assert [sequence.x[:, 0].tolist() for sequence in data.train] == [[1, 4, 2], [1, 3, 2]]
    assert [sequence.target[-1] for sequence in data.train] == [1, 0] and not data.train[0].mask[:-1].any()
    assert [sequence.x[:, 0].tolist() for sequence in data.validation] == [[0, 0, 2]]
    assert data.train[1].name == "stsa.binary.train:3" and data.test == ()
    assert prepare(DataConfig(vocabulary=3), tmp_path / "stsa.binary.train").tokenizer == TokenizerConfig(
        "words", ("<unknown>", "a", "Plot"), unknown=0
    )


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("stsa.binary.train", b"1 good\n2 better\n", "line 2: '2 better', expected 0 or 1, a space and"),
        ("stsa.binary.train", b"1 good\n1\n", "line 2: '1', expected 0 or 1, a space and a sentence"),
        ("stsa.binary.train", b"1 good\n0 b\xe4d\n", "stsa.binary.train, line 2: byte 0xe4 is no UTF-8"),
        ("stsa.binary.train", "1 \u2581\n".encode(), "binary.train:1: no token in '\u2581', expected at least one"),
        ("other", b"1 good\n", "other is not named stsa.binary.train, stsa.binary.dev, stsa.binary.test"),
    ],
)
def test_sentences_that_are_none(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError) as caught:
        prepare(DataConfig(format="sst2"), tmp_path / name)
    assert message in str(caught.value)


def test_text_is_no_recording_of_numbers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is text in format 'sst2', expected recordings of numbers"):
        read_recordings(tmp_path, DataConfig(format="sst2"))
    with pytest.raises(DataError, match="no such file or folder"):
        prepare(DataConfig(format="sst2"), tmp_path / "nowhere")
    with pytest.raises(DataError, match="has no file named stsa.binary.train"):
        prepare(DataConfig(format="sst2"), tmp_path)


def dataset_of_text(target: str) -> Dataset:
    numbers = np.zeros(1, np.float32), np.ones(1, np.float32)
    data = random_dataset(target, 1, len(TOKENIZER.tokens))
    return replace(
        data, channels=("token",), units=("",), rate=None, tokenizer=TOKENIZER, mean=numbers[0], std=numbers[1]
    )


def make(settings: dict[str, Any], target: str) -> tuple[Network, Artifact]:
    config, dataset = TrainConfig(model=NetworkConfig(**settings)), dataset_of_text(target)
    tokens = len(TOKENIZER.tokens)
    network = Network(config.model, torch.zeros(1), torch.ones(1), tokens, seed=0, tokens=tokens)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return network, freeze(network, config, dataset, {})


def tokens(*lengths: int) -> list[NDArray[np.float32]]:
    generator = np.random.default_rng(3)
    drawn = [generator.integers(0, len(TOKENIZER.tokens), (length, 1)) for length in lengths]
    return [numbers.astype(np.float32) for numbers in drawn]


@pytest.mark.parametrize("target", ["step_label", "next_token"])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_streams_is_what_the_network_computes(shape: str, target: str) -> None:
    network, artifact = make(SHAPES[shape], target)
    (x,) = tokens(50)
    with torch.no_grad():
        outputs, _ = network(torch.from_numpy(x).unsqueeze(0), network.zero_state(1))
    head = torch.softmax if target == "step_label" else torch.log_softmax
    expected = head(outputs[0], dim=1).numpy()
    for engine in ("kernel", "reference"):
        found = np.asarray(Model(artifact, engine).stream().run(x))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * max(1.0, np.abs(expected).max()))
    assert artifact.config.input.tokenizer == TOKENIZER
    assert (artifact.config.outputs[0].labels == ()) == (target == "next_token")


@pytest.mark.parametrize("target", ["step_label", "next_token"])
@pytest.mark.parametrize("scheme", ["static-w8a8", "static-w8a16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_training_in_integers_is_the_integer_engine_in_every_bit(shape: str, scheme: str, target: str) -> None:
    network, artifact = make(SHAPES[shape], target)
    quantization = QuantizationConfig(keep=default_keep(artifact.config, scheme))
    config = replace(artifact.config, scheme=scheme, quantization=quantization)
    scales = initial_scales(artifact, config, calibrate(artifact, tokens(40, 30)), 1.1)
    quantized = QuantizedNetwork(network, config, scales, dataset_of_text(target))
    with torch.no_grad():
        quantized.scale_factor.mul_(torch.linspace(0.7, 1.1, len(quantized.scale_factor)))
    quantized.eval()
    (x,) = tokens(45)
    outputs, _ = quantized(torch.from_numpy(x).unsqueeze(0), quantized.zero_state(1))
    arguments = (outputs[0].detach() * 2.0**16).long()
    if target == "step_label":
        found = softmax_q15(arguments).numpy() * 2.0**-15
    else:
        logarithms = np.array([log_softmax_q16(row) for row in arguments.numpy()])
        found = logarithms.astype(np.float32) * np.float32(np.log(2.0) * 2.0**-16)
    engine = IntegerReference(quantized.integer_artifact())
    state = engine.new_state()
    np.testing.assert_array_equal(found, np.array([engine.step(state, number)[0] for number in x]))
    outputs[0, -1, 0].backward()
    gradient = network.embedding.weight.grad
    assert gradient is not None and (gradient.abs().sum(dim=1) > 0).sum() > 5


def test_cells_are_compared_on_text(tmp_path: Path) -> None:
    config = TrainConfig(model=NetworkConfig(embedding_size=6, hidden_size=10), training=TrainingConfig(epochs=1))
    compared = edgegru.compare(config, data=write_sentences(tmp_path / "sentences"), seeds=1)
    gru, lstm, _, other, _ = compared.models
    words = len(WORDS) + 2  # a full stop, and what is unknown
    assert gru.parameters == words * 6 + 3 * 10 * (6 + 10 + 2) + 2 * (10 + 1)
    assert gru.multiply_adds == 3 * 10 * (6 + 10) + 2 * 10 and lstm.multiply_adds == 4 * 10 * (6 + 10) + 2 * 10
    assert abs(other.parameters / gru.parameters - 1) < 0.1 and other.hidden_size < 10
    assert compared.kernel_us.keys() == {"float32", "static-w8a8"}


def test_a_model_of_sentences_from_files_to_integers(tmp_path: Path) -> None:
    data = write_sentences(tmp_path / "sentences")
    config = TrainConfig(
        model=NetworkConfig(embedding_size=6, hidden_size=10, time_constant=8.0),
        training=TrainingConfig(epochs=30, lanes=16, random_reset=0.0, learning_rate=0.02),
        augmentation=AugmentationConfig(token_dropout=0.02),
    )
    model = edgegru.train(config, data=data, output=tmp_path / "trained")
    int8 = tmp_path / "int8.safetensors"
    edgegru.quantize(model, data, int8)
    for file, format in (("int8.onnx", "onnx"), ("int8.tflite", "tflite")):
        edgegru.export(int8, tmp_path / file, format=format)
    scores = [edgegru.evaluate(file, data).metrics["accuracy"] for file in (model, int8, tmp_path / "int8.onnx")]
    assert scores[0] > 0.9 and scores[1] == scores[2] == pytest.approx(scores[0], abs=0.05)
    config = replace(config, training=replace(config.training, qat_epochs=1))
    tuned = edgegru.train(config, data=data, output=tmp_path / "qat", qat="static-w8a8")
    assert edgegru.evaluate(tuned, data).metrics["accuracy"] > 0.85

    on_device = load(int8)
    assert on_device.tokenizer is not None
    stream = on_device.stream()
    said = [stream.step([number]) for number in on_device.tokenizer.encode("the plot is good but the film is bad.")]
    assert said[3][1] > 0.5 > said[-1][1]
    sequences = labelled_sequences(on_device.config, data, "test")
    assert len(sequences) == 40 and sequences[0].x.shape[1] == 1


def test_a_whole_text_is_cut_in_order_and_says_what_comes_next(tmp_path: Path) -> None:
    (tmp_path / "rhyme.txt").write_text("abcabcabcd" * 10)
    config = DataConfig(tokenizer="characters", validation_fraction=0.1, test_fraction=0.2)
    data = prepare(config, tmp_path / "rhyme.txt")
    assert (data.target, data.rate, data.channels) == ("next_token", None, ("token",))
    assert data.labels == ("<unknown>", "a", "b", "c", "d")
    assert [[len(one.x) for one in part] for part in (data.train, data.validation, data.test)] == [[70], [10], [20]]
    (last,) = data.test
    np.testing.assert_array_equal(last.target[:-1], last.x[1:, 0])
    assert last.mask[:-1].all() and not last.mask[-1]
    (tmp_path / "many.txt").write_text(" ".join(f"w{number}" for number in range(30_000)))
    with pytest.raises(ConfigError, match="has 2[0-9]{4} tokens, .* use a data.vocabulary of 16384"):
        edgegru.train(
            TrainConfig(model=NetworkConfig(embedding_size=1)), data=tmp_path / "many.txt", output=tmp_path / "out"
        )
    with pytest.raises(DataError, match="is a folder, expected one file of text"):
        prepare(DataConfig(format="text"), tmp_path)
    with pytest.raises(ConfigError, match="data.target is 'step_label', expected 'next_token' of whole texts"):
        prepare(DataConfig(target="step_label"), tmp_path / "rhyme.txt")


def test_a_model_of_the_next_character_from_a_file_to_integers(tmp_path: Path) -> None:
    generator = random.Random(1)
    text = " ".join(generator.choice(["abc", "bcd", "cda", "dab"]) for _ in range(900))
    (tmp_path / "text.txt").write_text(text)
    config = TrainConfig(
        data=DataConfig(tokenizer="characters", validation_fraction=0.1, test_fraction=0.1),
        model=NetworkConfig(embedding_size=4, hidden_size=12, time_constant=4.0),
        training=TrainingConfig(epochs=12, lanes=8, bptt_steps=32, random_reset=0.3, learning_rate=0.03),
    )
    model = edgegru.train(config, data=tmp_path / "text.txt", output=tmp_path / "trained")
    int8 = tmp_path / "int8.safetensors"
    edgegru.quantize(model, tmp_path / "text.txt", int8)
    for file, format in (("int8.onnx", "onnx"), ("int8.tflite", "tflite")):
        edgegru.export(int8, tmp_path / file, format=format)
    files = (model, int8, tmp_path / "int8.onnx")
    scores = [edgegru.evaluate(file, tmp_path / "text.txt").metrics for file in files]
    assert scores[0]["bits"] == pytest.approx(0.5, abs=0.06)  # one of four words, in four characters
    assert scores[1] == scores[2] and scores[1]["bits"] == pytest.approx(scores[0]["bits"], abs=0.03)
    assert scores[0]["bits"] == pytest.approx(scores[0]["nll"] / np.log(2)) and scores[0]["accuracy"] > 0.75
    with pytest.raises(DataError, match="has labels, the model's target next_token needs a whole text"):
        edgegru.evaluate(int8, write_sentences(tmp_path / "sentences") / "stsa.binary.test")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": NetworkConfig()}, "model.embedding_size is 0, but the data are text: expected some numbers"),
        ({"model": NetworkConfig(embedding_size=2, differences=(1,))}, "skip_steps and data.samples_per_step are for"),
        ({"model": NetworkConfig(embedding_size=2, skip_steps=1)}, "are for numbers, not text"),
        ({"augmentation": AugmentationConfig(noise=0.1)}, "augmentation.noise changes numbers, but the data are text"),
    ],
)
def test_what_is_not_for_text(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    (tmp_path / "stsa.binary.train").write_text("1 good\n0 bad\n")
    config = replace(TrainConfig(model=NetworkConfig(embedding_size=2)), **changes)
    with pytest.raises(ConfigError) as caught:
        edgegru.train(config, data=tmp_path, output=tmp_path / "out")
    assert message in str(caught.value)


def test_what_is_not_for_numbers(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((9, 2)), y=np.array(["a", "b"] * 4 + ["a"]), lengths=np.array([3, 3, 3]))
    config = TrainConfig(model=NetworkConfig(embedding_size=3))
    with pytest.raises(ConfigError, match="model.embedding_size is 3, but the data are numbers: expected 0"):
        edgegru.train(config, data=tmp_path / "x.npz", output=tmp_path / "out")
    with pytest.raises(ConfigError, match="augmentation.token_dropout is for text, but the data are numbers"):
        check_augmentation(AugmentationConfig(token_dropout=0.1), random_dataset(), False)


def test_a_share_of_the_tokens_becomes_unknown() -> None:
    data = dataset_of_text("step_label")
    sequence = replace(random_sequences([4000], 1)[0], x=np.full((4000, 1), 7, np.float32))
    config = AugmentationConfig(token_dropout=0.25)
    (changed,) = augment([sequence], config, data.mean, data.std, None, np.random.default_rng(0))
    assert set(np.unique(changed.x)) == {0.0, 7.0} and changed.x.dtype == np.float32
    assert np.mean(changed.x == 0) == pytest.approx(0.25, abs=0.03)


def test_the_public_sentences_have_their_published_numbers() -> None:
    data = prepare(DataConfig(word_end="spaces"), public_data("sst2"))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [6920, 872, 1821]
    assert data.tokenizer is not None and len(data.tokenizer.tokens) > 14_000
