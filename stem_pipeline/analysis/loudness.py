"""How loud a signal is: integrated loudness, true peak, sample peak, RMS, DC, block by block.

Belongs here: ITU-R BS.1770-4 and its gates (EBU R 128), the true-peak interpolator of its Annex 2. Does not belong here:
changing a level, and judging one.

What is kept grows by eight bytes for each 100 ms (2.9 MB for ten hours); everything else is constant.
"""

from __future__ import annotations

import functools
import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.errors import AudioRefused

ABSOLUTE_GATE_LUFS = -70.0
RELATIVE_GATE_LU = -10.0
_HOPS_PER_BLOCK = 4  # 400 ms blocks that overlap by 75 %: one starts every 100 ms
_HOPS_PER_SECOND = 10
_LOUDNESS_OFFSET = -0.691  # BS.1770: makes a 997 Hz full-scale sine in one channel read −3.01 LUFS

_SURROUND_WEIGHT = 1.41
_CHANNEL_WEIGHTS: dict[int, tuple[float, ...]] = {
    # BS.1770-4 table 4: 1.41 between 60° and 120° to the side, 0 for the low-frequency channel, else 1.
    # The orders are those of WAVE and FFmpeg: L R C LFE back side.
    4: (1.0, 1.0, _SURROUND_WEIGHT, _SURROUND_WEIGHT),
    5: (1.0, 1.0, 1.0, _SURROUND_WEIGHT, _SURROUND_WEIGHT),
    6: (1.0, 1.0, 1.0, 0.0, _SURROUND_WEIGHT, _SURROUND_WEIGHT),
    7: (1.0, 1.0, 1.0, 0.0, 1.0, _SURROUND_WEIGHT, _SURROUND_WEIGHT),
    8: (1.0, 1.0, 1.0, 0.0, 1.0, 1.0, _SURROUND_WEIGHT, _SURROUND_WEIGHT),
}


@dataclass(frozen=True)
class Levels:
    """Levels of one signal. None stands for −∞ or "too short to say": silence, or less than 400 ms for the loudness."""

    integrated_lufs: float | None
    """LUFS, gated."""
    true_peak_dbtp: float | None
    """dB relative to full scale, between the samples too."""
    sample_peak_dbfs: float | None
    """dBFS: 0 is a sample at ±1."""
    rms_dbfs: float | None
    """dBFS over all channels: a full-scale square wave is 0, a sine −3.01."""
    dc_offset: float
    """Mean of the channel whose mean is farthest from zero, −1…1."""

    def as_dict(self) -> dict[str, float | None]:
        return asdict(self)


def measure_levels(audio: NDArray[np.float32], sample_rate: int) -> Levels:
    """Levels of a whole signal. `audio`: float32 [channels, samples], −1…1 nominal; `sample_rate` in Hz.

    Raises `AudioRefused` (`audio_not_finite`).
    """
    meter = LoudnessMeter(sample_rate, audio.shape[0])
    meter.add(audio)
    return meter.result()


