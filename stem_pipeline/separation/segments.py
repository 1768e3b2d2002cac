"""Where a song is cut into segments, and the window under which their answers are joined.

Belongs here: pure arithmetic on lengths. Does not belong here: audio, models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Segment:
    """The model hears `offset` … `offset + segment_samples`; of its answer, `start` … `stop` is used. All in samples.

    `offset` may lie before the song and a segment may end after it: there is silence there.
    """

    offset: int
    start: int
    stop: int


@dataclass(frozen=True)
class SegmentPlan:
    """Segments of `segment_samples`, in order, whose used spans cover `samples`."""

    samples: int
    segment_samples: int
    segments: tuple[Segment, ...]


def plan_segments(samples: int, segment_samples: int, overlap: float) -> SegmentPlan:
    """Demucs' own plan: a fixed stride of (1 − `overlap`) of a segment, what is left at the end in the middle of its segment.

    One difference: a segment that the one before covers to the end is left out. Cutting elsewhere (evenly spread, or
    the last one flush with the end) moved single stems of 20-second songs by ±0.1 dB either way, a gain for none.
    Raises ValueError for an overlap outside 0…0.9 or a length below 0.

    >>> [s.offset for s in plan_segments(25, 10, 0.25).segments]
    [0, 7, 14, 18]
    >>> plan_segments(4, 10, 0.25).segments
    (Segment(offset=-3, start=0, stop=4),)
    """
    if not 0 <= overlap <= 0.9 or samples < 0 or segment_samples < 1:
        raise ValueError(f"cannot plan {samples} samples in segments of {segment_samples} at overlap {overlap}")
    stride = max(1, int(segment_samples * (1 - overlap)))
    segments: list[Segment] = []
    for start in range(0, samples, stride):
        stop = min(start + segment_samples, samples)
        segments.append(Segment(start - (segment_samples - (stop - start)) // 2, start, stop))
        if stop == samples:
            break
    return SegmentPlan(samples, segment_samples, tuple(segments))


def triangle_window(segment_samples: int, power: float = 1.0) -> NDArray[np.float32]:
    """The weight of each sample of a segment, float32 [segment_samples], above 0 everywhere, 1 in the middle.

    Demucs' own: a triangle, because the network knows least at a segment's ends; to `power` for sharper transitions.
    """
    rising = np.arange(1, segment_samples // 2 + 1, dtype=np.float64)
    falling = np.arange(segment_samples - segment_samples // 2, 0, -1, dtype=np.float64)
    window = np.concatenate([rising, falling])
    return ((window / window.max()) ** power).astype(np.float32)
