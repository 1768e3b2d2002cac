"""The residual is shared so that stems add up, exactly, and nobody gets what no model can know."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stem_pipeline.separation.consistency import Consistency
from stem_pipeline.stems import DRUM_PARTS, MAIN_STEMS, REMAINDER

RATE = 44_100


def apply(
    mixture: np.ndarray,
    estimates: np.ndarray,
    *,
    rate: int = RATE,
    model_rate: int = RATE,
    sources: tuple[str, ...] = MAIN_STEMS,
    cuts: tuple[int, ...] = (),
    offset: list[float] | None = None,
) -> np.ndarray:
    """Pushes everything in pieces cut at `cuts` and joins what comes out."""
    consistency = Consistency(sources, offset or [0.0] * mixture.shape[0], rate, model_rate)
    edges = [0, *sorted(min(c, mixture.shape[1]) for c in cuts), mixture.shape[1]]
    blocks = [np.zeros((*estimates.shape[:2], 0), np.float32)]
    for start, stop in itertools.pairwise(edges):
        blocks += consistency.push(mixture[:, start:stop], estimates[..., start:stop])
    blocks += consistency.finish()
    return np.concatenate(blocks, axis=-1)


def random_song(samples: int, channels: int = 2, level: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """A mixture, and four estimates that miss it by as much as htdemucs does (some −25 dB)."""
    draw = np.random.default_rng(samples)
    estimates = draw.normal(0, level / 2, (4, channels, samples)).astype(np.float32)
    miss = draw.normal(0, level * 0.05, (channels, samples)).astype(np.float32)
    return estimates.sum(axis=0) + miss, estimates


def rms(signal: np.ndarray) -> float:
    return float(np.sqrt(np.square(signal, dtype=np.float64).sum() / max(1, signal.size)))


@settings(deadline=None, max_examples=40)
@given(
    samples=st.integers(0, 12_000), channels=st.integers(1, 3), level=st.sampled_from((1e-4, 0.2, 10.0)),
    rate=st.sampled_from((8_000, 12_345, 44_100, 96_000)), sources=st.sampled_from((MAIN_STEMS, DRUM_PARTS)),
)  # fmt: skip
def test_the_sources_add_up_and_none_of_the_samples_is_lost(
    samples: int, channels: int, level: float, rate: int, sources: tuple[str, ...]
) -> None:
    mixture, estimates = random_song(samples, channels, level)
    out = apply(mixture, estimates, rate=rate, sources=sources)
    assert out.shape == estimates.shape
    assert out.dtype == np.float32
    # One rounding of the remainder to float32: 2^−25 of it, some −150 dB.
    assert rms(mixture - out.sum(axis=0, dtype=np.float64)) <= level * 10 ** (-140 / 20)


@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(0, 12_000), max_size=12))
def test_how_the_song_was_cut_changes_nothing(cuts: list[int]) -> None:
    mixture, estimates = random_song(12_000)
    whole = apply(mixture, estimates)
    # The frames are the same; only the order of a frame's two halves in a sum may differ.
    np.testing.assert_allclose(apply(mixture, estimates, cuts=tuple(cuts)), whole, atol=2e-7)


def test_no_residual_leaves_every_estimate_as_it_was() -> None:
    _, estimates = random_song(20_000)
    out = apply(estimates.sum(axis=0), estimates)
    np.testing.assert_allclose(out, estimates, atol=1e-6)


def test_the_residual_is_shared_by_magnitude_at_each_frequency() -> None:
    """Drums at 500 Hz, vocals at 5 kHz, each found at nine tenths: each gets its own tenth back."""
    time = np.arange(RATE) / RATE
    truth = np.zeros((4, 1, RATE), np.float32)
    truth[0], truth[2] = np.sin(2 * np.pi * 500 * time), np.sin(2 * np.pi * 5_000 * time)
    out = apply(truth.sum(axis=0), (0.9 * truth).astype(np.float32))
    inside = slice(5_000, -5_000)
    before, after = 0.1 * rms(truth[0]), rms((out - truth)[:3, :, inside])
    # By the fourth root, a stem 80 dB down at a frequency still weighs a tenth of its owner: most, not all, comes home.
    assert after < before / 5


def test_bass_takes_less_than_its_magnitude_would_give_it() -> None:
    mixture, estimates = random_song(20_000)
    estimates[1] = estimates[0]  # bass as loud as drums, at every frequency
    mixture = estimates.sum(axis=0) * np.float32(1.1)
    taken = apply(mixture, estimates) - estimates
    assert 0.15 < rms(taken[1]) / rms(taken[0]) < 0.35  # a quarter


@pytest.mark.parametrize("sources", [MAIN_STEMS, DRUM_PARTS, ("other", "vocals", "bass", "drums")])
@pytest.mark.parametrize(
    ("hertz", "rate", "model_rate", "leak"),
    # A frame's window is 0.1 s: of 3 Hz some −30 dB leak across 20 Hz, of 30 kHz nothing comes near the model's band.
    [(30_000, 96_000, 44_100, 1e-4), (3.0, 44_100, 44_100, 0.05)],
)
def test_a_residual_outside_what_the_model_hears_is_the_remainders(
    sources: tuple[str, ...], hertz: float, rate: int, model_rate: int, leak: float
) -> None:
    _, estimates = random_song(2 * rate)
    time = np.arange(2 * rate) / rate
    # Fading in and out: an edge would have all frequencies.
    extra = (0.1 * np.sin(2 * np.pi * hertz * time) * np.hanning(len(time)) ** 2).astype(np.float32)
    out = apply(estimates.sum(axis=0) + extra, estimates, rate=rate, model_rate=model_rate, sources=sources)
    remainder = sources.index(REMAINDER["mixture" if "other" in sources else "drums"])
    for k in range(4):
        expected = extra if k == remainder else 0.0
        assert rms(out[k] - estimates[k] - expected) < leak * rms(extra), sources[k]


def test_where_no_estimate_has_anything_the_remainder_takes_all() -> None:
    mixture, _ = random_song(20_000)
    out = apply(mixture, np.zeros((4, 2, 20_000), np.float32))
    np.testing.assert_array_equal(out[3], mixture)
    assert not out[:3].any()


def test_silence_stays_silence() -> None:
    assert not apply(np.zeros((2, 9_000), np.float32), np.zeros((4, 2, 9_000), np.float32)).any()


@pytest.mark.parametrize("sources", [("drums", "kick"), ("vocals", "toms", "other", "bass")])
def test_sources_of_two_parents_are_refused(sources: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="not parts of one signal"):
        Consistency(sources, [0.0, 0.0], RATE, RATE)


def test_an_offset_that_no_estimate_holds_is_the_remainders_alone() -> None:
    song, estimates = random_song(20_000)
    plain = apply(song, estimates)
    shifted = apply(song + np.array([[0.5], [-0.25]], np.float32), estimates, offset=[0.5, -0.25])
    others = [k for k, stem in enumerate(MAIN_STEMS) if stem != "other"]
    # float32 at half scale: 2⁻²⁵ a sample, some of it shared.
    np.testing.assert_allclose(shifted[others], plain[others], atol=1e-6)
    remainder = MAIN_STEMS.index("other")
    np.testing.assert_allclose(
        shifted[remainder] - plain[remainder], np.broadcast_to([[0.5], [-0.25]], (2, 20_000)), atol=1e-6
    )
