"""Reading piano rolls from MATLAB files: those that scipy writes, broken ones, and the real ones where they are."""

from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import loadmat, savemat

from edgegru.data import DataConfig, data_section, labelled_sequences, matlab_file, prepare, read_recordings
from edgegru_runtime.errors import DataError
from edgegru_runtime.model_config import InputConfig, ModelConfig, OutputConfig
from tests.public_data import public_data

PARTS = {"traindata": (7, 5, 3), "validdata": (4, 1), "testdata": (6, 2)}
KEYS = tuple(f"note{number}" for number in range(21, 109))


def roll(frames: int, seed: int = 0) -> NDArray[np.float64]:
    return (np.random.default_rng([seed, frames]).random((frames, 88)) < 0.1).astype(np.float64)


def cells(*matrices: Any) -> NDArray[np.object_]:
    """A row of cells, as MATLAB has it."""
    array = np.empty((1, len(matrices)), object)
    array[0] = [*matrices]
    return array


def variables(dtype: type = np.uint8) -> dict[str, Any]:
    return {name: cells(*(roll(frames).astype(dtype) for frames in lengths)) for name, lengths in PARTS.items()}


def write(path: Path, compressed: bool = True, **changed: Any) -> Path:
    savemat(path, {**variables(), **changed}, do_compression=compressed)
    return path


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, np.float64, np.bool_, np.int16])
def test_pieces_and_what_sounds_next(tmp_path: Path, dtype: type, compressed: bool) -> None:
    found = read_recordings(write(tmp_path / "music.mat", compressed, **variables(dtype)), DataConfig())
    assert [(r.name, r.part) for r in found.recordings] == [
        ("music/train/0001", "train"), ("music/train/0002", "train"), ("music/train/0003", "train"),
        ("music/validation/0001", "validation"), ("music/validation/0002", "validation"),
        ("music/test/0001", "test"), ("music/test/0002", "test"),
    ]  # fmt: skip
    assert (found.channels, found.targets, found.target) == (KEYS, KEYS, "step_labels")
    for recording, frames in zip(found.recordings, (7, 5, 3, 4, 1, 6, 2), strict=True):
        assert recording.x.dtype == np.float32
        np.testing.assert_array_equal(recording.x, roll(frames))
        assert isinstance(recording.y, np.ndarray)
        np.testing.assert_array_equal(recording.y, [*roll(frames)[1:], np.full(88, np.nan)])


def test_the_first_frame_is_not_scored_and_the_parts_are_official(tmp_path: Path) -> None:
    data = prepare(DataConfig(), write(tmp_path / "music.mat"))
    assert (data.target, data.labels, data.outputs[0].units, len(data.target_mean)) == ("step_labels", KEYS, (), 0)
    assert [int(s.mask.sum()) for s in (*data.train, *data.validation, *data.test)] == [6, 4, 2, 3, 0, 5, 1]
    for sequence in data.train:
        np.testing.assert_array_equal(sequence.target[sequence.mask], sequence.x[1:])


def test_a_model_is_scored_on_the_official_test_part(tmp_path: Path) -> None:
    config, path = DataConfig(), write(tmp_path / "music.mat")
    data = prepare(config, path)
    model = ModelConfig(
        scheme="float32",
        identity="",
        input=InputConfig(88, data.channels, data.units, None),
        nodes=(),
        outputs=(OutputConfig("output", data.target, data.labels),),
        data=data_section(config, data),
    )
    for found, expected in zip(labelled_sequences(model, path), data.test, strict=True):
        np.testing.assert_array_equal(found.target, expected.target)
        np.testing.assert_array_equal(found.mask, expected.mask)


