"""Reading WAV files: every number as it is, and one sentence for what is not 16-bit PCM of one channel."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgegru.data import DataConfig
from edgegru.data.wav_files import LabelledSound, read_sounds, read_wav
from edgegru_runtime.errors import DataError
from tests.host.sounds_on_disk import write_wav

SAMPLES = np.array([0, 1, -1, 32767, -32768, 256], np.int16)


@given(arrays(np.int16, st.integers(1, 40)), st.integers(1, 96_000))
def test_samples_come_back(tmp_path_factory: pytest.TempPathFactory, samples: np.ndarray, rate: int) -> None:
    found, own_rate = read_wav(write_wav(tmp_path_factory.getbasetemp() / "a.wav", samples, rate))
    np.testing.assert_array_equal(found, samples)
    assert (found.dtype, own_rate) == (np.int16, rate)


@pytest.mark.parametrize(
    ("channels", "width", "words"),
    [
        (2, 2, "has 2 channels of 16 bits, expected 1 of 16 bits"),
        (1, 1, "has 1 channels of 8 bits, expected 1 of 16 bits"),
        (1, 3, "has 1 channels of 24 bits, expected"),
    ],
)
def test_other_samples_are_refused(tmp_path: Path, channels: int, width: int, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_wav(write_wav(tmp_path / "a.wav", SAMPLES, channels=channels, width=width))


def test_files_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with pytest.raises(DataError, match="is no readable WAV file of PCM samples"):
        read_wav(path)
    for content, words in ((b"", "it is cut off"), (b"RIFF", "it is cut off"), (b"fLaC" + bytes(40), "RIFF")):
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"is no readable WAV file of PCM samples: .*{words}"):
            read_wav(path)
    content = bytearray(write_wav(path, SAMPLES).read_bytes())
    content[20:22] = (3).to_bytes(2, "little")  # the format's number: 3 is float
    path.write_bytes(content)
    with pytest.raises(DataError, match="is no readable WAV file of PCM samples: unknown format: 3"):
        read_wav(path)
    with pytest.raises(DataError, match="has 0 samples at 8000 a second, expected sound"):
        read_wav(write_wav(path, SAMPLES[:0]))


@pytest.mark.parametrize("promised", [14, 2**32 - 2])
def test_a_cut_off_file_is_refused_before_memory_is_asked_for(tmp_path: Path, promised: int) -> None:
    path = write_wav(tmp_path / "a.wav", SAMPLES)
    content = bytearray(path.read_bytes())
    content[40:44] = promised.to_bytes(4, "little")  # the size of the samples, in bytes
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"is cut off, its header promises {promised // 2} samples"):
        read_wav(path)


def test_no_damage_gets_through_as_another_error(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", SAMPLES)
    original, generator, sentences = path.read_bytes(), random.Random(0), []
    for _ in range(500):
        content = bytearray(original)
        for _ in range(generator.randint(1, 4)):
            content[generator.randrange(len(content))] = generator.choice((0, 1, 2, 14, 127, 255))
        path.write_bytes(content[: generator.choice((len(content), generator.randrange(len(content))))])
        try:
            read_wav(path)
        except DataError as error:
            sentences.append(str(error))
    assert len(sentences) > 250
    assert not any("\n" in sentence for sentence in sentences)


def sounds(folder: Path, *rates: int) -> list[LabelledSound]:
    paths = [write_wav(folder / f"{index}.wav", SAMPLES, rate) for index, rate in enumerate(rates)]
    return [LabelledSound(path, path.stem, "yes", "someone") for path in paths]


def test_one_channel_at_the_rate_of_the_files(tmp_path: Path) -> None:
    found = read_sounds(sounds(tmp_path, 16_000, 16_000), DataConfig(channels=("sound",), rate=16_000.0))
    assert (found.channels, found.rate, [s.name for s in found.samples]) == (("sound",), 16_000, ["0", "1"])
    for samples in found.samples:
        np.testing.assert_array_equal(samples.x, SAMPLES[:, np.newaxis])
        assert (samples.t, samples.y, samples.group, samples.part) == (None, "yes", "someone", None)


@pytest.mark.parametrize(
    ("rates", "config", "words"),
    [
        ((8000, 16_000), DataConfig(), "1.wav has 16000 samples a second, .*0.wav has 8000: expected one rate"),
        ((8000,), DataConfig(rate=16_000.0), "has 8000 samples a second, but data.rate is 16000"),
        ((8000,), DataConfig(channels=("sound", "left")), "no channel 'left', the channel is 'sound'"),
    ],
)
def test_refusals(tmp_path: Path, rates: tuple[int, ...], config: DataConfig, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_sounds(sounds(tmp_path, *rates), config)
