"""`nmf-drums`: kick, snare, cymbals and toms from a drums stem by semi-supervised non-negative matrix factorisation.

A baseline that needs no weights and no samples, and is named as one: its templates are drum sounds synthesised here. Belongs
here: the templates, the factorisation, the masks. Does not belong here: segments, overlap-add, consistency.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 44_100
_FRAME, _HOP = 2048, 512
_PARTS = ("kick", "snare", "cymbals", "toms")
_SPAN = 12  # frames of a template: 140 ms, attack and what follows it (8 frames: 0.2 dB less)
_ITERATIONS = 30  # 50 give 0.01 dB more
_PULL = 0.5  # how strongly an adapted template is drawn back to the synthesised one
_SPARSITY = 0.02


class NmfDrums:
    """Plays `SegmentModel`. Deterministic, and linear in level: a segment twice as loud gives parts twice as loud."""

    name = "nmf-drums"
    version = "1"
    backend = "numpy-cpu-float32"
    sources: tuple[str, ...] = _PARTS
    sample_rate = SAMPLE_RATE
    segment_samples = 10 * SAMPLE_RATE
    normalised = False
    preferred_batch = 1

    def separate_segments(self, segments: NDArray[np.float32]) -> NDArray[np.float32]:
        """`segments`: float32 [batch, 2, n] → float32 [batch, 4, 2, n]; the parts add up to the segment up to rounding."""
        return np.stack([self._separate(segment) for segment in segments])

    def _separate(self, segment: NDArray[np.float32]) -> NDArray[np.float32]:
        spectrum = _stft(segment)
        magnitude = np.sqrt(np.mean(np.abs(spectrum) ** 2, axis=0))
        level = float(magnitude.max())
        if level <= 0 or not np.isfinite(level):
            silent = np.zeros((len(_PARTS), *segment.shape), np.float32)
            silent[_PARTS.index("cymbals")] = segment
            return silent
        masks = _masks(np.maximum(magnitude / level, 1e-7).astype(np.float32))
        return np.stack([_istft(spectrum * mask, segment.shape[1]) for mask in masks])


def _masks(magnitude: NDArray[np.float32]) -> NDArray[np.float32]:
    """`magnitude`: float32 [bins, frames], largest 1 → masks float32 [parts, bins, frames], which sum to 1.

    Convolutive factorisation V ≈ Σ_τ W_τ · shift(H, τ) with Kullback-Leibler updates (Smaragdis, IEEE TASLP 2007). H is free;
    W adapts at the end and is drawn back to the synthesised templates, so a part keeps its meaning (Dittmar and Gärtner,
    DAFx 2014).
    """
    fold = _bands()
    folded = fold @ magnitude
    templates, owner = _templates()
    w = templates.copy()
    frames = folded.shape[1]
    count = w.shape[2]
    h = np.full((count, frames + _SPAN - 1), 0.1 * folded.mean() / max(1, count) + 1e-6, np.float32)
    for iteration in range(_ITERATIONS):
        model = _model(w, h, frames)
        ratio = folded / np.maximum(model, 1e-9)
        numerator = np.zeros_like(h)
        for tau in range(_SPAN):
            numerator[:, _SPAN - 1 - tau : _SPAN - 1 - tau + frames] += w[tau].T @ ratio
        h *= numerator / (w.sum(axis=(0, 1))[:, None] + _SPARSITY)
        if iteration >= _ITERATIONS // 3 and iteration % 3 == 0:
            ratio = folded / np.maximum(_model(w, h, frames), 1e-9)
            for tau in range(_SPAN):
                shifted = h[:, _SPAN - 1 - tau : _SPAN - 1 - tau + frames]
                w[tau] *= (ratio @ shifted.T) / np.maximum(shifted.sum(axis=1), 1e-9)
            w /= np.maximum(w.sum(axis=(0, 1), keepdims=True), 1e-12)
            w = (1 - _PULL) * w + _PULL * templates
    parts = np.stack([_model(w[:, :, owner == part], h[owner == part], frames) for part in range(len(_PARTS))])
    # The gain is the share of magnitudes: shares of powers (the textbook's Wiener gain) score 0.3 dB less here.
    parts = np.maximum(parts, 1e-9)
    masks = parts / parts.sum(axis=0)
    return masks[:, _band_of_bin()]


def _model(w: NDArray[np.float32], h: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """Σ_τ W_τ H shifted by τ: w float32 [span, bands, k], h float32 [k, frames + span − 1] → [bands, frames]."""
    total = w[0] @ h[:, _SPAN - 1 :]
    for tau in range(1, _SPAN):
        total += w[tau] @ h[:, _SPAN - 1 - tau : _SPAN - 1 - tau + frames]
    return total


@functools.cache
def _band_of_bin() -> NDArray[np.int64]:
    """The band of each bin: one band a bin up to 860 Hz, then twenty an octave."""
    bins = np.arange(_FRAME // 2 + 1)
    hertz = bins * SAMPLE_RATE / _FRAME
    number = np.where(hertz <= 860, bins, 41 + np.floor(20 * np.log2(np.maximum(hertz, 860) / 860))).astype(np.int64)
    return np.unique(number, return_inverse=True)[1]


@functools.cache
def _bands() -> NDArray[np.float32]:
    """float32 [bands, bins]: sums the bins of each band."""
    number = _band_of_bin()
    return (number[None, :] == np.arange(number.max() + 1)[:, None]).astype(np.float32)


@functools.cache
def _templates() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Banded spectrograms of synthesised hits float32 [span, bands, k], each of sum 1, and the part each belongs to [k]."""
    rows, owner = [], []
    for part, sounds in enumerate((_kicks(), _snares(), _cymbals(), _toms())):
        for sound in sounds:
            padded = np.concatenate((np.zeros(_HOP), sound, np.zeros(_FRAME)))
            spectrogram = _bands() @ np.abs(_stft(padded[None].astype(np.float32))[0])
            row = spectrogram[:, 1 : 1 + _SPAN].T  # frame 1 is centred on the attack
            rows.append(row / row.sum())
            owner.append(part)
    return np.stack(rows, axis=-1).astype(np.float32), np.asarray(owner)


