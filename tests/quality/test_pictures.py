"""Pictures show the levels and times that are there, for signals of any length."""

from __future__ import annotations

import io

import numpy as np
import pytest

from quality.pictures import COLOURS, draw, envelope, spectrogram
from stem_pipeline.separation.reader import ArrayReader
from stem_pipeline.stems import ALL_STEMS

RATE = 44_100


def tone(hertz: float, samples: int = RATE, level: float = 1.0) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(samples) / RATE)).astype(np.float32)[None]


def test_every_stem_has_a_colour_of_its_own() -> None:
    assert set(COLOURS) == {"mixture", *ALL_STEMS}
    assert len(set(COLOURS.values())) == len(COLOURS)


def test_the_envelope_keeps_every_peak_where_it_is() -> None:
    audio = np.zeros((2, 90_000), np.float32)
    audio[0, 45_050], audio[1, 10] = 0.9, -0.7  # single samples, one a channel
    low, high = envelope(ArrayReader(audio, RATE), columns=900)
    assert high.shape == low.shape == (900,)
    assert (high[450], low[0]) == (np.float32(0.9), np.float32(-0.7))
    assert np.count_nonzero(high) == np.count_nonzero(low) == 1


@pytest.mark.parametrize("samples", [0, 1, 2, 899, 901])
def test_short_signals_have_an_envelope_and_a_spectrogram(samples: int) -> None:
    reader = ArrayReader(np.full((1, samples), 0.5, np.float32), RATE)
    assert envelope(reader).shape == (2, max(1, min(900, samples)))
    assert np.isfinite(spectrogram(reader)).all()


@pytest.mark.parametrize(("level", "expected"), [(1.0, 0.0), (0.1, -20.0)])
def test_a_tone_stands_at_its_frequency_with_its_level(level: float, expected: float) -> None:
    hertz = 100 * RATE / 2048  # the middle of a bin: a Hann window's peak is the tone's own level there
    found = spectrogram(ArrayReader(tone(hertz, level=level), RATE))
    assert (found.argmax(axis=0) == 100).all()
    np.testing.assert_allclose(found[100], expected, atol=0.1)


def test_silence_is_at_the_bottom_of_the_scale() -> None:
    assert spectrogram(ArrayReader(np.zeros((2, RATE), np.float32), RATE)).max() <= -119


@pytest.mark.parametrize("kind", ["waveform", "spectrogram"])
def test_a_drawing_is_a_png_that_shows_the_signal_and_repeats_to_the_byte(kind: str) -> None:
    from matplotlib.image import imread

    def picture(level: float) -> bytes:
        return draw({"mixture": ArrayReader(tone(440, level=level), RATE), "x": ArrayReader(tone(99), RATE)}, kind)

    loud = picture(0.9)
    assert loud == picture(0.9)
    assert loud != picture(0.1)
    pixels = imread(io.BytesIO(loud), format="png")
    assert pixels.shape[1] == 9 * 90
    assert pixels[..., :3].std() > 0.01  # not an empty page


def test_more_signals_make_a_higher_picture() -> None:
    from matplotlib.image import imread

    signal = ArrayReader(tone(440, 2_000), RATE)
    one, eight = (imread(io.BytesIO(draw(dict.fromkeys(names, signal)))) for names in (ALL_STEMS[:1], ALL_STEMS))
    assert eight.shape[0] - one.shape[0] == pytest.approx(7 * 0.8 * 90, abs=2)