class LoudnessMeter:
    """Takes a signal in blocks of any length: `add` each, then `result`. Blocks of any cut give the same answer.

    `sample_rate` in Hz, `channels` in the order of WAVE files (it decides the surround weights).
    """

    _CHUNK = 1 << 16  # samples a channel filtered at once: stays in the cache

    def __init__(self, sample_rate: int, channels: int) -> None:
        self.sample_rate, self.channels = sample_rate, channels
        self._weights = np.asarray(_CHANNEL_WEIGHTS.get(channels, (1.0,) * channels))
        self._sections = k_weighting(sample_rate)
        self._state = np.zeros((len(self._sections), channels, 2))
        self._hop_energies: list[NDArray[np.float64]] = []
        self._open_hop = 0.0
        self._samples = 0
        self._sum = np.zeros(channels)
        self._squares = 0.0
        self._sample_peak = 0.0
        self._true_peak = _TruePeak(sample_rate, channels)

    def add(self, block: NDArray[np.float32]) -> None:
        """`block`: float32 [channels, n]. Raises `AudioRefused` (`audio_not_finite`)."""
        for start in range(0, block.shape[1], self._CHUNK):
            self._add_chunk(block[:, start : start + self._CHUNK])

    def _add_chunk(self, chunk: NDArray[np.float32]) -> None:
        from scipy.signal import sosfilt

        peak = float(max(chunk.max(), -chunk.min()))  # NaN travels through max, infinity is its own maximum
        if not math.isfinite(peak):
            raise AudioRefused("audio_not_finite", "The audio contains NaN or infinity: export it again.")
        exact = chunk.astype(np.float64)  # a 38 Hz high-pass at 192 kHz has no room in float32
        self._sum += exact.sum(axis=1)
        self._squares += float(np.vdot(exact, exact))
        self._sample_peak = max(self._sample_peak, peak)
        self._true_peak.add(chunk, peak)

        weighted, self._state = sosfilt(self._sections, exact, axis=1, zi=self._state)
        energy = self._weights @ np.square(weighted, out=weighted)
        self._add_energy(energy)

    def _add_energy(self, energy: NDArray[np.float64]) -> None:
        """Sums per 100 ms; a rate that ten does not divide (11,025 Hz) gets hops that differ by one sample."""
        first, last = self._samples, self._samples + len(energy)
        self._samples = last
        numbers = np.arange(
            first * _HOPS_PER_SECOND // self.sample_rate, last * _HOPS_PER_SECOND // self.sample_rate + 2
        )
        cuts = numbers * self.sample_rate // _HOPS_PER_SECOND - first
        cuts = cuts[(cuts > 0) & (cuts <= len(energy))]
        if not len(cuts):
            self._open_hop += float(energy.sum())
            return
        sums = np.add.reduceat(energy, np.concatenate(([0], cuts[:-1])))
        sums[-1] = energy[cuts[-2] if len(cuts) > 1 else 0 : cuts[-1]].sum()
        sums[0] += self._open_hop
        self._hop_energies.append(sums)
        self._open_hop = float(energy[cuts[-1] :].sum())

    def result(self) -> Levels:
        """What was heard so far; more blocks may follow."""
        count = self._samples * self.channels
        means = self._sum / max(1, self._samples)
        return Levels(
            integrated_lufs=self._integrated(),
            true_peak_dbtp=_decibels(max(self._true_peak.flushed(), self._sample_peak)),
            sample_peak_dbfs=_decibels(self._sample_peak),
            rms_dbfs=_decibels(math.sqrt(self._squares / count)) if count else None,
            dc_offset=float(means[np.argmax(np.abs(means))]) if count else 0.0,
        )

    def _integrated(self) -> float | None:
        hops = np.concatenate(self._hop_energies) if self._hop_energies else np.zeros(0)
        if len(hops) < _HOPS_PER_BLOCK:
            return None
        length = self.sample_rate * _HOPS_PER_BLOCK / _HOPS_PER_SECOND
        blocks = np.convolve(hops, np.ones(_HOPS_PER_BLOCK), "valid") / length
        heard = blocks[blocks > _power(ABSOLUTE_GATE_LUFS)]
        if not len(heard):
            return None
        heard = heard[heard > heard.mean() * 10 ** (RELATIVE_GATE_LU / 10)]
        return _LOUDNESS_OFFSET + 10 * math.log10(heard.mean())


def k_weighting(sample_rate: int) -> NDArray[np.float64]:
    """Second-order sections of BS.1770's K-weighting at any rate. Returns float64 [sections, 6].

    The standard tabulates 48 kHz only. The table is the bilinear transform of a high shelf (1.68 kHz, +4 dB) and a
    second-order high-pass (38 Hz); these are its analogue parameters (De Man, "Evaluation of implementations of the
    EBU R128 loudness measurement", AES 145, 2018), transformed at the rate asked for.
    """
    shelf_hz, shelf_db, shelf_q = 1681.974450955533, 3.999843853973347, 0.7071752369554196
    cut_hz, cut_q = 38.13547087602444, 0.5003270373238773
    sections = []
    if shelf_hz < 0.45 * sample_rate:  # below that rate nothing of the signal reaches the shelf
        k = math.tan(math.pi * shelf_hz / sample_rate)
        high = 10 ** (shelf_db / 20)
        band = high**0.4996667741545416
        a0 = 1 + k / shelf_q + k * k
        b = [high + band * k / shelf_q + k * k, 2 * (k * k - high), high - band * k / shelf_q + k * k]
        sections.append([*(v / a0 for v in b), 1.0, 2 * (k * k - 1) / a0, (1 - k / shelf_q + k * k) / a0])
    k = math.tan(math.pi * min(cut_hz, 0.4 * sample_rate) / sample_rate)
    a0 = 1 + k / cut_q + k * k
    sections.append([1.0, -2.0, 1.0, 1.0, 2 * (k * k - 1) / a0, (1 - k / cut_q + k * k) / a0])
    return np.asarray(sections)


