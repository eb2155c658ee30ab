"""Reading the WISDM file: made-up records with the defects that the real one has."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru.data import DataConfig, prepare, read_recordings
from edgegru_runtime.errors import ConfigError, DataError

NAME = "WISDM_ar_v1.1_raw.txt"
START = 49105962326000


def write(folder: Path, text: str) -> Path:
    (folder / NAME).write_text(text)
    return folder


def record(t: int, user: int = 33, activity: str = "Walking", x: float = 1.0) -> str:
    return f"{user},{activity},{t},{x},{x + 1},{x + 2};"


def test_recordings_and_defects(tmp_path: Path) -> None:
    text = (
        "33,Jogging,49105962326000,-0.6946377,12.680544,0.50395286;\n"
        "33,Jogging,49106012271000,5.012288,11.264028,0.95342433;33,Walking,49106112167000,4.9,10.88,-0.08;\n"
        "\n"
        "33,Walking,49106112167000,4.9,10.88,-0.08;\n"
        "33,Walking,0,0,0,0.0;\n"
        "33, Walking, 49106162305000, 1.5, 2.5,\n"
        "33,Walking,49107162306000,0.5,9.51,5.13,;\n"  # 1 s and 1 µs later
        "33,Walking,49107162305000,1,2,3;\n"
        "21,Walking,49107212305000,7,8,9;\n"
        "33,Sitting,49107262305000,4,5,6;\n"
    )
    found = read_recordings(write(tmp_path, text), DataConfig())
    assert [(r.name, r.group, r.y) for r in found.recordings] == [
        ("33/001", "33", ("Jogging", "Jogging", "Walking", "Walking")),
        ("33/002", "33", ("Walking",)),
        ("33/003", "33", ("Walking",)),
        ("21/001", "21", ("Walking",)),
        ("33/004", "33", ("Sitting",)),
    ]
    assert (found.channels, found.units) == (("x", "y", "z"), ("m/s^2",) * 3)
    assert found.counts == {"samples without timestamp": 1, "equal timestamps": 1, "missing values": 1}
    first = found.recordings[0]
    assert first.t is not None
    np.testing.assert_allclose(first.t, [0, 0.049945, 0.149841, 0.199979], rtol=1e-9)
    x = [[-0.6946377, 12.680544, 0.50395286], [5.012288, 11.264028, 0.95342433], [4.9, 10.88, -0.08], [1.5, 2.5, -0.08]]
    np.testing.assert_allclose(first.x, x, rtol=1e-6)


def test_channels_rate_and_a_file_by_its_name(tmp_path: Path) -> None:
    text = "".join(record(START + 50_000_000 * step, x=step) for step in range(41))
    write(tmp_path, text + record(START, 8, "Sitting") + record(START, 9, "Sitting"))
    data = prepare(DataConfig(channels=("z", "x"), rate=10.0, validation_fraction=0.5), tmp_path / NAME)
    assert (data.channels, data.target, data.labels) == (("z", "x"), "step_label", ("Sitting", "Walking"))
    whole = next(s for s in data.train + data.validation if s.group == "33")
    np.testing.assert_allclose(whole.x, np.stack([np.arange(2, 43, 2), np.arange(0, 41, 2)], axis=1), atol=1e-5)
    renamed = (tmp_path / NAME).rename(tmp_path / "raw.txt")
    assert len(read_recordings(renamed, DataConfig(format="wisdm")).recordings) == 3


@given(steps=st.lists(st.sampled_from([-50, 0, 50, 1000, 1001]), max_size=30), draw=st.randoms(use_true_random=False))
def test_no_sample_is_lost_or_in_a_recording_across_a_break(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], draw: Random
) -> None:
    times = START + 1_000_000 * np.cumsum([0, *steps])
    ends = (draw.choice(["", "\n", "\n\n"]) for _ in times)
    text = "".join(record(int(t), x=index) + end for index, (t, end) in enumerate(zip(times, ends, strict=True)))
    found = read_recordings(write(tmp_path_factory.mktemp("wisdm"), text), DataConfig())
    assert sum(len(r.x) for r in found.recordings) + found.counts.get("equal timestamps", 0) == len(times)
    assert len(found.recordings) == 1 + sum(step in (-50, 1001) for step in steps)
    assert all(0 < step <= 1 for r in found.recordings if r.t is not None for step in np.diff(r.t).round(9))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("33,Walking,49105962326000,1,2;", "line 2: 5 cells, expected user,activity,timestamp,x,y,z;"),
        ("33,Walking,49105962326000,1,2,3,4;", "line 2: 7 cells"),
        ("33,Walking,49105962326000,1,2,3 33,Walking,49105962326000,1,2,3", "line 2: 11 cells"),
        ("ann,Walking,49105962326000,1,2,3;", "line 2: expected the number of a user and an activity, found 'ann,Walk"),
        ("33,,49105962326000,1,2,3;", "line 2: expected the number of a user and an activity"),
        ("33,Walking,4.9e13,1,2,3;", "line 2: '4.9e13' is no timestamp, expected whole nanoseconds"),
        ("33,Walking,-5,1,2,3;", "line 2: '-5' is no timestamp"),
        ("33,Walking,49105962326000,1,2,inf;", "line 2: 'inf' is no finite number"),
        ("33,Walking,49105962326000,1,two,3;", "line 2: 'two' is no finite number"),
    ],
)
def test_refusals(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_recordings(write(tmp_path, f"{record(START)}\n{text}\n"), DataConfig())


def test_what_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, record(0))
    with pytest.raises(DataError, match="has no records like 33,Jogging"):
        read_recordings(tmp_path, DataConfig())
    with pytest.raises(DataError, match="no channel 'u', the channels are x, y, z"):
        read_recordings(tmp_path, DataConfig(channels=("u",)))
    with pytest.raises(ConfigError, match="timestamp_unit is 's', format 'wisdm' has its own"):
        read_recordings(tmp_path, DataConfig(timestamp_unit="s"))
