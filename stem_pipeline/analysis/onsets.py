"""Where something begins: the onset envelope of four frequency bands, from a stream of blocks.

Belongs here: bringing any rate to the analysis rate, framing, the envelope. Does not belong here: what is beat and what is not.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

ANALYSIS_RATE = 22_050
"""Hz. Tempo and key live below 11 kHz."""
HOP = 256
"""Samples between two frames of the envelope at `ANALYSIS_RATE`."""
FRAME_RATE = ANALYSIS_RATE / HOP
"""Frames a second, 86.13."""
BANDS = 4
"""Below 150 Hz (kick, bass), to 800 Hz (snare body, chords), to 3.2 kHz (voice, attacks), above (cymbals)."""

_FRAME = 1024
_LAG = 2  # frames: a rise is measured over 23 ms, since an attack is seldom done in one frame
_FLOOR = 10 ** (-75 / 20)  # −75 dBFS: below that a rise is noise
_BAND_EDGES_HZ = (0.0, 150.0, 800.0, 3200.0, 11_025.0)


class MonoResampler:
    """float32 [channels, n] blocks of any rate in, float32 [n] mono blocks at `ANALYSIS_RATE` out."""

    def __init__(self, sample_rate: int) -> None:
        import soxr

        self._stream = (
            None
            if sample_rate == ANALYSIS_RATE
            else soxr.ResampleStream(sample_rate, ANALYSIS_RATE, 1, dtype="float32", quality="MQ")
        )

    def add(self, block: NDArray[np.float32], last: bool = False) -> NDArray[np.float32]:
        mono = np.ascontiguousarray(block.mean(axis=0, dtype=np.float32)) if block.shape[0] > 1 else block[0]
        return mono if self._stream is None else self._stream.resample_chunk(np.ascontiguousarray(mono), last=last)


class Frames:
    """Cuts a stream into overlapping frames: `add` gives float32 [frames, length] for all that are complete."""

    def __init__(self, length: int, hop: int) -> None:
        self._length, self._hop = length, hop
        self._rest = np.zeros(length // 2, np.float32)  # the first frame is centred on the first sample

    def add(self, mono: NDArray[np.float32]) -> NDArray[np.float32]:
        joined = np.concatenate((self._rest, mono))
        count = max(0, (len(joined) - self._length) // self._hop + 1)
        self._rest = joined[count * self._hop :]
        if not count:
            return np.zeros((0, self._length), np.float32)
        return np.lib.stride_tricks.sliding_window_view(joined, self._length)[:: self._hop][:count]


class OnsetEnvelope:
    """Spectral flux on a logarithmic scale, with the maximum over neighbouring bands subtracted so that vibrato is no
    onset (SuperFlux: Böck and Widmer, DAFx 2013), summed over four frequency ranges.

    Keeps 8 bytes a frame: 25 MB for ten hours.
    """

    _CHUNK = 2048  # frames at once: 8 MB

    def __init__(self) -> None:
        self._frames = Frames(_FRAME, HOP)
        self._before: NDArray[np.float32] | None = None
        self._parts: list[NDArray[np.float16]] = []

    def add(self, mono: NDArray[np.float32]) -> None:
        """`mono`: float32 [n] at `ANALYSIS_RATE`."""
        frames = self._frames.add(mono)
        for start in range(0, len(frames), self._CHUNK):
            self._add_frames(frames[start : start + self._CHUNK])

    def _add_frames(self, frames: NDArray[np.float32]) -> None:
        from scipy.fft import rfft

        window, filters, ranges = _filter_bank()
        magnitudes = np.abs(rfft(frames * window, axis=1))
        levels = np.log10(magnitudes @ filters + _FLOOR)
        before = np.repeat(levels[:1], _LAG, axis=0) if self._before is None else self._before
        joined = np.concatenate((before, levels))
        self._before = joined[-_LAG:]
        earlier = joined[:-_LAG]
        widest = earlier.copy()
        np.maximum(widest[:, 1:], earlier[:, :-1], out=widest[:, 1:])
        np.maximum(widest[:, :-1], earlier[:, 1:], out=widest[:, :-1])
        rise = np.maximum(levels - widest, 0)
        self._parts.append((rise @ ranges).T.astype(np.float16))

    def result(self) -> NDArray[np.float32]:
        """float32 [BANDS, frames]: mean rise in decades of magnitude, 0 and up."""
        if not self._parts:
            return np.zeros((BANDS, 0), np.float32)
        return np.concatenate(self._parts, axis=1).astype(np.float32)


def onset_envelope(mono: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """The envelope of a whole signal: `mono` float32 [samples] → float32 [BANDS, frames]."""
    envelope, resampler = OnsetEnvelope(), MonoResampler(sample_rate)
    step = 30 * sample_rate
    for start in range(0, len(mono), step):
        envelope.add(resampler.add(mono[None, start : start + step], last=start + step >= len(mono)))
    return envelope.result()


@functools.cache
def _filter_bank() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Hann window; triangular filters float32 [bins, filters], six an octave and never narrower than a bin; the filters'
    means over the four ranges float32 [filters, BANDS]."""
    bins = np.fft.rfftfreq(_FRAME, 1 / ANALYSIS_RATE)
    step = bins[1]
    centres = [1.5 * step]
    while centres[-1] * 2 ** (1 / 6) < 10_500:
        centres.append(max(centres[-1] + step, centres[-1] * 2 ** (1 / 6)))
    edges = np.asarray([centres[0] - step, *centres, centres[-1] * 2 ** (1 / 6)])
    low, mid, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins[:, None] - low) / (mid - low)
    falling = (high - bins[:, None]) / (high - mid)
    filters = np.clip(np.minimum(rising, falling), 0, None)
    filters /= filters.sum(axis=0)
    window = np.hanning(_FRAME + 1)[:-1]
    filters *= 2 / window.sum()  # a full-scale sine reads about 1
    band = np.digitize(mid, _BAND_EDGES_HZ[1:-1])
    ranges = (band[:, None] == np.arange(BANDS)) / np.maximum(1, np.bincount(band, minlength=BANDS))
    return window.astype(np.float32), filters.astype(np.float32), ranges.astype(np.float32)