def test_some_keys_only(tmp_path: Path) -> None:
    path = write(tmp_path / "music.mat")
    config = DataConfig(channels=("note60", "note21"), target_columns=("note108",))
    data = prepare(config, path)
    assert (data.channels, data.labels) == (("note60", "note21"), ("note108",))
    np.testing.assert_array_equal(data.train[0].x, roll(7)[:, [39, 0]])
    np.testing.assert_array_equal(data.train[0].target[:-1], roll(7)[1:, [87]])
    forecast = prepare(DataConfig(horizon=1, target_columns=("note30",)), path)
    assert (forecast.target, forecast.labels) == ("forecast", ("note30+1",))
    with pytest.raises(DataError, match="no key 'note109', the keys are note21 to note108"):
        prepare(DataConfig(channels=("note109",)), path)


def test_other_variables_are_passed_over(tmp_path: Path) -> None:
    struct_ = {"a": 1.0, "b": cells(cells(1.0), "text")}
    path = write(tmp_path / "music.mat", about="text", nested=cells(cells(roll(3))), info=struct_, z=np.array([1j]))
    assert len(read_recordings(path, DataConfig()).recordings) == 7


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"testdata": roll(3)}, "'testdata' is no cell array, expected one of real matrices"),
        ({"testdata": cells(roll(3), cells(roll(3)))}, "cell 2 of 'testdata' is no real matrix"),
        ({"testdata": cells("text")}, "cell 1 of 'testdata' is no real matrix"),
        ({"testdata": cells({"a": 1.0})}, "cell 1 of 'testdata' is no real matrix"),
        ({"testdata": cells(roll(3) * 1j)}, "cell 1 of 'testdata' is no real matrix"),
        ({"testdata": cells(np.zeros((3, 88, 2)))}, "cell 1 of 'testdata' is no real matrix"),
        ({"validdata": cells(roll(3)[:, :87])}, "'music/validation/0001': 3 frames of 87 keys, expected one or more"),
        ({"validdata": cells(roll(3)[:0])}, "'music/validation/0001': 0 frames of 88 keys, expected one or more of 88"),
        ({"traindata": cells(roll(3), roll(3) + 2)}, "'music/train/0002', sample 0: 2.0 for note21, expected 0 or 1"),
        ({"traindata": cells(np.full((2, 88), np.nan))}, "sample 0: nan for note21, expected 0 or 1"),
    ],
)  # fmt: skip
def test_refusals(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_recordings(write(tmp_path / "music.mat", **changed), DataConfig())


def test_files_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "music.mat"
    savemat(path, {"x": roll(3)})
    with pytest.raises(DataError, match="has no 'traindata', expected the cell arrays traindata, validdata, testdata"):
        read_recordings(path, DataConfig())
    savemat(path, {"x": roll(3)}, format="4")
    with pytest.raises(DataError, match="is no MATLAB 5 file"):
        read_recordings(path, DataConfig())
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n".rjust(392, b"\0"))
    with pytest.raises(DataError, match=r"is a MATLAB 7.3 file \(HDF5\), expected MATLAB 5"):
        read_recordings(path, DataConfig())
    for content in (b"", b"MATLAB 5.0 MAT-file"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="is no MATLAB 5 file"):
            read_recordings(path, DataConfig())
    with pytest.raises(DataError, match="is a folder, format 'polymusic' does not read it"):
        read_recordings(tmp_path, DataConfig(format="polymusic"))


HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def array(array_class: int, name: bytes, content: bytes, sizes: tuple[int, ...] = (1, 1)) -> bytes:
    head = element(6, struct.pack("<II", array_class, 0)) + element(5, struct.pack(f"<{len(sizes)}i", *sizes))
    return element(14, head + element(1, name) + content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (element(9, bytes(8)), "an element of type 9 where an array should be"),
        (element(14, b""), "is a damaged MATLAB 5 file"),
        (array(1, b"traindata", b"")[:-4], "is damaged"),
        (array(1, b"traindata", element(9, bytes(8))), "an element of type 9 where an array should be"),
        (array(1, b"traindata", array(6, b"", element(9, bytes(7)))), "7 bytes of type 9 where numbers should be"),
        (array(1, b"traindata", array(6, b"", element(16, bytes(8)))), "8 bytes of type 16 where numbers should be"),
        (array(1, b"traindata", array(6, b"", b"")), "is a damaged MATLAB 5 file"),
        (array(1, b"traindata", array(6, b"", element(9, bytes(8)), (-1, -1))), r"1 numbers for sizes \(-1, -1\)"),
        (array(1, b"traindata", array(6, b"", element(9, bytes(8)), (2**31 - 1,) * 2)), "1 numbers for sizes"),
        (struct.pack("<II", 14, 2**32 - 1), "an element of 4294967295 bytes where 0 are left"),
        (struct.pack("<II", 5 << 16 | 1, 0), "an element of 5 bytes where 4 are left"),
        (element(15, b"no zlib stream"), "is a damaged MATLAB 5 file"),
        (element(15, zlib.compress(bytes(99))[:-4]), "a variable is cut off, or larger than"),
        (element(15, zlib.compress(b"")), "is a damaged MATLAB 5 file"),
    ],
)
def test_damaged_and_made_up_files(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "music.mat").write_bytes(HEADER + content)
    with pytest.raises(DataError, match=words):
        read_recordings(tmp_path / "music.mat", DataConfig())


