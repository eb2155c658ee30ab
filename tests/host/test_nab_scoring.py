"""The score of the Numenta Anomaly Benchmark: by hand, its two ends, invariants, a direct count, published results."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgegru.data import DataConfig, read_recordings
from tests.public_data import public_data

ANOMALIES = Path(__file__).resolve().parents[2] / "examples" / "anomalies"


def example(name: str) -> ModuleType:
    """A module beside the example's programs, which is in no package."""
    spec = importlib.util.spec_from_file_location(f"anomalies_{name}", ANOMALIES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # where dataclasses look for types
    spec.loader.exec_module(module)
    return module


nab = example("nab_scoring")
STANDARD, LOW_FP, LOW_FN = (nab.PROFILES[name] for name in ("standard", "reward_low_FP_rate", "reward_low_FN_rate"))
TEN = nab.Labels(100, ((40, 49),))  # ten rows of a hundred, of which 15 are the probation


def at(*rows: int, length: int = 100) -> NDArray[np.bool_]:
    found = np.zeros(length, np.bool_)
    found[list(rows)] = True
    return found


def squash(y: float) -> float:
    return 2 / (1 + math.exp(5 * y)) - 1


@pytest.mark.parametrize(("length", "rows"), [(6, 0), (100, 15), (1882, 282), (4032, 604), (5000, 750), (22695, 750)])
def test_probation(length: int, rows: int) -> None:
    assert nab.Labels(length, ()).probation == rows


@pytest.mark.parametrize(
    ("rows", "raw"),
    [
        ((), -1.0),
        ((40,), 1.0),  # at once
        ((40, 41, 49), 1.0),  # only the first counts
        ((44,), squash(-0.6) / squash(-1)),
        ((49,), squash(-0.1) / squash(-1)),
        ((20,), -1 - 0.11),  # before any window
        ((20, 21, 40), 1 - 0.22),
        ((0, 14), -1.0),  # in the probation
        ((50,), -1 + 0.11 * squash(1 / 9)),  # just behind
        ((58,), -1 + 0.11 * squash(1)),
        ((76,), -1 - 0.11),  # three windows' lengths behind
        ((99, 45), squash(-0.5) / squash(-1) - 0.11),
    ],
)  # fmt: skip
def test_by_hand(rows: tuple[int, ...], raw: float) -> None:
    assert nab.score([TEN], [at(*rows)], STANDARD) == pytest.approx(100 * (raw + 1) / 2)


def test_profiles() -> None:
    found = at(20, 40)
    assert nab.score([TEN], [found], LOW_FP) == pytest.approx(100 * (1 - 0.22 + 1) / 2)
    assert nab.score([TEN], [found], LOW_FN) == pytest.approx(100 * (1 - 0.11 + 2) / 3)
    assert nab.score([TEN, TEN], [found, at()], LOW_FN) == pytest.approx(100 * (1 - 0.11 - 2 + 4) / 6)


def test_behind_the_second_window_the_second_counts() -> None:
    labels = nab.Labels(200, ((40, 49), (100, 104)))
    assert nab.row_values(labels, STANDARD)[106] == pytest.approx(0.11 * squash(2 / 4))
    assert nab.row_values(labels, STANDARD)[99] == -0.11


def test_only_the_part_of_a_window_behind_the_probation_can_be_found() -> None:
    partly, within = nab.Labels(100, ((10, 19),)), nab.Labels(100, ((5, 9),))
    assert nab.score([partly], [at(12)], STANDARD) == 0
    assert nab.score([partly], [at(15)], STANDARD) == pytest.approx(50 * (1 + squash(-0.5) / squash(-1)))
    assert nab.score([within, TEN], [at(5), at(40)], STANDARD) == 100


@st.composite
def files(draw: st.DrawFn) -> tuple[list[Any], list[NDArray[np.float64]]]:
    """A few files with windows behind the probation, and scores of few values, so that many are equal."""
    labels, scores = [], []
    for index in range(draw(st.integers(1, 3))):
        length = draw(st.integers(20, 80))
        first = length * 15 // 100
        cuts = draw(st.lists(st.integers(first, length - 1), max_size=6, unique=True))
        cuts = sorted(cuts)[: len(cuts) // 2 * 2] if index or len(cuts) > 1 else [first, length - 1]
        labels.append(nab.Labels(length, tuple(zip(cuts[::2], cuts[1::2], strict=True))))
        quarters = draw(st.lists(st.integers(0, 4), min_size=length, max_size=length))
        scores.append(np.array(quarters) / 4)
    return labels, scores


def counted(labels: list[Any], found: list[NDArray[np.bool_]], profile: Any) -> float:
    """The definition, row by row."""
    raw, worst, best = 0.0, 0.0, 0.0
    for file, detected in zip(labels, found, strict=True):
        for first, last in file.windows:
            size = last - first + 1
            hits = [row for row in range(max(first, file.probation), last + 1) if detected[row]]
            raw += profile.found * squash((hits[0] - last - 1) / size) / squash(-1) if hits else -profile.missed
            worst -= profile.missed
            best += profile.found
        for row in range(file.probation, file.length):
            if detected[row] and not any(first <= row <= last for first, last in file.windows):
                before = [(first, last) for first, last in file.windows if last < row]
                y = (row - before[-1][1]) / max(before[-1][1] - before[-1][0], 1) if before else 3
                raw += profile.false * (squash(y) if y < 3 else -1)
    return 100 * (raw - worst) / (best - worst)


@given(files(), st.sampled_from(list(nab.PROFILES.values())))
@settings(deadline=None, max_examples=150)
def test_the_sweep_is_the_definition_at_every_threshold(
    case: tuple[list[Any], list[NDArray[np.float64]]], profile: Any
) -> None:
    labels, scores = case
    thresholds, found = nab.threshold_scores(labels, scores, profile)
    behind = np.concatenate([heard[file.probation :] for file, heard in zip(labels, scores, strict=True)])
    assert thresholds.tolist() == [np.inf, *sorted(set(behind.tolist()), reverse=True)]
    for threshold, total in zip(thresholds, found, strict=True):
        detections = [heard >= threshold for heard in scores]
        assert total == pytest.approx(counted(labels, detections, profile))
        assert nab.score(labels, detections, profile) == pytest.approx(total)
    best = nab.best_threshold(labels, scores, profile)
    assert best[1] == max(found) >= 0 and best[1] == found[thresholds.tolist().index(best[0])]


@given(files(), st.sampled_from(list(nab.PROFILES.values())))
@settings(deadline=None, max_examples=50)
def test_the_perfect_detector_has_100_and_silence_0(
    case: tuple[list[Any], list[NDArray[np.float64]]], profile: Any
) -> None:
    labels, _ = case
    first_rows = [at(*(first for first, _ in file.windows), length=file.length) for file in labels]
    assert nab.score(labels, first_rows, profile) == pytest.approx(100)
    assert nab.score(labels, [np.zeros(file.length, np.bool_) for file in labels], profile) == 0


@given(files(), st.data())
@settings(deadline=None, max_examples=100)
def test_earlier_is_better_and_a_false_detection_never_helps(
    case: tuple[list[Any], list[NDArray[np.float64]]], data: st.DataObject
) -> None:
    labels, scores = case
    detections = [heard >= 0.75 for heard in scores]
    before = nab.score(labels, detections, STANDARD)
    file = data.draw(st.integers(0, len(labels) - 1))
    row = data.draw(st.integers(0, labels[file].length - 1))
    inside = any(first <= row <= last for first, last in labels[file].windows)
    detections[file] = detections[file] | at(row, length=labels[file].length)
    after = nab.score(labels, detections, STANDARD)
    assert after >= before - 1e-9 if inside else after <= before + 1e-9


def test_the_windowed_gaussian_by_hand() -> None:
    scores = example("windowed_gaussian").windowed_gaussian([1.0, 1.0, 3.0, 2.0])
    mean, spread = 5 / 3, math.sqrt(8 / 9)
    expected = 1 - 0.5 * math.erfc((2 - mean) / spread / math.sqrt(2))
    assert scores == pytest.approx([0, 0.5, 1, expected])


def test_the_window_is_renewed_every_hundred_rows_once_it_is_full() -> None:
    gaussian = example("windowed_gaussian")
    values = np.random.default_rng(1).normal(size=6700)
    scores = gaussian.windowed_gaussian(values)
    for row, first, last in ((6399, 0, 6399), (6400, 0, 6400), (6499, 0, 6400), (6500, 100, 6500), (6650, 200, 6600)):
        window = values[first:last]
        z = abs(values[row] - window.mean()) / window.std()
        assert scores[row] == pytest.approx(1 - 0.5 * math.erfc(z / math.sqrt(2)))


# Raw scores of the windowed Gaussian in the benchmark's own results for these files (standard profile, threshold 1.0).
PUBLISHED = {
    "artificialWithAnomaly/art_load_balancer_spikes": -0.692444609523,
    "realAWSCloudwatch/ec2_cpu_utilization_24ae8d": -1.26667875935,
    "realAWSCloudwatch/ec2_cpu_utilization_53ea38": -0.141423196117,
    "realAWSCloudwatch/ec2_cpu_utilization_825cc2": 0.956537840284,
    "realAWSCloudwatch/ec2_disk_write_bytes_1ef3de": -4.19089678552,
    "realAWSCloudwatch/ec2_network_in_5abac7": -3.52193223519,
    "realAWSCloudwatch/grok_asg_anomaly": 2.37942230674,
    "realKnownCause/ec2_request_latency_system_failure": 2.02150685678,
    "realKnownCause/rogue_agent_key_updown": -1.3964908955,
}


def test_published_scores_of_the_windowed_gaussian() -> None:
    """The results hold scores of 12 digits: 1 is what rounds to 1."""
    gaussian = example("windowed_gaussian")
    recordings = read_recordings(public_data("nab"), DataConfig(format="nab")).recordings
    whole = {recording.name: recording for recording in recordings if recording.part == "test"}
    for name, expected in PUBLISHED.items():
        recording = whole[name]
        labels = nab.Labels(len(recording.x), nab.windows_of(recording.y))
        found = np.array([float(f"{value:.12g}") >= 1 for value in gaussian.windowed_gaussian(recording.x[:, 0])])
        windows = len(labels.windows)
        assert nab.score([labels], [found], STANDARD) / 100 * 2 * windows - windows == pytest.approx(expected, abs=1e-9)
