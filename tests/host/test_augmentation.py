"""Augmentation: what each one changes and what it must leave alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru.augmentation import (
    augment,
    augment_features,
    check_augmentation,
    random_rotation,
    rotate,
    stretch,
    surround,
)
from edgegru.configuration import AugmentationConfig
from edgegru.data import LabelledSequence
from edgegru_runtime.errors import ConfigError
from tests.training_data import random_dataset, random_sequences

MEAN, STD = np.array([1.0, 2.0, 3.0], np.float32), np.array([1.0, 10.0, 0.1], np.float32)


def one(config: AugmentationConfig, seed: int = 0) -> tuple[LabelledSequence, LabelledSequence]:
    (sequence,) = random_sequences([200], 3)
    (changed,) = augment([sequence], config, MEAN, STD, 100.0, np.random.default_rng(seed))
    assert changed.x.dtype == np.float32
    return sequence, changed


def test_nothing_is_changed_by_default() -> None:
    sequence, changed = one(AugmentationConfig())
    np.testing.assert_array_equal(changed.x, sequence.x)


def test_scale_is_one_factor_a_channel() -> None:
    sequence, changed = one(AugmentationConfig(scale=0.3))
    factors = changed.x / sequence.x
    np.testing.assert_allclose(factors, np.broadcast_to(factors[0], factors.shape), rtol=1e-5)
    assert len(set(factors[0].round(4))) == 3
    assert not np.allclose(factors, 1)


def test_noise_is_measured_in_standard_deviations() -> None:
    sequence, changed = one(AugmentationConfig(noise=0.2))
    np.testing.assert_allclose((changed.x - sequence.x).std(axis=0), 0.2 * STD, rtol=0.2)


def test_channel_dropout_holds_a_channel_at_its_mean() -> None:
    dropped = np.zeros(3)
    for seed in range(200):
        sequence, changed = one(AugmentationConfig(channel_dropout=0.25), seed)
        for channel in range(3):
            if np.array_equal(changed.x[:, channel], np.full(200, MEAN[channel])):
                dropped[channel] += 1
            else:
                np.testing.assert_array_equal(changed.x[:, channel], sequence.x[:, channel])
    np.testing.assert_allclose(dropped / 200, 0.25, atol=0.1)


def test_time_stretch_changes_length_both_ways() -> None:
    lengths = {len(one(AugmentationConfig(time_stretch=0.2), seed)[1].x) for seed in range(50)}
    assert 160 <= min(lengths) < 180 and 220 < max(lengths) <= 240


@given(old=st.integers(1, 60), factor=st.floats(0.01, 3.0))
def test_stretched_recordings_keep_range_and_targets(old: int, factor: float) -> None:
    (sequence,) = random_sequences([old], 3)
    sequence.mask[: old // 2] = False
    stretched = stretch(sequence, factor)
    assert len(stretched.x) == len(stretched.target) == len(stretched.mask) == max(1, round(old * factor))
    assert np.all(stretched.x.min(axis=0) >= sequence.x.min(axis=0) - 1e-6)
    assert np.all(stretched.x.max(axis=0) <= sequence.x.max(axis=0) + 1e-6)
    np.testing.assert_array_equal(stretched.x[-1], sequence.x[-1])
    assert stretched.target[-1] == sequence.target[-1]
    assert stretched.mask[-1] == sequence.mask[-1]


def test_stretching_by_two_is_interpolation() -> None:
    x = np.arange(4, dtype=np.float32).reshape(4, 1)
    sequence = LabelledSequence("r", "r", x, np.array([0, 1, 2, 3]), np.ones(4, np.bool_))
    stretched = stretch(sequence, 7 / 4)
    np.testing.assert_allclose(stretched.x[:, 0], [0, 0.5, 1, 1.5, 2, 2.5, 3], atol=1e-6)
    assert stretched.target.tolist() == [0, 0, 1, 2, 2, 2, 3]  # nearest, halves to even


@given(old=st.integers(1, 60), factor=st.floats(0.1, 3.0))
def test_a_target_at_the_end_stays_a_single_one_at_the_end(old: int, factor: float) -> None:
    (sequence,) = random_sequences([old], 3)
    sequence.mask[:-1] = False
    assert np.flatnonzero(stretch(sequence, factor).mask).tolist() == [max(1, round(old * factor)) - 1]


@given(seed=st.integers(0, 1000), degrees=st.floats(0.1, 180))
def test_rotations_are_rotations_of_bounded_angle(seed: int, degrees: float) -> None:
    rotation = random_rotation(np.radians(degrees), np.random.default_rng(seed))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=1e-9)
    angle = np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1)))
    assert angle <= degrees + 1e-4


def test_all_triples_turn_alike() -> None:
    quarter = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # about z: x → y, y → −x
    x = np.array([[1, 0, 5, 0, 2, 7]], np.float32)
    np.testing.assert_allclose(rotate(x, quarter), [[0, 1, 5, -2, 0, 7]], atol=1e-6)


def test_same_generator_same_epoch() -> None:
    config = AugmentationConfig(scale=0.1, noise=0.1, time_stretch=0.2, channel_dropout=0.1, rotation=20)
    first, again, other = (one(config, seed)[1].x for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_rotation_needs_triples() -> None:
    check_augmentation(AugmentationConfig(rotation=10), random_dataset(input_size=6), False)
    with pytest.raises(ConfigError, match=r"augmentation.rotation .* 4 channels"):
        check_augmentation(AugmentationConfig(rotation=10), random_dataset(input_size=4), False)


@pytest.mark.parametrize("name", ["scale", "time_stretch", "rotation"])
def test_what_would_falsify_a_forecast_is_refused(name: str) -> None:
    check_augmentation(AugmentationConfig(noise=0.1, channel_dropout=0.1), random_dataset("forecast"), False)
    with pytest.raises(ConfigError, match=f"augmentation.{name} changes what is to be predicted"):
        check_augmentation(AugmentationConfig(**{name: 0.1}), random_dataset("forecast"), False)


def test_snr_is_the_ratio_of_a_recording_to_its_noise() -> None:
    ratios = []
    for seed in range(50):
        sequence, changed = one(AugmentationConfig(snr=15.0), seed)
        noise = changed.x - sequence.x
        level = [10 * np.log10(np.mean(sequence.x[:, c] ** 2) / np.mean(noise[:, c] ** 2)) for c in range(3)]
        np.testing.assert_allclose(level, np.mean(level), atol=2)
        ratios.append(np.mean(level))
    assert 14 < min(ratios) < 22 and 50 < max(ratios) < 61


def test_silence_is_in_front_and_behind_and_has_no_target() -> None:
    lengths = []
    for seed in range(50):
        sequence, changed = one(AugmentationConfig(silence=0.3), seed)
        counted = np.flatnonzero(changed.mask)
        before, behind = counted[0], len(changed.x) - 1 - counted[-1]
        np.testing.assert_array_equal(changed.x[before : before + 200], sequence.x)
        np.testing.assert_array_equal(changed.target[before : before + 200], sequence.target)
        assert not changed.x[:before].any() and not changed.x[before + 200 :].any()
        lengths += [before, behind]
    assert 0 <= min(lengths) < 3 and 26 < max(lengths) < 30  # of 30 steps


def test_the_last_step_that_alone_counts_is_behind_the_silence() -> None:
    (sequence,) = random_sequences([20], 3)
    changed = surround(replace(sequence, mask=np.arange(20) == 19), 4, 7)
    assert np.flatnonzero(changed.mask).tolist() == [30]
    assert changed.target[30] == sequence.target[19]
    assert not surround(replace(sequence, mask=np.zeros(20, np.bool_)), 1, 1).mask.any()


def test_band_gain_is_a_smooth_gain_that_stays() -> None:
    (sequence,) = random_sequences([30], 17)
    (changed,) = augment_features([sequence], AugmentationConfig(band_gain=1.5), np.random.default_rng(0))
    gain = changed.x - sequence.x
    np.testing.assert_allclose(gain, np.broadcast_to(gain[0], gain.shape), atol=1e-5)
    assert np.abs(np.diff(gain[0], 2)[[0, 1, 4, 5, 8, 9]]).max() < 1e-5  # straight between five points
    assert 0.1 < gain[0].std() < 4
    (same,) = augment_features([sequence], AugmentationConfig(), np.random.default_rng(0))
    assert same is sequence


def test_augmentations_of_sound_need_what_they_change() -> None:
    with pytest.raises(ConfigError, match="augmentation.silence is in seconds, but the rate is not known"):
        check_augmentation(AugmentationConfig(silence=0.1), replace(random_dataset(), rate=None), False)
    with pytest.raises(ConfigError, match="augmentation.band_gain changes the bands of a front end, but"):
        check_augmentation(AugmentationConfig(band_gain=1.0), random_dataset(), False)
    check_augmentation(AugmentationConfig(band_gain=1.0), random_dataset(), True)
