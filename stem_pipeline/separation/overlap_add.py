"""Joins overlapping segments as they come, in memory for one segment however long the song.

Belongs here: the running weighted sum. Does not belong here: where segments lie (segments.py), what made them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.separation.segments import SegmentPlan


class OverlapAdd:
    """Weighted overlap-add over a plan's segments, given in order.

    `add` takes a segment's answer, float32 [..., segment_samples], and returns what is now final: float32 [..., n]. The
    returned blocks, joined, have exactly `plan.samples` samples: each is the window-weighted mean of all segments
    that cover it.
    """

    def __init__(self, plan: SegmentPlan, window: NDArray[np.float32]) -> None:
        if len(window) != plan.segment_samples or window.min() <= 0:
            raise ValueError("the window must have a segment's length and be above zero everywhere")
        self._plan, self._window = plan, window
        self._next = 0
        self._sum: NDArray[np.float32] | None = None
        self._weight = np.zeros(plan.segment_samples, dtype=np.float32)

    def add(self, answer: NDArray[np.float32]) -> NDArray[np.float32]:
        segments = self._plan.segments
        if self._next >= len(segments) or answer.shape[-1] != self._plan.segment_samples:
            raise ValueError("a segment too many, or of another length than the plan's")
        segment = segments[self._next]
        self._next += 1
        if self._sum is None:
            self._sum = np.zeros(answer.shape, dtype=np.float32)
        used = segment.stop - segment.start
        self._sum[..., :used] += answer[..., segment.start - segment.offset :][..., :used] * self._window[:used]
        self._weight[:used] += self._window[:used]

        last = self._next == len(segments)
        final = used if last else segments[self._next].start - segment.start
        finished = self._sum[..., :final] / self._weight[:final]
        if not last:
            keep = self._plan.segment_samples - final
            # Copies: source and target overlap within one buffer.
            self._sum[..., :keep] = self._sum[..., final:].copy()
            self._sum[..., keep:] = 0
            self._weight[:keep] = self._weight[final:].copy()
            self._weight[keep:] = 0
        return finished