def test_cells_in_cells_are_not_followed(tmp_path: Path) -> None:
    """As deep as this they end a process that follows them."""
    level, depth = array(1, b"", b""), 20_000
    sizes = (struct.pack("<II", 14, len(level) * (depth - index) - 8) for index in range(depth))
    inner = b"".join(size + level[8:] for size in sizes)
    (tmp_path / "music.mat").write_bytes(HEADER + array(1, b"traindata", inner))
    with pytest.raises(DataError, match="cell 1 of 'traindata' is no real matrix"):
        read_recordings(tmp_path / "music.mat", DataConfig())


def test_a_variable_that_inflates_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matlab_file, "MAX_BYTES", 500)
    path = write(tmp_path / "music.mat")
    with pytest.raises(DataError, match="a variable is cut off, or larger than 500 bytes"):
        read_recordings(path, DataConfig())


@pytest.mark.parametrize("compressed", [True, False])
def test_no_damage_gets_through_as_another_error(tmp_path: Path, compressed: bool) -> None:
    original = write(tmp_path / "music.mat", compressed).read_bytes()
    generator = random.Random(0)
    sentences = []
    for _ in range(300):
        content = bytearray(original)
        for _ in range(generator.randint(1, 4)):
            content[generator.randrange(124, min(len(content), 2000))] = generator.choice((0, 1, 14, 15, 127, 255))
        end = generator.choice((len(content), generator.randrange(len(content))))
        (tmp_path / "music.mat").write_bytes(content[:end])
        try:
            read_recordings(tmp_path / "music.mat", DataConfig())
        except DataError as error:
            sentences.append(str(error))
    assert len(sentences) > 150
    assert not any("\n" in sentence for sentence in sentences)


@pytest.fixture(scope="module")
def real() -> Path:
    return public_data("polymusic")


@pytest.mark.parametrize(
    ("name", "pieces", "scored"), [("JSB_Chorales", (229, 76, 77), 4648), ("Nottingham", (694, 173, 170), 44293)]
)
def test_real_pieces_are_what_scipy_reads(real: Path, name: str, pieces: tuple[int, ...], scored: int) -> None:
    path = real / f"{name}.mat"
    own, expected = matlab_file.read_cells(path, PARTS), loadmat(path)
    assert tuple(len(own[part]) for part in PARTS) == pieces
    for part in PARTS:
        for ours, theirs in zip(own[part], expected[part].ravel(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    test = [recording for recording in read_recordings(path, DataConfig()).recordings if recording.part == "test"]
    assert sum(len(recording.x) - 1 for recording in test) == scored
