"""The engine: a mixture goes in block by block, stems that add up to it come out, in memory for a few segments.

rate conversion → segments → model → overlap-add → rate conversion → consistency

Belongs here: the flow and its contracts (length, lag 0, channels, sum). Each step is a file of its own; models play
`SegmentModel`; reading and writing files is the caller's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.errors import RunFailed
from stem_pipeline.progress import IsCancelled, OnProgress, ProgressMeter, ignore_progress, never_cancelled
from stem_pipeline.separation.consistency import Consistency
from stem_pipeline.separation.overlap_add import OverlapAdd
from stem_pipeline.separation.rate import RateConverter, converted_length
from stem_pipeline.separation.reader import SampleReader
from stem_pipeline.separation.segment_model import Audio, SegmentModel
from stem_pipeline.separation.segments import plan_segments, triangle_window

_READ_SAMPLES = 1 << 18
"""Samples read at a time: 6 s at 44.1 kHz, 2 MB in stereo."""


@dataclass(frozen=True)
class Normalisation:
    """Mean and deviation of a channel group's mono mixture over the whole song, as Demucs takes them, and each channel's mean."""

    mean: float
    deviation: float
    channel_means: tuple[float, ...]


def channel_groups(channels: int) -> tuple[tuple[int, ...], ...]:
    """Channels the model hears together: pairs in order, and an odd last one alone.

    The models are stereo. A mono channel goes in twice and comes back as the mean of both; of 5.1 sound the pairs are
    front left and right, centre and LFE, the two surrounds. Nothing is ever downmixed.

    >>> channel_groups(3)
    ((0, 1), (2,))
    """
    return tuple(tuple(range(c, min(c + 2, channels))) for c in range(0, channels, 2))


def measure_normalisation(mixture: SampleReader) -> list[Normalisation]:
    """One pass over the mixture: `Normalisation` per channel group, in bounded memory.

    Sums run in float64 around the first block's mean, so that a large DC offset costs no precision.
    """
    groups = channel_groups(mixture.channels)
    pivots: list[float] = []
    first, second = np.zeros(len(groups)), np.zeros(len(groups))
    sums = np.zeros(mixture.channels)
    for start in range(0, mixture.samples, _READ_SAMPLES):
        block = mixture.read(start, min(start + _READ_SAMPLES, mixture.samples)).astype(np.float64)
        sums += block.sum(axis=1)
        for g, group in enumerate(groups):
            mono = block[list(group)].mean(axis=0)
            if start == 0:
                pivots.append(float(mono.mean()))
            mono = mono - pivots[g]
            first[g] += mono.sum()
            second[g] += np.square(mono).sum()
    n = max(1, mixture.samples)
    found = []
    for g, group in enumerate(groups):
        shift = first[g] / n
        variance = max(0.0, second[g] / n - shift * shift) * n / max(1, n - 1)
        pivot = pivots[g] if pivots else 0.0
        means = tuple(float(sums[c] / n) for c in group)
        found.append(Normalisation(float(pivot + shift), float(np.sqrt(variance)), means))
    return found


class _Window:
    """The mixture at the model's rate, readable in ascending, overlapping windows; keeps one window and one block."""

    def __init__(self, mixture: SampleReader, rate: int, length: int) -> None:
        self._mixture, self._length = mixture, length
        self._converter = RateConverter(mixture.sample_rate, rate, mixture.channels, length)
        self._buffer = np.zeros((mixture.channels, 0), dtype=np.float32)
        self._start = 0
        self._read = 0

    def read(self, start: int, size: int) -> Audio:
        """float32 [channels, size] from `start` (may be negative); zeros outside the song."""
        stop = min(start + size, self._length)
        if start > self._start:
            self._buffer = self._buffer[:, start - self._start :]
            self._start = start
        while self._start + self._buffer.shape[1] < stop:
            upto = min(self._read + _READ_SAMPLES, self._mixture.samples)
            raw = self._mixture.read(self._read, upto)
            self._read = upto
            more = self._converter.convert(raw, last=upto == self._mixture.samples)
            self._buffer = np.concatenate([self._buffer, more], axis=1)
        found = self._buffer[:, max(0, start) - self._start : stop - self._start]
        before = max(0, -start)
        return np.pad(found, ((0, 0), (before, size - before - found.shape[1])))


