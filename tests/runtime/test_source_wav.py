"""WAV: headers of all kinds, in whatever pieces the bytes arrive; what does not fit is refused in one sentence."""

from __future__ import annotations

import io
import struct
import wave
from array import array
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru_runtime.errors import InputError
from edgegru_runtime.model_config import ModelConfig
from edgegru_runtime.record import Block, Item, Record, Refusal
from edgegru_runtime.sources.opening import SourceOptions, open_source
from edgegru_runtime.sources.wav import MAX_HEADER_BYTES, WavReader
from tests.builders import in_blocks, random_config

RATE = 8000
CONFIG = in_blocks(random_config(8, rate=RATE), 4)  # two channels, four samples a step
SAMPLES = array("h", [1, -2, 3, 32767, -32768, 0, 7, 8, 9, 10])


def written(channels: int = 2, width: int = 2, rate: int = RATE, samples: bytes = SAMPLES.tobytes()) -> bytes:
    """As the standard library writes it."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((channels, width, rate, 0, "NONE", ""))
        sound.writeframes(samples)
    return file.getvalue()


def made(format: bytes, data: bytes = SAMPLES.tobytes(), length: int | None = None, before: bytes = b"") -> bytes:
    """A format chunk, and one of samples that says it has ``length`` bytes."""
    chunks = before + chunk(b"fmt ", format) + b"data" + struct.pack("<I", len(data) if length is None else length)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks) + len(data)) + b"WAVE" + chunks + data


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def pcm(format: int = 1, channels: int = 2, rate: int = RATE, bits: int = 16) -> bytes:
    return struct.pack("<HHIIHH", format, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits)


def extensible(subformat: int, **others: Any) -> bytes:
    """Of ``WAVEFORMATEXTENSIBLE``: 16 bits, loudspeakers left and right, and the subformat's GUID."""
    guid = struct.pack("<H", subformat) + bytes.fromhex("000000001000800000aa00389b71")
    return pcm(0xFFFE, **others) + struct.pack("<HHI", 22, 16, 3) + guid


def items_of(pieces: list[bytes], config: ModelConfig = CONFIG, **options: Any) -> list[Item]:
    reader = WavReader(config, SourceOptions(format="wav", **options))
    assert (reader.known, reader.unit, reader.held()) == (False, "sample", 0)
    items = [item for piece in pieces for item in reader.feed(piece)]
    items += reader.finish(complete=True)
    assert reader.known
    assert reader.place == len({item.place - number for item in items for number in range(_samples(item))})
    return items


def _samples(item: Item) -> int:
    return item.samples if isinstance(item, Block) else 1


def numbers_of(items: list[Item]) -> list[float]:
    return [number for item in items for number in (item.xs if isinstance(item, Block) else item.x)]  # type: ignore[union-attr]  # no refusals


def test_samples_are_integers_with_times() -> None:
    items = items_of([written()])
    assert items[1] == Record([3, 32767], 1 / RATE, place=2, end=44 + 8)
    assert numbers_of(items) == SAMPLES.tolist()
    assert [item.t for item in items_of([written()], time_unit="us")] == [0, 125, 250, 375, 500]  # type: ignore[union-attr]  # records
    assert numbers_of(items_of([written()], scale=2.0**-15))[3:5] == [32767 / 32768, -1]


def test_samples_at_once_are_blocks_of_a_step() -> None:
    first, rest = items_of([written()], samples_at_once=4)
    assert isinstance(first, Block) and isinstance(rest, Block)
    assert (first.samples, first.place, first.end) == (4, 4, 44 + 16)
    assert (rest.samples, rest.place, rest.end) == (1, 5, 44 + 20)
    single = items_of([written()])
    assert [list(first.sample(at).x) for at in range(4)] == [item.x for item in single[:4]]  # type: ignore[union-attr]  # records
    assert [first.sample(at).t for at in range(4)] == [item.t for item in single[:4]]  # type: ignore[union-attr]  # records
    assert (rest.sample(0).t, rest.sample(0).place) == (4 / RATE, 5)


@pytest.mark.parametrize("length", [0, 0x7FFF_F000, 0x8000_0000, 0xFFFF_FFFF])
def test_a_writer_who_did_not_know_the_length_is_read_to_the_end(length: int) -> None:
    assert numbers_of(items_of([made(pcm(), length=length)])) == SAMPLES.tolist()


@pytest.mark.parametrize("at_once", [1, 4])
def test_what_stands_around_the_samples_is_passed_over(at_once: int) -> None:
    noted = chunk(b"LIST", b"by nobody")  # an odd number of bytes
    for sound in (made(pcm(), before=noted) + noted, made(extensible(1)), made(pcm() + b"\0\0")):
        assert numbers_of(items_of([sound], samples_at_once=at_once)) == SAMPLES.tolist()


