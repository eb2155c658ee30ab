"""Translators: what is trained is what is frozen, quantized and said, to the last bit where it is integers."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import edgegru
from edgegru.command_line import main
from edgegru.translation.config import (
    PairsConfig,
    TranslatorConfig,
    TranslatorNetworkConfig,
    TranslatorTrainingConfig,
    load_translator_config,
)
from edgegru.translation.evaluation import score
from edgegru.translation.pairs import END, Pair, in_tokens, learned_tokenizers, read_pairs
from edgegru.translation.quantization import column, quantized_pair, remembered
from edgegru.translation.trainer import TranslatorTrainer
from edgegru_runtime import ArtifactError, InputError, Model
from edgegru_runtime.artifact import Artifact, read_artifact
from edgegru_runtime.errors import ConfigError, DataError, QuantizationError
from edgegru_runtime.tokenizer import Tokenizer
from edgegru_runtime.translation import Translator, joined, load_translator

WORDS = {"eins": "one", "zwei": "two", "drei": "three", "vier": "four", "und": "and", "rot": "red", "hund": "dog"}
CONFIG = TranslatorConfig(
    PairsConfig(tokenizer="words", vocabulary=30),
    TranslatorNetworkConfig(embedding_size=12, hidden_size=16, attention_size=8, length=9, dropout=0.0),
    TranslatorTrainingConfig(epochs=2, batch=8, learning_rate=0.02, averaging=0.9),
)


def write_pairs(folder: Path, train: int = 60, seed: int = 0) -> Path:
    """Sentences of two to four words, each translated for itself, the order turned round."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", train), ("val", 8), ("test_small", 10)):
        sentences = [rng.choice(list(WORDS), rng.integers(2, 5)).tolist() for _ in range(count)]
        said = [[WORDS[word] for word in reversed(sentence)] for sentence in sentences]
        for language, texts in (("de", sentences), ("en", said)):
            (folder / f"{part}.{language}").write_text("".join(f"{' '.join(text)}.\n" for text in texts))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of pairs, and one of a translator that has learned a little of them."""
    folder = tmp_path_factory.mktemp("translator")
    data = write_pairs(folder / "pairs", 400)
    config = replace(CONFIG, training=replace(CONFIG.training, epochs=10))
    return data, edgegru.train_translator(config, data=data, output=folder / "float")


@pytest.fixture(scope="module")
def pair(trained: tuple[Path, Path]) -> tuple[Artifact, Artifact]:
    return read_artifact(trained[1] / "encoder.safetensors"), read_artifact(trained[1] / "decoder.safetensors")


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_what_is_frozen_is_what_was_trained(layers: int, tmp_path: Path) -> None:
    """Every logarithm that torch computes of whole sentences, step by step in both engines."""
    config = replace(CONFIG, model=replace(CONFIG.model, encoder_layers=layers))
    trainer = TranslatorTrainer(config, write_pairs(tmp_path), torch.device("cpu"))
    trainer.run_epoch()
    encoder, decoder = trainer.artifacts({}).values()
    end = trainer.tokenizers[1].end
    network = trainer.average.eval()
    for pair in trainer.validation[:4]:
        with torch.no_grad():
            memory = network.encode(torch.tensor([pair.source]), torch.tensor([len(pair.source)]))
            outputs = network.decode(torch.tensor([[end, *pair.target]]), memory).log_softmax(-1)[0].numpy()
        for engine in ("reference", "kernel"):
            stream = Model(decoder, engine).stream()
            for row in remembered(encoder, [column(pair.source)])[0]:
                stream.remember(row[:16], row[16:])
            found = np.array([stream.step([token]) for token in (end, *pair.target)])
            np.testing.assert_allclose(found, outputs, rtol=0, atol=2e-5)


def test_a_sentence_does_not_depend_on_those_beside_it(tmp_path: Path) -> None:
    """What fills a batch up is masked: the loss of pairs together is that of each alone."""
    trainer = TranslatorTrainer(CONFIG, write_pairs(tmp_path), torch.device("cpu"))
    pairs = trainer.validation
    tokens = [len(pair.target) + 1 for pair in pairs]
    alone = sum(trainer.score([pair]) * count for pair, count in zip(pairs, tokens, strict=True)) / sum(tokens)
    assert len({len(pair.source) for pair in pairs}) > 1
    assert abs(trainer.score(pairs) - alone) < 1e-6


def test_it_learns(trained: tuple[Path, Path]) -> None:
    found = edgegru.evaluate_translator(trained[1], trained[0])
    assert found.sentences == 10
    assert found.exact >= 0.8
    assert found.bleu > 80
    assert "case:lc" in found.signature
    history = (trained[1] / "history.csv").read_text().splitlines()
    assert history[0] == "epoch,learning_rate,train_loss,validation_loss"
    assert len(history) == 11


@pytest.mark.parametrize("scheme", ["static-w8a8", "static-w8a16"])
def test_integers_say_the_same_on_every_engine(
    scheme: str, pair: tuple[Artifact, Artifact], trained: tuple[Path, Path]
) -> None:
    translator = Translator(*map(Model, pair))
    pairs = in_tokens(
        read_pairs(trained[0], "train", "de", "en")[:30], translator.source.config, translator.target.config, 9
    )
    small = quantized_pair(*pair, pairs, scheme)
    assert small[1].config.encoder == small[0].config.identity
    engines = [Translator(*(Model(model, engine) for model in small)) for engine in ("kernel", "reference")]
    right = 0
    for one in read_pairs(trained[0], "test", "de", "en"):
        first, second = (engine.translate(one.source) for engine in engines)
        assert first == second
        right += first.text == one.target
    assert right >= 7


def test_the_files_of_a_quantized_translator(trained: tuple[Path, Path], tmp_path: Path) -> None:
    data, model = trained
    output = edgegru.quantize_translator(model, data, tmp_path / "int8", pairs=20)
    decoder = read_artifact(output / "decoder.safetensors")
    assert decoder.config.scheme == "static-w8a8"
    assert load_translator(output).translate("eins und zwei .").tokens
    with pytest.raises(QuantizationError, match="exists already, expected a new folder or --force"):
        edgegru.quantize_translator(model, data, output)
    with pytest.raises(QuantizationError, match="has the float32 models, expected another folder"):
        edgegru.quantize_translator(model, data, model)
    (output / "encoder.safetensors").write_bytes((model / "encoder.safetensors").read_bytes())
    with pytest.raises(ArtifactError, match="the decoder belongs to the encoder .*, expected the one that is here"):
        load_translator(output)


@pytest.mark.parametrize("beam", [1, 2, 3, 5])
def test_the_search_is_that_of_the_page(beam: int, pair: tuple[Artifact, Artifact]) -> None:
    """Beside a search in real numbers that sorts all continuations and steps every sentence from its beginning."""
    translator = Translator(*map(Model, pair))
    end, unknown = translator.target.config.end, translator.target.config.unknown
    stream = translator.decoder.stream()

    def logarithms(tokens: tuple[int, ...]) -> np.ndarray:
        stream.state = start
        for token in (end, *tokens):
            found = stream.step([token])
        return np.array(found) / np.log(2)

    scores = []
    for source in ("eins zwei", "rot und hund", "vier", "drei und eins und zwei"):
        read = translator.source.encode(source)
        stream.reset()
        for row in remembered(pair[0], [column(read)])[0]:
            stream.remember(row[:16], row[16:])
        start = stream.state
        live, done = [((), 0.0)], []
        for _ in range(2 * len(read) + 10):
            found = [
                ((*tokens, token), score + value)
                for tokens, score in live
                for token, value in enumerate(logarithms(tokens))
                if token != unknown
            ]
            found.sort(key=lambda one: -one[1])
            done += [one for one in found[:beam] if one[0][-1] == end]
            live = [one for one in found[: 2 * beam] if one[0][-1] != end][:beam]
            if len(done) >= beam or not live:
                break
        tokens, score = max(done or live, key=lambda one: one[1] / len(one[0]))
        said = translator.translate(source, beam)
        assert said.tokens == [token for token in tokens if token != end]
        assert abs(said.score - score / len(tokens)) < 1e-4
        scores.append(said.score)
    assert len({*scores}) == 4


def test_it_can_be_used_again(pair: tuple[Artifact, Artifact]) -> None:
    """A sentence leaves nothing behind for the next, whatever the beam."""
    translator = Translator(*map(Model, pair))
    texts = ["eins", "rot und hund und rot", "zwei drei"]
    first = [translator.translate(text, beam) for text in texts for beam in (3, 1)]
    again = [Translator(*map(Model, pair)).translate(text, beam) for text in texts for beam in (3, 1)]
    assert first == again


def test_sentences_that_cannot_be_read(pair: tuple[Artifact, Artifact]) -> None:
    translator = Translator(*map(Model, pair))
    with pytest.raises(InputError, match="the sentence has 10 tokens, expected 1 to 9"):
        translator.translate("eins " * 10)
    with pytest.raises(InputError, match="the sentence has 0 tokens, expected 1 to 9"):
        translator.translate("  ")
    with pytest.raises(InputError, match="the beam is 0, expected 1 or more"):
        translator.translate("eins", 0)
    assert score(translator, [Pair("eins " * 10, "one")]).skipped == 1


def test_models_that_are_no_pair(pair: tuple[Artifact, Artifact]) -> None:
    encoder, decoder = map(Model, pair)
    with pytest.raises(ArtifactError, match="the decoder is no model with attention"):
        Translator(encoder, encoder)
    with pytest.raises(ArtifactError, match="the encoder gives outputs of .* numbers, expected 16 and 8"):
        Translator(decoder, decoder)


def test_an_interrupted_training_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "pairs")
    whole = edgegru.train_translator(CONFIG, data=data, output=tmp_path / "whole")
    half = replace(CONFIG, training=replace(CONFIG.training, epochs=2))
    trainer = TranslatorTrainer(half, data, torch.device("cpu"))
    trainer.run_epoch()
    from edgegru.checkpoint import NAME, save_checkpoint

    (tmp_path / "part").mkdir()
    save_checkpoint(trainer.checkpoint(), tmp_path / "part" / NAME)
    part = edgegru.train_translator(CONFIG, data=data, output=tmp_path / "part", resume=True)
    for name in ("encoder.safetensors", "decoder.safetensors", "history.csv"):
        assert (whole / name).read_bytes() == (part / name).read_bytes()
    other = replace(CONFIG, model=replace(CONFIG.model, hidden_size=17))
    with pytest.raises(ConfigError, match="cannot resume: .* model.hidden_size = 16, now it is 17"):
        edgegru.train_translator(other, data=data, output=tmp_path / "part", resume=True)


def test_pairs_are_read_plain_or_gzipped(tmp_path: Path) -> None:
    (tmp_path / "val.de.gz").write_bytes(gzip.compress("Zwei Männer .\n Ein Hund .\n".encode()))
    (tmp_path / "val.en").write_text("Two men .\nA dog .\n")
    assert read_pairs(tmp_path, "validation", "de", "en") == (
        Pair("Zwei Männer .", "Two men ."),
        Pair("Ein Hund .", "A dog ."),
    )
    assert read_pairs(tmp_path, "test", "de", "en") == ()


def test_pairs_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "train.de").write_text("a\nb\n")
    with pytest.raises(DataError, match=r"has train.de and no train\*.en, expected a file of each"):
        read_pairs(tmp_path, "train", "de", "en")
    (tmp_path / "train.en").write_text("a\n")
    with pytest.raises(DataError, match=r"train.de and train.en in .* have 2 and 1 lines, expected as many"):
        read_pairs(tmp_path, "train", "de", "en")
    (tmp_path / "train.en").write_text("a\n\n")
    with pytest.raises(DataError, match=r"train.en, line 2 is empty, expected a sentence"):
        read_pairs(tmp_path, "train", "de", "en")
    (tmp_path / "train.en").write_bytes(b"a\n\xff\n")
    with pytest.raises(DataError, match=r"train.en, line 2: byte 0xff is no UTF-8"):
        read_pairs(tmp_path, "train", "de", "en")
    (tmp_path / "train.en.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match=r"has train.en and train.en.gz, expected one file"):
        read_pairs(tmp_path, "train", "de", "en")
    (tmp_path / "train.en").unlink()
    with pytest.raises(DataError, match=r"train.en.gz cannot be read"):
        read_pairs(tmp_path, "train", "de", "en")
    with pytest.raises(DataError, match="no such folder"):
        read_pairs(tmp_path / "nowhere", "train", "de", "en")


def test_the_end_is_a_token_that_no_text_gives() -> None:
    for kind in ("words", "pieces", "characters"):
        sentences = [Pair("a", f"b {END} c{END}")] * 9
        _, target = learned_tokenizers(sentences, PairsConfig(tokenizer=kind, vocabulary=40))
        assert target.end == len(target.tokens) - 1
        assert target.tokens[target.end] == END
        assert target.end not in Tokenizer(target).encode(f"b {END} c{END} <end")
        assert Tokenizer(target).decode([*Tokenizer(target).encode("b c"), target.end]) == "b c"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a man , in blue .", "a man, in blue."),
        ("a well - known man ' s dog", "a well-known man's dog"),
        ("( two ) men !", "(two) men!"),
        ("", ""),
        (".", "."),
    ],
)
def test_words_are_joined_as_people_write(text: str, expected: str) -> None:
    assert joined(text) == expected


def test_the_commands(trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = trained
    arguments = ["translator", "quantize", str(model), "--calibration", str(data), "-o", str(tmp_path / "int8")]
    assert main([*arguments, "--pairs", "20"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "int8")
    assert main(["translator", "evaluate", str(tmp_path / "int8"), "--data", str(data), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sentences"] == 10
    assert main(["translator", "evaluate", str(tmp_path / "int8"), "--data", str(data), "--most", "2"]) == 0
    assert "of 2 sentences are equal to the reference" in capsys.readouterr().out
    sentences = tmp_path / "sentences.txt"
    sentences.write_text("eins und zwei .\n\nrot hund .\n")
    assert main(["translate", str(tmp_path / "int8"), str(sentences), "--beam", "2"]) == 0
    assert len(capsys.readouterr().out.split("\n")) == 4
    sentences.write_text("eins .\n" + "eins " * 12)
    assert main(["translate", str(tmp_path / "int8"), str(sentences)]) == 1
    assert "error: line 2: the sentence has 12 tokens, expected 1 to 9" in capsys.readouterr().err
    assert main(["translate", str(tmp_path)]) == 1
    assert "has no encoder.safetensors, expected one encoder" in capsys.readouterr().err


def test_the_training_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, config = write_pairs(tmp_path / "pairs"), tmp_path / "config.toml"
    config.write_text('[data]\ntokenizer = "words"\n[model]\nhidden_size = 8\n[training]\nepochs = 1\n')
    assert main(["translator", "train", "--config", str(config), "--data", str(data), "-o", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "decoder.safetensors").exists()
    assert load_translator_config(tmp_path / "out" / "config.toml").model.hidden_size == 8
    config.write_text("[model]\nhidden_units = 8\n")
    assert main(["translator", "train", "--config", str(config), "--data", str(data), "-o", str(tmp_path / "o")]) == 1
    assert "unknown key in [model]: 'hidden_units'" in capsys.readouterr().err
    config.write_text('[data]\nsource = "../x"\n')
    assert main(["translator", "train", "--config", str(config), "--data", str(data), "-o", str(tmp_path / "o")]) == 1
    assert "data.source is '../x', expected the ending of a file such as 'de'" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
