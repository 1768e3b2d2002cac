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


def plan_segments(samples: int, segment_samples: int, overlap: float, tail: int = 0) -> SegmentPlan:
    """The fewest segments whose neighbours overlap by at least `overlap` (0…0.9) of a segment, spread evenly.

    The last one ends `tail` samples after the song: a network knows little at the end of its segment, and a song's last
    note should not lie there. Demucs cuts at a fixed stride instead, and its last segments may run far into zeros;
    evenly spread, what they would waste is overlap everywhere. Raises ValueError for an overlap outside 0…0.9 or a
    length below 0.

    >>> plan_segments(25, 10, 0.25).offsets
    (0, 5, 10, 15)
    >>> plan_segments(4, 10, 0.25).offsets
    (-3,)
    """
    if not 0 <= overlap <= 0.9 or samples < 0 or tail < 0 or segment_samples < 1:
        raise ValueError(f"cannot plan {samples} samples in segments of {segment_samples} at overlap {overlap}")
    if samples == 0:
        return SegmentPlan(0, segment_samples, ())
    if samples <= segment_samples:
        return SegmentPlan(samples, segment_samples, (-((segment_samples - samples) // 2),))
    stride = max(1, int(segment_samples * (1 - overlap)))
    travel = samples + tail - segment_samples
    steps = -(-travel // stride)
    # Rounded half up, in integers: the same on every platform. The last one must start inside the song.
    offsets = tuple((2 * k * travel + steps) // (2 * steps) for k in range(steps + 1))
    return SegmentPlan(samples, segment_samples, tuple(o for o in offsets if o < samples))


def triangle_window(segment_samples: int, power: float = 1.0) -> NDArray[np.float32]:
    """The weight of each sample of a segment, float32 [segment_samples], above 0 everywhere, 1 in the middle.

    Demucs' own: a triangle, because the network knows least at a segment's ends; to `power` for sharper transitions.
    """
    rising = np.arange(1, segment_samples // 2 + 1, dtype=np.float64)
    falling = np.arange(segment_samples - segment_samples // 2, 0, -1, dtype=np.float64)
    window = np.concatenate([rising, falling])
    return ((window / window.max()) ** power).astype(np.float32)