def _kicks() -> list[NDArray[np.float64]]:
    """A sine that falls to 45…75 Hz, short and long, with and without the beater's click."""
    sounds = []
    for hertz, sweep, decay, click in (
        (48, 120, 0.10, 0.1), (55, 60, 0.07, 0.3), (62, 180, 0.12, 0.05), (75, 40, 0.06, 0.4), (50, 30, 0.25, 0.0),
        (66, 90, 0.05, 0.6),
    ):  # fmt: skip
        body = _sweep(hertz, sweep, 0.02, decay)
        sounds.append(body + click * _noise(len(body), 500, 5000, 0.006))
    return sounds


def _snares() -> list[NDArray[np.float64]]:
    """The head's two modes and the wires' noise, tight to loose, and a rim shot."""
    sounds = []
    for hertz, tone, decay, low, high in (
        (180, 0.6, 0.10, 900, 9000), (210, 0.4, 0.14, 1500, 12_000), (240, 0.7, 0.07, 700, 7000), (195, 0.25, 0.18, 2000, 14_000),
        (330, 0.8, 0.05, 1200, 8000), (160, 0.5, 0.12, 400, 5000),
    ):  # fmt: skip
        head = _sweep(hertz, 30, 0.01, 0.6 * decay) + 0.6 * _sweep(1.6 * hertz, 20, 0.01, 0.4 * decay)
        sounds.append(tone * head + 0.8 * _noise(len(head), low, high, decay))
    return sounds