def separate_stream(
    model: SegmentModel,
    mixture: SampleReader,
    *,
    overlap: float,
    on_progress: OnProgress = ignore_progress,
    is_cancelled: IsCancelled = never_cancelled,
    stage: str = "separation",
) -> Iterator[NDArray[np.float32]]:
    """Yields float32 [sources, channels, n] at the mixture's own rate, in order, `mixture.samples` in all.

    The sources are the model's, in its order. At every sample they add up to the mixture (to float32's rounding), so
    content above the model's band is in the remainder stem; the lag is 0. Memory does not grow with the length.
    Raises `Cancelled` within one batch of segments, `RunFailed` when the model's answer is not finite.
    """
    normalisation = measure_normalisation(mixture)
    # What normalisation took away is in no estimate: an offset is the remainder's, not the residual's to share.
    offset = [m if model.normalised else 0.0 for group in normalisation for m in group.channel_means]
    consistency = Consistency(model.sources, offset, mixture.sample_rate, model.sample_rate)
    position = 0
    progress = ProgressSettings(stage, on_progress, is_cancelled)
    for estimate in _estimates(model, mixture, overlap, normalisation, progress):
        n = estimate.shape[-1]
        yield from consistency.push(mixture.read(position, position + n), estimate)
        position += n
    yield from consistency.finish()


@dataclass(frozen=True)
class ProgressSettings:
    stage: str
    on_progress: OnProgress
    is_cancelled: IsCancelled


def _estimates(
    model: SegmentModel,
    mixture: SampleReader,
    overlap: float,
    normalisation: list[Normalisation],
    progress: ProgressSettings,
) -> Iterator[NDArray[np.float32]]:
    """The model's own answers at the mixture's rate, before consistency: float32 [sources, channels, n] blocks."""
    size, sources = model.segment_samples, len(model.sources)
    groups = channel_groups(mixture.channels)
    length = converted_length(mixture.samples, mixture.sample_rate, model.sample_rate)
    plan = plan_segments(length, size, overlap)
    window = _Window(mixture, model.sample_rate, length)
    join = OverlapAdd(plan, triangle_window(size))
    back = RateConverter(model.sample_rate, mixture.sample_rate, sources * mixture.channels, mixture.samples)
    meter = ProgressMeter(progress.stage, len(plan.segments), progress.on_progress, progress.is_cancelled)

    batch = max(1, model.preferred_batch)
    for first in range(0, len(plan.segments), batch):
        planned = plan.segments[first : first + batch]
        segments = np.stack([window.read(segment.offset, size) for segment in planned])
        inside = [slice(max(0, -segment.offset), length - segment.offset) for segment in planned]
        estimates = _separate_batch(model, segments, inside, groups, normalisation)
        for k in range(len(planned)):
            joined = join.add(estimates[k]).reshape(sources * mixture.channels, -1)
            native = back.convert(joined, last=first + k + 1 == len(plan.segments))
            if native.shape[-1]:
                yield native.reshape(sources, mixture.channels, -1)
        meter.advance(len(planned))


def _separate_batch(
    model: SegmentModel,
    segments: NDArray[np.float32],
    inside: list[slice],
    groups: tuple[tuple[int, ...], ...],
    normalisation: list[Normalisation],
) -> NDArray[np.float32]:
    """float32 [batch, channels, size] → float32 [batch, sources, channels, size]; digital silence costs nothing.

    `inside`: the span of each segment that lies in the song. Around it the model hears silence, also where the song has
    an offset: the mean is taken from the song alone, else the song would begin and end with a step.
    """
    batch, channels, size = segments.shape
    estimates = np.zeros((batch, len(model.sources), channels, size), dtype=np.float32)
    work: list[tuple[int, int]] = []
    inputs: list[NDArray[np.float32]] = []
    for b in range(batch):
        for g, group in enumerate(groups):
            pair = segments[b, [group[0], group[-1]]]
            if not pair.any():
                continue
            if model.normalised:
                scale = normalisation[g].deviation or 1.0
                song = (pair[:, inside[b]] - np.float32(normalisation[g].mean)) / np.float32(scale)
                pair = np.zeros_like(pair)
                pair[:, inside[b]] = song
            work.append((b, g))
            inputs.append(pair)
    if not work:
        return estimates
    answers = model.separate_segments(np.stack(inputs))
    if not np.isfinite(answers).all():
        raise RunFailed(
            "contract_broken", f"The model {model.name} answered with NaN or infinity; the song is withheld. Report it."
        )
    for (b, g), answer in zip(work, answers, strict=True):
        if model.normalised:
            # Only the deviation is put back: the mean (DC) is no source's, and consistency gives it to the remainder.
            answer = answer * np.float32(normalisation[g].deviation or 1.0)
        group = groups[g]
        estimates[b][:, list(group)] = answer if len(group) == 2 else answer.mean(axis=1, keepdims=True)
    return estimates
