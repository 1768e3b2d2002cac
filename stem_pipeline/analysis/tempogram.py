"""Which periods an onset envelope has, and which of them is the beat.

Belongs here: autocorrelation, the picture of a candidate tempo that the scorer sees, the scorer. Does not belong here:
where the beats lie.
"""

from __future__ import annotations

import functools
import json
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.analysis.onsets import FRAME_RATE

SLOWEST_BPM, FASTEST_BPM = 38.0, 250.0
CANDIDATES: NDArray[np.float64] = SLOWEST_BPM * 2 ** np.arange(0, np.log2(FASTEST_BPM / SLOWEST_BPM), 1 / 60)
"""bpm, a sixtieth of an octave (1.2 %) apart."""
_WINDOW = (
    1536  # frames, 17.8 s: long enough for four slow beats thrice, short enough that tempo may drift between windows
)
_LONGEST_LAG = 620
_RELATIONS = (1 / 8, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 1, 4 / 3, 3 / 2, 2, 3, 4)


def flatten(envelope: NDArray[np.float32]) -> NDArray[np.float32]:
    """The envelope with its slow part (1 s) taken away, each band scaled by its own deviation, silence left at zero.

    float32 [bands, frames] → the same shape.
    """
    from scipy.ndimage import uniform_filter1d

    sharp = np.maximum(envelope - uniform_filter1d(envelope, 87, axis=1, mode="nearest"), 0)
    sharp -= sharp.mean(axis=1, keepdims=True)
    scale = sharp.std(axis=1, keepdims=True)
    # A band in which nothing begins (mean rise below 0.002 decades) must not be blown up to the size of the others.
    return np.where(scale > 2e-3, sharp / np.maximum(scale, 2e-3), 0).astype(np.float32)


def autocorrelation(flat: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean over windows of the unbiased autocorrelation of each band and of the bands' sum.

    float32 [bands, frames] → float64 [bands + 1, lags], lag in frames, 1 at lag 0 (or all 0 where nothing happens).
    """
    from scipy.fft import irfft, next_fast_len, rfft

    signals = np.concatenate((flat, flat.sum(axis=0, keepdims=True)))
    n = signals.shape[1]
    length = min(_WINDOW, n)
    starts = range(0, max(1, n - length // 2), length // 2) if n > length else (0,)
    total = np.zeros((len(signals), _LONGEST_LAG))
    size = next_fast_len(length + _LONGEST_LAG, real=True)
    for start in starts:
        part = signals[:, start : start + length]
        power = np.abs(rfft(part, size, axis=1)) ** 2
        sums = irfft(power, size, axis=1)[:, :_LONGEST_LAG]
        pairs = part.shape[1] - np.arange(_LONGEST_LAG)
        # Lags that less than a fifth of the window can tell of say nothing.
        total += np.where(pairs > 0.2 * length, sums / np.maximum(pairs, 1), 0) * (part.shape[1] / length)
    return total / np.maximum(total[:, :1], 1e-9)


def describe(correlation: NDArray[np.float64]) -> NDArray[np.float32]:
    """What the scorer sees of each candidate: float32 [candidates, features].

    The correlation of each band at simple fractions and multiples of the candidate's period (the largest within ±2 %),
    the same minus the candidate's own, and where the candidate lies on a logarithmic scale of tempo.
    """
    period = 60 / CANDIDATES * FRAME_RATE
    values = []
    for relation in _RELATIONS:
        offsets = np.linspace(-0.02, 0.02, 7)
        lags = period[:, None] * relation * (1 + offsets)
        places = np.clip(lags, 0, _LONGEST_LAG - 1.001)
        low = places.astype(np.int64)
        rest = places - low
        sampled = correlation[:, low] * (1 - rest) + correlation[:, low + 1] * rest
        values.append(np.where(lags < _LONGEST_LAG - 1, sampled, 0).max(axis=2))
    stacked = np.stack(values, axis=-1)  # bands, candidates, relations
    picture = stacked.transpose(1, 0, 2).reshape(len(CANDIDATES), -1)
    octave = np.log2(CANDIDATES / 110)[:, None]
    return np.concatenate((picture, octave, octave**2, octave**3), axis=1).astype(np.float32)


def score(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """The chance of each candidate to be what people tap: float64 [candidates], sums to 1.

    A network of one hidden layer, fitted to generated songs and to human drum grooves (Groove MIDI Dataset, Gillick et al.,
    ICML 2019, CC BY 4.0) rendered with General MIDI kits.
    """
    mean, deviation, w1, b1, w2 = _weights()
    hidden = np.tanh((features - mean) / deviation @ w1 + b1)
    logits = hidden @ w2
    chances = np.exp(logits - logits.max())
    return chances / chances.sum()


@functools.cache
def _weights() -> tuple[NDArray[np.float64], ...]:
    text = resources.files("stem_pipeline.analysis").joinpath("tempo_weights.json").read_text("utf-8")
    stored = json.loads(text)
    return tuple(np.asarray(stored[name], np.float64) for name in ("mean", "deviation", "w1", "b1", "w2"))
