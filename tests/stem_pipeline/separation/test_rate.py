"""Rate conversion block by block: exact length, lag 0, and nothing depends on how the signal was cut."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality.exactness import find_lag
from stem_pipeline.separation.rate import RateConverter, converted_length

RATES = (8_000, 11_025, 12_345, 22_050, 44_100, 48_000, 96_000, 192_000)


def convert(audio: np.ndarray, from_rate: int, to_rate: int, samples_out: int, size: int) -> np.ndarray:
    converter = RateConverter(from_rate, to_rate, audio.shape[0], samples_out)
    starts = range(0, audio.shape[1], size)
    blocks = [converter.convert(audio[:, s : s + size], last=s + size >= audio.shape[1]) for s in starts]
    return np.concatenate(blocks, axis=1)


@functools.cache
def tones(rate: int, samples: int) -> np.ndarray:
    """Noise below 3 kHz, which every rate tested can hold, the same at any rate: 60 partials of random phase, [2, n]."""
    draw = np.random.default_rng(4)
    time = np.arange(samples) / rate
    rows = [sum(np.sin(2 * np.pi * f * time + p) for f, p in draw.uniform((60, 0), (3000, 6), (60, 2))) for _ in "LR"]
    return (np.array(rows) / 30).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(
    samples=st.integers(1, 6_000),
    pair=st.tuples(st.sampled_from(RATES), st.sampled_from(RATES)),
    size=st.integers(1, 2_000),
)
def test_exactly_the_length_that_was_asked_for_comes_out(samples: int, pair: tuple[int, int], size: int) -> None:
    out = converted_length(samples, *pair)
    audio = np.random.default_rng(samples).normal(0, 0.1, (2, samples)).astype(np.float32)
    there = convert(audio, *pair, out, max(size, samples // 50))
    assert there.shape == (2, out)
    assert there.dtype == np.float32
    assert convert(there, pair[1], pair[0], samples, 777).shape == (2, samples)


@pytest.mark.parametrize("from_rate", RATES)
@pytest.mark.parametrize("to_rate", RATES)
def test_what_comes_out_is_the_same_signal_without_delay(from_rate: int, to_rate: int) -> None:
    samples = from_rate // 2
    out = converted_length(samples, from_rate, to_rate)
    found = convert(tones(from_rate, samples), from_rate, to_rate, out, 1_000)
    expected = tones(to_rate, out)
    assert find_lag(expected, found) == 0
    # Away from the ends, where the filter sees the silence around the song. At 8 kHz VHQ passes 3 kHz untouched.
    inside = slice(out // 4, -out // 4)
    error = np.std(found[:, inside] - expected[:, inside]) / np.std(expected)
    # A thousandth of a sample's delay at 8 kHz would be 1.3e-3. soxr's own filter reaches 5e-5 from 44.1 to 8 kHz.
    assert error < 1e-4


@settings(deadline=None, max_examples=25)
@given(size=st.integers(20, 3_000), pair=st.sampled_from([(44_100, 48_000), (96_000, 44_100), (12_345, 44_100)]))
def test_how_the_signal_was_cut_changes_nothing(size: int, pair: tuple[int, int]) -> None:
    audio = np.random.default_rng(1).normal(0, 0.1, (1, 4_000)).astype(np.float32)
    out = converted_length(4_000, *pair)
    whole = convert(audio, *pair, out, 4_000)
    assert convert(audio, *pair, out, size).tobytes() == whole.tobytes()


def test_equal_rates_change_no_bit() -> None:
    audio = np.random.default_rng(1).normal(0, 3, (3, 1_000)).astype(np.float32)
    assert convert(audio, 44_100, 44_100, 1_000, 130).tobytes() == audio.tobytes()


def test_length_is_rounded_up_so_that_nothing_is_cut_off() -> None:
    assert converted_length(1, 96_000, 44_100) == 1
    assert converted_length(96_001, 96_000, 44_100) == 44_101
    assert converted_length(0, 96_000, 44_100) == 0
