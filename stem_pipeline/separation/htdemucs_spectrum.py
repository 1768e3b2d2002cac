"""The two ends of the OpenVINO network: a segment into its blocks of samples and bins, its answer back into stems.

Belongs here: HTDemucs' STFT and inverse (`_spec`, `_ispec`, complex as channels), its inner normalisation, the layout
`htdemucs_graph` documents. Does not belong here: the network, segments of a song.

The transforms follow Demucs: 4,096 points, hop 1,024, periodic Hann window, scaled by 1/√4096, the segment extended
by reflection so that there is one frame a hop; the highest bin is dropped going in and zero coming out.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.separation.openvino_runtime import usable_cpus

FFT = 4096
HOP = 1024
BINS = FFT // 2
_BLOCK = 4
_EDGE = 3 * HOP // 2
"""Samples before the segment's first that the first frame reaches."""
_CROP = 2
_TINY = 1e-5
"""As in Demucs: keeps silence from being divided by nothing."""
_OVERLAP_GAIN = 1.5
"""What four squared Hann windows at a quarter's hop add up to, everywhere inside the segment."""
_FOUR_BINS = np.dtype(f"V{_BLOCK * 8}")
"""A block of four complex64 bins, moved as one."""
_TILE_FRAMES, _TILE_BLOCKS = 16, 32
"""What is transposed at a time: small enough that its far-apart lines stay in the first-level cache and its pages known."""


@dataclass(frozen=True)
class Levels:
    """What the normalisation took out and the answer gets back."""

    spectrum_mean: float
    spectrum_deviation: float
    wave_mean: float
    wave_deviation: float


class SegmentSpectrum:
    """Transforms of one fixed segment length; keeps no audio."""

    def __init__(self, samples: int, stems: int) -> None:
        self._samples = samples
        self._stems = stems
        self._frames = -(-samples // HOP)
        self._blocks = -(-samples // _BLOCK) + 1
        n = np.arange(FFT, dtype=np.float64)
        self._window = (0.5 - 0.5 * np.cos(2 * np.pi * n / FFT)).astype(np.float32)
        self._workers = usable_cpus()
        self._constant = self._inverse_of_constant()

    def forward(self, segment: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32], Levels]:
        """float32 [2, samples] → spectrogram [1, 513, frames, 16], waveform [1, 1, blocks, 8], and their levels."""
        from scipy import fft

        tail = self._frames * HOP - self._samples
        extended = np.pad(segment, ((0, 0), (_EDGE, _EDGE + tail)), mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(extended, FFT, axis=1)[:, ::HOP]
        bins = fft.rfft(frames * (self._window / np.sqrt(np.float32(FFT))), workers=self._workers)[:, :, :BINS]
        parts = np.ascontiguousarray(bins, dtype=np.complex64).view(np.float32)
        mean, deviation = _moments(parts)
        wave_mean, wave_deviation = _moments(segment)
        levels = Levels(mean, deviation, wave_mean, wave_deviation)

        padded = np.zeros((2, self._frames, BINS // _BLOCK + 1, _BLOCK, 2), np.float32)
        flat = padded.reshape(2, self._frames, -1)
        np.subtract(parts, np.float32(mean), out=flat[:, :, 2 * _CROP : -2 * _CROP])
        flat *= np.float32(1 / (_TINY + deviation))
        spectrogram = np.ascontiguousarray(padded.reshape(2, self._frames, -1, 8).transpose(2, 1, 0, 3))
        wave = np.zeros((2, self._blocks * _BLOCK), np.float32)
        wave[:, _CROP : _CROP + self._samples] = (segment - np.float32(wave_mean)) / np.float32(_TINY + wave_deviation)
        waveform = np.ascontiguousarray(wave.reshape(2, self._blocks, _BLOCK).transpose(1, 0, 2))
        return spectrogram.reshape(1, -1, self._frames, 16), waveform.reshape(1, 1, self._blocks, 8), levels

    def inverse(
        self,
        spectrogram: NDArray[np.float32],
        waveform: NDArray[np.float32],
        levels: Levels,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """The network's two outputs → float32 [stems, 2, samples]: inverse STFT of the one plus the other.

        The answer is written to `out` if it is given.
        """
        if out is None:
            out = np.empty((self._stems, 2, self._samples), np.float32)
        answer = out
        blocks = np.ascontiguousarray(spectrogram).view(_FOUR_BINS).reshape(-1, self._frames, self._stems, 2)
        waves = waveform.reshape(self._blocks, self._stems, 2, _BLOCK)
        constant = self._constant * np.float32(levels.spectrum_mean) + np.float32(levels.wave_mean)

        def finish(stem: int) -> None:
            wave = waves[:, stem].transpose(1, 0, 2).reshape(2, -1)[:, _CROP : _CROP + self._samples]
            np.multiply(wave, np.float32(levels.wave_deviation), out=answer[stem])
            joined = self._overlap_add(self._gather(blocks[:, :, stem]))
            joined *= np.float32(levels.spectrum_deviation)
            answer[stem] += joined
            answer[stem] += constant

        # A thread a stem: its bins, frames and samples are held only while it is at work, and near the processor.
        with ThreadPoolExecutor(self._workers) as pool:
            list(pool.map(finish, range(self._stems)))
        return answer

    def _gather(self, blocks: NDArray[np.void]) -> NDArray[np.complex64]:
        """[blocks, frames, 2] of four bins each → complex64 [2, frames, BINS + 1], the highest bin zero.

        The crop shifts blocks by two bins, so that the answer is a view of rows somewhat longer.
        """
        rows = np.empty((2, self._frames, len(blocks)), _FOUR_BINS)
        for frame in range(0, self._frames, _TILE_FRAMES):
            frames = slice(frame, frame + _TILE_FRAMES)
            for block in range(0, len(blocks), _TILE_BLOCKS):
                tile = slice(block, block + _TILE_BLOCKS)
                rows[:, frames, tile] = blocks[tile, frames].transpose(2, 1, 0)
        bins = rows.view(np.complex64)[:, :, _CROP : _CROP + BINS + 1]
        bins[:, :, BINS] = 0
        return bins

    def _overlap_add(self, bins: NDArray[np.complex64]) -> NDArray[np.float32]:
        """complex64 [rows, frames, BINS + 1] → float32 [rows, samples]."""
        from scipy import fft

        frames = fft.irfft(bins, n=FFT)
        frames *= self._window * (np.sqrt(np.float32(FFT)) / np.float32(_OVERLAP_GAIN))
        quarters = frames.reshape(len(bins), self._frames, FFT // HOP, HOP)
        hops = np.zeros((len(bins), self._frames + FFT // HOP - 1, HOP), np.float32)
        for k in range(FFT // HOP):
            hops[:, k : k + self._frames] += quarters[:, :, k]
        return hops.reshape(len(bins), -1)[:, _EDGE : _EDGE + self._samples]

    def _inverse_of_constant(self) -> NDArray[np.float32]:
        """Inverse of the spectrogram whose every real and imaginary part is 1: what the mean becomes. [1, samples]"""
        ones = np.full((1, self._frames, BINS + 1), 1 + 1j, np.complex64)
        ones[:, :, BINS] = 0
        return np.array(self._overlap_add(ones))


def _moments(values: NDArray[np.float32]) -> tuple[float, float]:
    """Mean and sample deviation (n − 1, as PyTorch's), summed in double precision."""
    mean = float(values.mean(dtype=np.float64))
    square = float(np.einsum("...i,...i->...", values, values).sum(dtype=np.float64))
    return mean, float(np.sqrt(max(square - values.size * mean * mean, 0.0) / (values.size - 1)))