def _cymbals() -> list[NDArray[np.float64]]:
    """Closed and open hi-hat, ride, crash: noise above 3…8 kHz that rings from 20 ms to longer than a template."""
    n = round(0.4 * SAMPLE_RATE)
    return [
        _noise(n, low, high, decay)
        for low, high, decay in (
            (7000, 20_000, 0.02), (5000, 18_000, 0.05), (8000, 21_000, 0.15), (4000, 16_000, 0.4), (3000, 14_000, 1.0),
            (6000, 20_000, 2.0),
            (9000, 21_000, 0.5), (2500, 9000, 1.5),
        )
    ]  # fmt: skip


def _toms() -> list[NDArray[np.float64]]:
    """Damped heads from floor tom to high tom: slower to fall and longer to ring than kicks, hardly any noise."""
    sounds = []
    for hertz in (78, 92, 108, 125, 145, 168, 195, 225):
        head = _sweep(hertz, 0.25 * hertz, 0.05, 0.3) + 0.3 * _sweep(1.55 * hertz, 0.2 * hertz, 0.05, 0.12)
        sounds.append(head + 0.05 * _noise(len(head), 300, 4000, 0.01))
    return sounds


def _sweep(hertz: float, above: float, fall_s: float, decay_s: float) -> NDArray[np.float64]:
    t = np.arange(round(0.4 * SAMPLE_RATE)) / SAMPLE_RATE
    phase = 2 * np.pi * np.cumsum(hertz + above * np.exp(-t / fall_s)) / SAMPLE_RATE
    return np.sin(phase) * np.exp(-t / decay_s)


def _noise(samples: int, low_hz: float, high_hz: float, decay_s: float) -> NDArray[np.float64]:
    white = np.random.default_rng(7).standard_normal(
        samples
    )  # the same noise always: templates must not differ between runs
    spectrum = np.fft.rfft(white)
    hertz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    shape = 1 / (1 + (low_hz / np.maximum(hertz, 1)) ** 4) / (1 + (hertz / high_hz) ** 6)
    shaped = np.fft.irfft(spectrum * shape, samples)
    return shaped / np.abs(shaped).max() * np.exp(-np.arange(samples) / SAMPLE_RATE / decay_s)


@functools.cache
def _window() -> NDArray[np.float32]:
    return np.sqrt(np.hanning(_FRAME + 1)[:-1]).astype(np.float32)  # squared and overlapped by 3/4 it sums to 2


def _stft(audio: NDArray[np.float32]) -> NDArray[np.complex64]:
    """float32 [channels, n] → complex64 [channels, bins, frames], frames centred on multiples of the hop."""
    from scipy.fft import rfft

    half = _FRAME // 2
    padded = np.pad(audio, ((0, 0), (half, half + -audio.shape[1] % _HOP)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME, axis=1)[:, ::_HOP]
    return np.ascontiguousarray(rfft(frames * _window(), axis=2).transpose(0, 2, 1))


def _istft(spectrum: NDArray[np.complex64], samples: int) -> NDArray[np.float32]:
    """The inverse of `_stft`, divided by the windows' own sum so that it is exact at the ends too."""
    from scipy.fft import irfft

    frames = irfft(spectrum.transpose(0, 2, 1), _FRAME, axis=2) * _window()
    channels, count, _ = frames.shape
    pieces = frames.reshape(channels, count, _FRAME // _HOP, _HOP)
    total = np.zeros((channels, count + _FRAME // _HOP - 1, _HOP), np.float32)
    weight = np.zeros((count + _FRAME // _HOP - 1, _HOP), np.float32)
    squares = (_window() ** 2).reshape(-1, _HOP)
    for i in range(_FRAME // _HOP):
        total[:, i : i + count] += pieces[:, :, i]
        weight[i : i + count] += squares[i]
    half = _FRAME // 2
    flat = total.reshape(channels, -1)[:, half : half + samples]
    return (flat / np.maximum(weight.reshape(-1)[half : half + samples], 1e-3)).astype(np.float32)
