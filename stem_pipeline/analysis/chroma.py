"""What pitches sound: the energy of spectral peaks in steps of ten cents, bass apart, from a stream of blocks.

Belongs here: peaks, their pitch, the tuning. Does not belong here: which key the pitches make.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.analysis.onsets import ANALYSIS_RATE, Frames

STEPS = 120
"""Steps in an octave: ten cents each. Step 0 is C at A4 = 440 Hz."""
_FRAME = 8192  # 372 ms: a semitone apart at 110 Hz is 6.5 Hz, 2.4 bins
_HOP = 2048
_FRAMES_PER_SEGMENT = 8  # 0.74 s
_LOWEST_HZ, _HIGHEST_HZ = 32.0, 2100.0
_BASS_HZ = 200.0
_LOW_C_HZ = 440.0 * 2 ** (-69 / 12)


@dataclass(frozen=True)
class PitchEnergy:
    """Peak energy by segment of 0.74 s, folded into one octave."""

    treble: NDArray[np.float32]
    """float32 [segments, STEPS], 130 Hz and up."""
    bass: NDArray[np.float32]
    """float32 [segments, STEPS], up to 200 Hz."""

    def tuning_cents(self) -> float:
        """How far the song's A4 lies from 440 Hz, −50…50 cents: the angle of the mean over all peaks on a semitone's circle."""
        steps = (self.treble + 0.3 * self.bass).sum(axis=0, dtype=np.float64)
        angle = np.angle(np.sum(steps * np.exp(2j * np.pi * np.arange(STEPS) / 10)))
        return float(angle / (2 * np.pi) * 100)

    def chroma(self, tuning_cents: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Treble and bass float32 [segments, 12] from C, each step given to the semitone nearest at this tuning."""
        places = (np.arange(STEPS) - tuning_cents / 10) / 10
        distance = (places[:, None] - np.arange(12) + 6) % 12 - 6
        weights = np.clip(1 - 2 * np.maximum(np.abs(distance) - 0.2, 0), 0, 1) * (np.abs(distance) <= 0.5)
        fold = weights.astype(np.float32)
        return self.treble @ fold, self.bass @ fold


class PitchMeter:
    """Takes mono blocks at `ANALYSIS_RATE`; keeps 1.3 kB a second as float32 steps (47 MB for ten hours)."""

    _CHUNK = 256  # frames at once: 8 MB

    def __init__(self) -> None:
        self._frames = Frames(_FRAME, _HOP)
        self._waiting: NDArray[np.float32] | None = (
            None  # the last two frames' spectra: peaks are judged with neighbours
        )
        self._open: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
        self._treble: list[NDArray[np.float16]] = []
        self._bass: list[NDArray[np.float16]] = []

    def add(self, mono: NDArray[np.float32]) -> None:
        """`mono`: float32 [n] at `ANALYSIS_RATE`."""
        frames = self._frames.add(mono)
        for start in range(0, len(frames), self._CHUNK):
            self._add_frames(frames[start : start + self._CHUNK])

    def _add_frames(self, frames: NDArray[np.float32]) -> None:
        from scipy.fft import rfft

        window, first, last, *_ = _tables()
        spectra = np.abs(rfft(frames * window, axis=1)[:, first - 1 : last + 1]).astype(np.float32)
        joined = spectra if self._waiting is None else np.concatenate((self._waiting, spectra))
        self._waiting = joined[-2:]
        if len(joined) < 3:
            return
        treble, bass = _peak_energy(joined)
        for row in zip(treble, bass, strict=True):
            self._open.append(row)
            if len(self._open) == _FRAMES_PER_SEGMENT:
                self._close()

    def _close(self) -> None:
        # Square roots of energies would drown chords in drums, plain energies drown all but the loudest note.
        self._treble.append(np.sum([t for t, _ in self._open], axis=0).astype(np.float16))
        self._bass.append(np.sum([b for _, b in self._open], axis=0).astype(np.float16))
        self._open = []

    def result(self) -> PitchEnergy:
        """What was heard so far."""
        if self._open:
            self._close()
        empty = np.zeros((0, STEPS), np.float32)
        return PitchEnergy(
            np.stack(self._treble).astype(np.float32) if self._treble else empty,
            np.stack(self._bass).astype(np.float32) if self._bass else empty,
        )


def _peak_energy(spectra: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """`spectra`: float32 [frames + 2, bins] → treble, bass float32 [frames, STEPS] for the inner frames.

    A partial is a peak along frequency that its neighbours in time have too: the minimum over three frames keeps
    sustained notes and drops drum hits (a light form of harmonic-percussive separation, Fitzgerald, DAFx 2010).
    """
    from scipy.ndimage import uniform_filter1d

    _, first, _, treble_weight, bass_weight = _tables()
    steady = np.minimum(np.minimum(spectra[:-2], spectra[2:]), spectra[1:-1])
    surroundings = uniform_filter1d(spectra[1:-1], 61, axis=1)
    inner = steady[:, 1:-1]
    is_peak = (
        (inner > steady[:, :-2]) & (inner >= steady[:, 2:]) & (inner > 1.3 * surroundings[:, 1:-1]) & (inner > 2e-3)
    )
    frame, place = np.nonzero(is_peak)
    left, mid, right = (np.log(spectra[1:-1][frame, place + i] + 1e-9) for i in (0, 1, 2))
    curve = left - 2 * mid + right
    shift = np.clip(np.where(curve < -1e-6, 0.5 * (left - right) / np.minimum(curve, -1e-6), 0), -0.5, 0.5)
    hertz = (first + place + shift) * (ANALYSIS_RATE / _FRAME)
    step = np.round(np.log2(hertz / _LOW_C_HZ) * STEPS).astype(np.int64) % STEPS
    strength = np.sqrt(inner[frame, place] / (surroundings[frame, place + 1] + 1e-9)) * np.sqrt(inner[frame, place])
    result = []
    for weight in (treble_weight, bass_weight):
        flat = np.bincount(frame * STEPS + step, strength * weight[place], minlength=len(steady) * STEPS)
        result.append(flat.reshape(-1, STEPS).astype(np.float32))
    return result[0], result[1]


@functools.cache
def _tables() -> tuple[NDArray[np.float32], int, int, NDArray[np.float32], NDArray[np.float32]]:
    """Window; first and last bin looked at; the weight of each bin as treble and as bass."""
    step = ANALYSIS_RATE / _FRAME
    first, last = int(_LOWEST_HZ / step), int(_HIGHEST_HZ / step)
    hertz = np.arange(first, last) * step
    window = np.hanning(_FRAME + 1)[:-1]
    window /= window.sum() / 2
    treble = np.clip(np.log2(hertz / 100) / np.log2(1.6), 0, 1) * np.clip(np.log2(_HIGHEST_HZ / hertz), 0, 1)
    bass = np.clip(np.log2(_BASS_HZ / hertz) * 2, 0, 1)
    return window.astype(np.float32), first, last, treble.astype(np.float32), bass.astype(np.float32)
