"""Do children add up to their parent, to the sample? Measured in one pass, in bounded memory.

Belongs here: the arithmetic of lag and residual. Does not belong here: bounds and verdicts (checks.py), files
(verification.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.separation.segment_model import Audio

BLOCK_SAMPLES = 1 << 17
"""Samples compared at a time, and the span in which the lag is looked for (±3 s at 44.1 kHz)."""


def dbfs(amplitude: float) -> float:
    """20·log10 of an amplitude relative to full scale; −inf for 0."""
    return 20 * math.log10(amplitude) if amplitude > 0 else -math.inf


@dataclass(frozen=True)
class SumReport:
    """`residual_dbfs`: RMS of parent − Σ children in the worst channel. `relative_db`: the same against the parent's RMS.

    `lag_samples`: where the cross-correlation of parent and Σ children peaks; positive when the children are late;
    None when one of them is silent, so that there is nothing to align. `parent_samples` and `children_samples` are
    counts of what was really decoded.
    """

    residual_dbfs: float
    relative_db: float
    lag_samples: int | None
    parent_samples: int
    children_samples: tuple[int, ...]


def rechunk(blocks: Iterable[Audio], size: int = BLOCK_SAMPLES) -> Iterator[Audio]:
    """Blocks of any length as blocks of `size` samples (the last one shorter): float32 [channels, n]."""
    kept: list[Audio] = []
    count = 0
    for block in blocks:
        kept.append(block)
        count += block.shape[1]
        if count >= size:
            joined = np.concatenate(kept, axis=1)
            whole = count - count % size
            for start in range(0, whole, size):
                yield joined[:, start : start + size]
            kept, count = [joined[:, whole:]], count - whole
    if count:
        yield np.concatenate(kept, axis=1)


def measure_sum(parent: Iterable[Audio], children: Iterable[Iterable[Audio]], gain: float = 1.0) -> SumReport:
    """Compares gain·parent with Σ children, block by block.

    Each signal is an iterable of float32 [channels, n] blocks, all with the same channels. Levels are in the
    children's scale. A signal that ends early counts as silence from there on, and its length says so.
    """
    streams = [rechunk(parent), *(rechunk(c) for c in children)]
    lengths = [0] * len(streams)
    squares = np.zeros(0)
    parent_squares = np.zeros(0)
    loudest, loudest_pair = -1.0, None
    while True:
        blocks = [next(s, None) for s in streams]
        present = [b for b in blocks if b is not None]
        if not present:
            break
        n = max(b.shape[1] for b in present)
        channels = max(b.shape[0] for b in present)
        whole = np.zeros((channels, n))
        total = np.zeros((channels, n))
        for i, block in enumerate(blocks):
            if block is None:
                continue
            lengths[i] += block.shape[1]
            if i == 0:
                whole[:, : block.shape[1]] = block * np.float64(gain)
            else:
                total[:, : block.shape[1]] += block
        if not len(squares):
            squares, parent_squares = np.zeros(channels), np.zeros(channels)
        squares += np.square(whole - total).sum(axis=1)
        energy = np.square(whole).sum(axis=1)
        parent_squares += energy
        if energy.sum() > loudest:
            loudest, loudest_pair = float(energy.sum()), (whole, total)
    longest = max([1, *lengths])
    residual = math.sqrt(squares.max(initial=0.0) / longest)
    level = math.sqrt(parent_squares.max(initial=0.0) / longest)
    return SumReport(
        residual_dbfs=dbfs(residual),
        relative_db=dbfs(residual) - dbfs(level) if level > 0 else dbfs(residual),
        lag_samples=find_lag(*loudest_pair) if loudest_pair else None,
        parent_samples=lengths[0],
        children_samples=tuple(lengths[1:]),
    )


def find_lag(reference: NDArray[np.floating], delayed: NDArray[np.floating]) -> int | None:
    """Samples by which `delayed` comes after `reference`, both [channels, n]: the peak of their cross-correlation.

    Summed over channels, by FFT, zero-padded. Of equal peaks (a pure tone has many) the one nearest 0 counts.
    None if either is silent.
    """
    n = reference.shape[1]
    if not reference.any() or not delayed.any():
        return None
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(delayed, size, axis=1) * np.conj(np.fft.rfft(reference, size, axis=1))
    correlation = np.fft.irfft(spectrum.sum(axis=0), size)
    lags = np.concatenate([np.arange(n), np.arange(-n + 1, 0)])
    values = np.concatenate([correlation[:n], correlation[size - n + 1 :]])
    near_peak = lags[values >= values.max() - 1e-9 * abs(values.max())]
    return int(near_peak[np.argmin(np.abs(near_peak))])
