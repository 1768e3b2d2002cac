"""A separation model whose answer is known exactly, for tests of the arithmetic around the models.

It plays `SegmentModel` and knows nothing of music: every source is a fixed fraction of what it hears. With it, what the
engine, delivery and verification must give can be written down in one line. It says nothing of how good a separation is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.stems import MAIN_STEMS


class KnownAnswerModel:
    """Source k answers `fractions[k] · (1 − miss) · heard`, with `heard` the segment and `crosstalk` of its other channel.

    `miss`: share of the mixture the answers leave unexplained, so that consistency has work. `crosstalk`: how much of a
    pair's other channel is mixed in: channels wrongly taken together then show. `not_finite`: answers NaN. `calls` and
    `segments` count what was asked.
    """

    name = "known-answer"
    version = "1"
    backend = "numpy-cpu-float32"

    def __init__(
        self,
        sources: tuple[str, ...] = MAIN_STEMS,
        *,
        fractions: tuple[float, ...] = (0.4, 0.3, 0.2, 0.1),
        miss: float = 0.05,
        crosstalk: float = 0.0,
        sample_rate: int = 44_100,
        segment_samples: int = 2_000,
        normalised: bool = False,
        preferred_batch: int = 1,
        not_finite: bool = False,
    ) -> None:
        self.sources = sources
        self.sample_rate, self.segment_samples = sample_rate, segment_samples
        self.normalised, self.preferred_batch = normalised, preferred_batch
        self.fractions = np.array(fractions, dtype=np.float32) * np.float32(1 - miss)
        self.crosstalk, self.not_finite = crosstalk, not_finite
        self.calls = self.segments = 0
        self.largest_batch = 0
        self.heard_peak = 0.0

    def separate_segments(self, segments: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [batch, 2, segment_samples] → float32 [batch, sources, 2, segment_samples]; refuses anything else."""
        if segments.dtype != np.float32 or segments.ndim != 3 or segments.shape[1:] != (2, self.segment_samples):
            raise AssertionError(f"the engine asked with {segments.dtype} {segments.shape}")
        self.calls += 1
        self.segments += len(segments)
        self.largest_batch = max(self.largest_batch, len(segments))
        self.heard_peak = max(self.heard_peak, float(np.abs(segments).max()))
        heard = segments + np.float32(self.crosstalk) * segments[:, ::-1]
        answer = self.fractions[None, :, None, None] * heard[:, None]
        if self.not_finite:
            answer[0, 0, 0, 0] = np.nan
        return answer.astype(np.float32)
