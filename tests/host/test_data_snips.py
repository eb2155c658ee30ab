"""Reading sentences with a label for each word and one for all, in the layout of the Snips and ATIS commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgegru.data import DataConfig, Dataset, data_section, labelled_sequences, prepare
from edgegru_runtime.errors import ConfigError, DataError
from edgegru_runtime.model_config import InputConfig, ModelConfig, OutputConfig
from tests.public_data import public_data

TRAIN = (
    ("play Blue  Monday by new-order", "O B-track I-track O B-artist", "Play"),
    ("rain in rome ", "O O B-city ", "Weather"),
)
VALID = (("rain", "O", "Weather"),)
TEST = (("play rome", "O B-track", "Play"), ("rain in blue", "O O B-city", "Weather"))
CONFIG = DataConfig(word_end="spaces", lower=True)
TAGS = ("B-artist", "B-city", "B-track", "I-track", "O")


def write_part(folder: Path, lines: tuple[tuple[str, str, str], ...]) -> Path:
    folder.mkdir(parents=True)
    for name, column in zip(("seq.in", "seq.out", "label"), zip(*lines, strict=True), strict=True):
        (folder / name).write_text("\n".join(column) + "\n", encoding="utf-8")
    return folder


def write_snips(folder: Path) -> Path:
    for name, lines in (("train", TRAIN), ("valid", VALID), ("test", TEST)):
        write_part(folder / name, lines)
    return folder


def words(data: Dataset, numbers: np.ndarray) -> list[str]:
    assert data.tokenizer is not None
    return [data.tokenizer.tokens[int(number)] for number in numbers]


def model_of(data: Dataset, config: DataConfig = CONFIG) -> ModelConfig:
    return ModelConfig(
        scheme="float32",
        identity="",
        input=InputConfig(1, data.channels, data.units, None, tokenizer=data.tokenizer),
        nodes=(),
        outputs=data.outputs,
        data=data_section(config, data),
    )


def test_a_word_is_a_step_with_its_tag_and_the_last_one_has_the_intent(tmp_path: Path) -> None:
    data = prepare(CONFIG, write_snips(tmp_path / "made"))
    assert data.outputs == (
        OutputConfig("step_label", "step_label", TAGS),
        OutputConfig("recording_label", "recording_label", ("Play", "Weather")),
    )
    first, second = data.train
    assert words(data, first.x[:, 0]) == ["play", "blue", "monday", "by", "new-order"]
    assert first.target.tolist() == [[4, -1], [2, -1], [3, -1], [4, -1], [0, 0]] and first.mask.all()
    tags, intent = second.apart
    assert (tags.target.tolist(), tags.mask.tolist()) == ([4, 4, 1], [True] * 3)
    assert (intent.target[-1], intent.mask.tolist()) == (1, [False, False, True])
    (rain,), (_, blue) = data.validation, data.test
    assert rain.target.tolist() == [[4, 1]]
    assert words(data, blue.x[:, 0]) == ["rain", "in", "blue"]
    assert (first.name, rain.name, blue.name) == ("train:1", "valid:1", "test:2")


@pytest.mark.parametrize(
    ("target", "labels", "counting"), [("step_label", TAGS, 5), ("recording_label", ("Play", "Weather"), 1)]
)
def test_one_of_the_two_can_be_learned_alone(
    tmp_path: Path, target: str, labels: tuple[str, ...], counting: int
) -> None:
    config = DataConfig(word_end="spaces", target=target)
    data = prepare(config, write_snips(tmp_path / "made"))
    assert data.outputs == (OutputConfig("output", target, labels),)
    assert data.train[0].target.ndim == 1 and data.train[0].mask.sum() == counting
    assert [one.target.tolist() for one in labelled_sequences(model_of(data, config), tmp_path / "made")] == [
        one.target.tolist() for one in data.test
    ]


def test_the_order_of_targets_is_that_of_the_outputs(tmp_path: Path) -> None:
    config = DataConfig(word_end="spaces", target=("recording_label", "step_label"))
    data = prepare(config, write_snips(tmp_path / "made"))
    assert [output.target for output in data.outputs] == ["recording_label", "step_label"]
    assert data.train[1].target.tolist() == [[-1, 4], [-1, 4], [1, 1]]


def test_a_model_reads_other_sentences_with_its_own_words_and_labels(tmp_path: Path) -> None:
    data = prepare(CONFIG, write_snips(tmp_path / "made"))
    model = model_of(data)
    for path in (tmp_path / "made", tmp_path / "made" / "test"):
        for found, expected in zip(labelled_sequences(model, path), data.test, strict=True):
            np.testing.assert_array_equal(found.target, expected.target)
            np.testing.assert_array_equal(found.x, expected.x)
    other = write_part(tmp_path / "mine", (("play polka", "O B-genre", "Play"),))
    with pytest.raises(DataError, match="recording 'mine:1' has the label 'B-genre', expected one of B-artist,"):
        labelled_sequences(model, other)


def test_a_folder_without_parts_is_split_by_fractions(tmp_path: Path) -> None:
    folder = write_part(tmp_path / "mine", TRAIN * 5)
    data = prepare(DataConfig(word_end="spaces", validation_fraction=0.2, test_fraction=0.2), folder)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [6, 2, 2]
    intents = {one.target[-1, 1] for one in data.validation}
    assert intents == {0, 1}  # each intent gives its share


def test_words_that_are_no_tokens_of_their_own_have_no_tags(tmp_path: Path) -> None:
    folder = write_snips(tmp_path / "made")
    with pytest.raises(DataError, match="train:1: 7 tokens of 5 words with a label each, expected one a word"):
        prepare(DataConfig(), folder)
    pieces = prepare(DataConfig(tokenizer="characters", target="recording_label"), folder)
    assert len(pieces.train[1].x) == len("rain in rome") and pieces.outputs[0].labels == ("Play", "Weather")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("seq.out", "O\nO O B-city\n", "train, line 1 of the files seq.in, seq.out, label: 5 words, 1 labels of words"),
        ("seq.in", "play it\n\nrain in rome\n", "train/seq.out has 2 lines, but seq.in has 3"),
        ("seq.in", "\nrain in rome\n", "line 1 of the files seq.in, seq.out, label: 0 words, 5 labels of words"),
        ("label", "Play Music\nWeather\n", "and 2 of the sentence; expected some words, as many labels and one"),
        ("label", "Play\n\n", "train/label has 1 lines, but seq.in has 2"),
    ],
)
def test_sentences_that_are_none(tmp_path: Path, file: str, text: str, message: str) -> None:
    folder = write_snips(tmp_path / "made")
    (folder / "train" / file).write_text(text)
    with pytest.raises(DataError) as caught:
        prepare(CONFIG, folder)
    assert message in str(caught.value)


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no seq.in: expected seq.in, seq.out, label, or the folders train, valid"):
        prepare(DataConfig(format="snips"), tmp_path)
    folder = write_snips(tmp_path / "made")
    (folder / "valid" / "label").unlink()
    with pytest.raises(DataError, match=r"valid/label cannot be read: No such file"):
        prepare(CONFIG, folder)
    (folder / "valid" / "label").write_bytes(b"Weather\xff\n")
    with pytest.raises(DataError, match=r"valid/label, line 1: byte 0xff is no UTF-8"):
        prepare(CONFIG, folder)


@pytest.mark.parametrize("target", [(), ("step_label",), ("step_label", "step_label"), ("step_label", "forecast")])
def test_lists_of_targets_that_are_none(target: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"data.target is \[.*\], expected two of step_label, recording_label, or"):
        DataConfig(target=target)


def test_several_targets_have_no_horizon_and_no_columns() -> None:
    both = ("step_label", "recording_label")
    with pytest.raises(ConfigError, match=r"data.horizon 3: a forecast needs a horizon"):
        DataConfig(target=both, horizon=3)
    with pytest.raises(ConfigError, match="data.target_columns are for numbers"):
        DataConfig(target=both, target_columns=("a",))


def test_the_public_commands() -> None:
    data = prepare(CONFIG, public_data("snips"))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [13_084, 700, 700]
    assert [len(output.labels) for output in data.outputs] == [72, 7]
    assert sum(len(one.x) for one in data.test) == 6354
