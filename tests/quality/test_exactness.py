"""Lag to the sample and residual to the decibel, in blocks, whatever the blocks."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from result_folders import late, smooth_noise

from quality.exactness import BLOCK_SAMPLES, dbfs, find_lag, measure_sum, rechunk


def blocks_of(audio: np.ndarray, size: int) -> list[np.ndarray]:
    return [audio[:, s : s + size] for s in range(0, audio.shape[1], size)]


@settings(deadline=None, max_examples=40)
@given(shift=st.integers(-3_500, 3_500), channels=st.integers(1, 3), level=st.sampled_from((1e-5, 1.0, 100.0)))
def test_a_known_shift_is_found_to_the_sample(shift: int, channels: int, level: float) -> None:
    audio = smooth_noise(channels, 4_000)
    moved = late(audio, shift) if shift >= 0 else late(audio[:, ::-1], -shift)[:, ::-1]
    assert find_lag(audio, np.float32(level) * moved) == shift


@pytest.mark.parametrize("hertz", [100, 997, 11_025])
def test_a_pure_tone_has_many_lags_and_the_nearest_to_0_counts(hertz: float) -> None:
    tone = np.sin(2 * np.pi * hertz * np.arange(10_000) / 44_100)[None]
    assert find_lag(tone, 0.3 * tone) == 0


def test_of_equal_peaks_the_nearest_to_0_counts() -> None:
    reference, delayed = np.zeros((1, 100)), np.zeros((1, 100))
    reference[0, [50, 60]] = 1
    for at, lag in ((53, 3), (57, -3), (60, 0)):
        delayed[:] = 0
        delayed[0, at] = 1
        assert find_lag(reference, delayed) == lag


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_the_shortest_signals_have_a_lag(samples: int) -> None:
    assert find_lag(np.ones((1, samples)), np.ones((1, samples))) == 0


def test_with_silence_there_is_nothing_to_align() -> None:
    audio, silence = smooth_noise(2, 100), np.zeros((2, 100))
    assert find_lag(audio, silence) is None
    assert find_lag(silence, audio) is None
    assert find_lag(silence, silence) is None


@given(sizes=st.lists(st.integers(0, 50), max_size=20), size=st.integers(1, 40))
def test_blocks_of_any_length_become_blocks_of_one_length(sizes: list[int], size: int) -> None:
    audio = np.arange(2 * sum(sizes), dtype=np.float32).reshape(2, -1)
    edges = np.cumsum([0, *sizes])
    found = list(rechunk([audio[:, a:b] for a, b in itertools.pairwise(edges)], size))
    assert [b.shape[1] for b in found[:-1]] == [size] * (len(found) - 1)
    joined = np.concatenate([np.zeros((2, 0), np.float32), *found], axis=1)
    np.testing.assert_array_equal(joined, audio)


@pytest.mark.parametrize("size", [1_000, 33_333, BLOCK_SAMPLES, 10**6])
def test_a_residual_of_known_level_is_measured_whatever_the_blocks(size: int) -> None:
    audio = smooth_noise(2, 2 * BLOCK_SAMPLES + 77)
    error = np.zeros_like(audio)
    error[1] = 1e-4  # −80 dBFS, in one channel: the worst counts
    report = measure_sum(blocks_of(audio, size), [blocks_of(0.5 * audio, 999), blocks_of(0.5 * audio + error, size)])
    assert report.residual_dbfs == pytest.approx(-80, abs=0.01)
    level = dbfs(float(np.sqrt(np.square(audio).mean(axis=1)).max()))
    assert report.relative_db == pytest.approx(-80 - level, abs=0.01)
    assert report.lag_samples == 0
    assert report.parent_samples == audio.shape[1]
    assert report.children_samples == (audio.shape[1],) * 2


def test_the_gain_scales_the_parent() -> None:
    audio = smooth_noise(1, 5_000)
    assert measure_sum([audio], [[0.25 * audio]], 0.25).residual_dbfs == -math.inf
    assert measure_sum([audio], [[0.25 * audio]]).relative_db == pytest.approx(20 * math.log10(0.75), abs=0.01)


@pytest.mark.parametrize("shift", [1, -1, 1_105])
def test_the_lag_of_the_sum_is_that_of_its_loudest_block(shift: int) -> None:
    audio = smooth_noise(2, 2 * BLOCK_SAMPLES)
    audio[:, :BLOCK_SAMPLES] *= np.float32(0.01)
    moved = late(audio, shift) if shift > 0 else late(audio[:, ::-1], -shift)[:, ::-1]
    assert measure_sum([audio], [[0.5 * moved], [0.5 * moved]]).lag_samples == shift


@pytest.mark.parametrize("missing", [1, 1_000, 60_000])
def test_a_child_that_ends_early_says_so_and_leaves_a_residual(missing: int) -> None:
    audio = smooth_noise(2, 60_000)
    report = measure_sum([audio], [[0.5 * audio], [0.5 * audio[:, :-missing]]])
    assert report.children_samples == (60_000, 60_000 - missing)
    assert report.residual_dbfs > -100


def test_a_child_that_goes_on_after_its_parent_says_so() -> None:
    audio = smooth_noise(2, 1_000)
    report = measure_sum([audio[:, :900]], [[audio]])
    assert (report.parent_samples, report.children_samples) == (900, (1_000,))
    assert report.residual_dbfs > -100


def test_silence_adds_up_to_silence() -> None:
    report = measure_sum([np.zeros((2, 10))], [[np.zeros((2, 10))]])
    assert (report.residual_dbfs, report.lag_samples) == (-math.inf, None)


def test_nothing_at_all_is_measured_as_nothing() -> None:
    report = measure_sum([], [[], []])
    assert (report.parent_samples, report.children_samples, report.residual_dbfs) == (0, (0, 0), -math.inf)


def test_decibels_are_of_full_scale() -> None:
    assert dbfs(1) == 0
    assert dbfs(0.5) == pytest.approx(-6.02, abs=0.01)
    assert dbfs(0) == -math.inf