class _TruePeak:
    """The largest magnitude between the samples: 4× interpolation below 80 kHz, 2× below 160 kHz, none above.

    A windowed sinc of 24 taps a phase. Its phases are one matrix: a row of 47 samples gives 24 × 3 values in between,
    which a matrix product does ten times faster than a filter routine does them one by one.
    """

    _TAPS = 24

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._factor = 4 if sample_rate < 80_000 else 2 if sample_rate < 160_000 else 1
        self._tail = np.zeros((channels, self._TAPS), np.float32)
        self._peak = 0.0
        if self._factor > 1:
            self._matrix, self._bound = _interpolator(self._factor, self._TAPS)

    def add(self, chunk: NDArray[np.float32], sample_peak: float) -> None:
        if self._factor == 1:
            self._peak = max(self._peak, sample_peak)
            return
        joined = np.concatenate((self._tail, chunk), axis=1)
        self._tail = joined[:, -self._TAPS :]
        # No output exceeds the filter's absolute sum times the largest input, so this skips nothing that counts.
        if max(sample_peak, float(np.abs(joined[:, : self._TAPS]).max())) * self._bound <= self._peak:
            return
        self._peak = max(self._peak, self._between(joined))

    def _between(self, joined: NDArray[np.float32]) -> float:
        """`joined`: float32 [channels, n + taps]: n places to interpolate, each between its two middle taps."""
        rows = -(-(joined.shape[1] - self._TAPS) // self._TAPS)
        width = 2 * self._TAPS - 1
        padded = np.pad(joined, ((0, 0), (0, (rows - 1) * self._TAPS + width + 1 - joined.shape[1])))
        windows = np.lib.stride_tricks.sliding_window_view(padded[:, 1:], width, axis=1)[:, :: self._TAPS]
        values = np.ascontiguousarray(windows[:, :rows]).reshape(-1, width) @ self._matrix
        return float(max(values.max(), -values.min()))

    def flushed(self) -> float:
        """The peak if silence followed. Leaves the state as it is."""
        if self._factor == 1:
            return self._peak
        silence = np.zeros((self._tail.shape[0], self._TAPS), np.float32)
        return max(self._peak, self._between(np.concatenate((self._tail, silence), axis=1)))


@functools.cache
def _interpolator(factor: int, taps: int) -> tuple[NDArray[np.float32], float]:
    """The banded matrix float32 [2 taps − 1, taps · (factor − 1)] and the largest absolute sum of its columns."""
    columns = []
    offsets = np.arange(taps) - (taps // 2 - 1)
    for phase in range(1, factor):
        distance = offsets - phase / factor
        window = np.i0(8.0 * np.sqrt(np.clip(1 - (distance / (taps / 2)) ** 2, 0, 1))) / np.i0(8.0)
        kernel = np.sinc(distance) * window
        columns.append(kernel / kernel.sum())  # a constant stays what it is
    matrix = np.zeros((2 * taps - 1, taps, factor - 1))
    for place in range(taps):
        matrix[place : place + taps, place, :] = np.stack(columns, axis=1)
    bound = float(max(np.abs(column).sum() for column in columns))
    return matrix.reshape(2 * taps - 1, -1).astype(np.float32), bound


def _power(lufs: float) -> float:
    return 10 ** ((lufs - _LOUDNESS_OFFSET) / 10)


def _decibels(magnitude: float) -> float | None:
    return 20 * math.log10(magnitude) if magnitude > 0 else None
