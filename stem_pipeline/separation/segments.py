"""Where a song is cut into segments, and the window under which their answers are joined.

Belongs here: pure arithmetic on lengths. Does not belong here: audio, models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SegmentPlan:
    """Offsets (samples, ascending) of segments of `segment_samples` that cover `samples`.

    A song shorter than a segment has one segment that starts before it: its offset is negative, the song in the middle.
    """

    samples: int
    segment_samples: int
    offsets: tuple[int, ...]


def plan_segments(samples: int, segment_samples: int, overlap: float) -> SegmentPlan:
    """Segments at a fixed stride of (1 − `overlap`) of a segment, the last one flush with the song's end.

    Demucs lets its last segments run past the end into zeros; here every segment is real audio from end to end, and
    there are no more of them than cover the song. Raises ValueError for an overlap outside 0…0.9 or a length below 0.

    >>> plan_segments(25, 10, 0.25).offsets
    (0, 7, 14, 15)
    >>> plan_segments(4, 10, 0.25).offsets
    (-3,)
    """
    if not 0 <= overlap <= 0.9 or samples < 0 or segment_samples < 1:
        raise ValueError(f"cannot plan {samples} samples in segments of {segment_samples} at overlap {overlap}")
    if samples == 0:
        return SegmentPlan(0, segment_samples, ())
    if samples <= segment_samples:
        return SegmentPlan(samples, segment_samples, (-((segment_samples - samples) // 2),))
    stride = max(1, int(segment_samples * (1 - overlap)))
    end = samples - segment_samples
    return SegmentPlan(samples, segment_samples, (*range(0, end, stride), end))


def triangle_window(segment_samples: int, power: float = 1.0) -> NDArray[np.float32]:
    """The weight of each sample of a segment, float32 [segment_samples], above 0 everywhere, 1 in the middle.

    Demucs' own: a triangle, because the network knows least at a segment's ends; to `power` for sharper transitions.
    """
    rising = np.arange(1, segment_samples // 2 + 1, dtype=np.float64)
    falling = np.arange(segment_samples - segment_samples // 2, 0, -1, dtype=np.float64)
    window = np.concatenate([rising, falling])
    return ((window / window.max()) ** power).astype(np.float32)