@given(data=st.data(), at_once=st.sampled_from([1, 4]), cut=st.integers(0, 20))
def test_any_pieces_give_the_same(data: st.DataObject, at_once: int, cut: int) -> None:
    sound = made(pcm(), before=chunk(b"LIST", b"odd"), length=0)
    sound = sound[: len(sound) - cut]

    def outcome(pieces: list[bytes]) -> list[Any]:
        items = items_of(pieces, samples_at_once=at_once)
        samples = [item.sample(at) for item in items if isinstance(item, Block) for at in range(item.samples)]
        single = [item._replace(end=0) for item in items if isinstance(item, Record)]
        assert not items or items[-1].end == len(sound)
        return [record._replace(x=list(record.x)) for record in samples + single] + [
            item for item in items if isinstance(item, Refusal)
        ]

    whole = outcome([sound])
    assert len(whole) == 5 - cut // 4  # half a sample is a refusal
    cuts = sorted({0, len(sound), *data.draw(st.lists(st.integers(0, len(sound)), max_size=20))})
    assert outcome([sound[start:stop] for start, stop in pairwise(cuts)]) == whole
    assert outcome([bytes([byte]) for byte in sound]) == whole


@pytest.mark.parametrize(
    ("sound", "message"),
    [
        (written(channels=1), "the sound has 1 channels, expected 2 as in the model"),
        (written(rate=16000), "the sound has 16000 samples per second, expected 8000 as the model"),
        (written(width=3, samples=bytes(12)), "the samples are PCM of 24 bits, expected PCM of 16 bits"),
        (written(width=1, samples=bytes(12)), "the samples are PCM of 8 bits, expected PCM of 16 bits"),
        (
            made(pcm(3, bits=32), bytes(8)),
            "the samples are floating-point numbers of 32 bits, expected PCM of 16 bits",
        ),
        (made(extensible(7, bits=8)), "the samples are mu-law of 8 bits, expected PCM of 16 bits"),
        (made(pcm(0x55)), "the samples are of format 85 of 16 bits, expected PCM of 16 bits"),
        (made(pcm()[:15]), "the format of the samples has 15 bytes, expected at least 16"),
        (made(pcm(0xFFFE)), "the format of the samples has 16 bytes, expected at least 16"),
        (b"RIFX8888WAVE", "the input begins with b'RIFX8888WAVE', expected a WAV: RIFF, a length, WAVE"),
        (b"c0,c1\n1,2\n3,4\n", "the input begins with b'c0,c1\\n1,2\\n3,', expected a WAV: RIFF, a length, WAVE"),
        (b"RIFF8888AVI LIST", "the input begins with b'RIFF8888AVI ', expected a WAV: RIFF, a length, WAVE"),
        (b"RIFF\4\0\0\0WAVEdata\4\0\0\0", "samples come before their format, expected a chunk 'fmt ' first"),
        (
            b"RIFF\4\0\0\0WAVELIST\xff\xff\xff\x7f",
            f"no samples come within {MAX_HEADER_BYTES} bytes, expected a chunk 'data'",
        ),
        (written()[:30], "the input ends after 30 bytes, within the header of a WAV"),
        (b"", "the input ends after 0 bytes, within the header of a WAV"),
    ],
)
def test_what_does_not_fit_is_one_sentence(sound: bytes, message: str) -> None:
    for pieces in ([sound], [bytes([byte]) for byte in sound]):
        with pytest.raises(InputError) as caught:
            items_of(pieces)
        assert str(caught.value) == message


def test_a_model_without_a_rate_takes_any() -> None:
    config = replace(CONFIG, input=replace(CONFIG.input, rate=None))
    assert items_of([written(rate=11025)], config)[4].t == 4 / 11025  # type: ignore[union-attr]  # a record


def opened(path: Path, **options: Any) -> Any:
    return open_source(str(path), CONFIG, SourceOptions(**options), print)


@pytest.mark.parametrize("at_once", [1, 4])
@pytest.mark.parametrize("name", ["sound.wav", "SOUND.WAV", "sound"])
def test_a_file_is_continued_behind_any_sample(tmp_path: Path, name: str, at_once: int) -> None:
    path, format = tmp_path / name, "wav" if name == "sound" else "auto"
    path.write_bytes(written() + b"more")
    for place in range(6):
        source = opened(path, format=format, samples_at_once=at_once)
        if place:
            source.resume(44 + 4 * place, place)
        items = []
        while (found := source.read()) is not None:
            items += found
        source.close()
        assert numbers_of(items) == SAMPLES.tolist()[2 * place :]
        assert items == [] or items[-1].place == 5


def test_errors_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "sound.wav").write_bytes(written(rate=44100))
    source = opened(tmp_path / "sound.wav")
    with pytest.raises(InputError, match=r"sound.wav: the sound has 44100 samples per second, expected 8000 as the"):
        source.read()
    source.close()
    for spec in ("tcp://127.0.0.1:1", "serial:/dev/null", "mqtt://127.0.0.1/a", "iio:x"):
        with pytest.raises(InputError, match=r"sends no WAV, expected a file or a pipe, or s16le$"):
            open_source(spec, CONFIG, SourceOptions(format="wav"), print)


def test_a_file_is_replayed_sample_by_sample(tmp_path: Path) -> None:
    (tmp_path / "sound.wav").write_bytes(written())
    source = opened(tmp_path / "sound.wav", replay_speed=1e9, samples_at_once=4)
    items = []
    while (found := source.read()) is not None:
        items += found
    source.close()
    assert items == items_of([written()])
