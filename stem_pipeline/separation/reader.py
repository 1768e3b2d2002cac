"""Random access to a mixture, in memory or on disk.

Belongs here: the protocol and the in-memory reader. The one on disk is `audio.MasterReader`.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from stem_pipeline.separation.segment_model import Audio


class SampleReader(Protocol):
    """A signal of known rate (Hz), channels and length that can be read anywhere."""

    @property
    def sample_rate(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def samples(self) -> int: ...

    def read(self, start: int, stop: int) -> Audio:
        """float32 [channels, stop − start], with 0 ≤ start ≤ stop ≤ samples."""
        ...


class ArrayReader:
    """A `SampleReader` over float32 [channels, samples] in memory (float64 and integers are converted, not scaled).

    Raises ValueError for another shape.
    """

    def __init__(self, audio: Audio, sample_rate: int) -> None:
        if audio.ndim != 2 or audio.shape[0] < 1 or sample_rate < 1:
            raise ValueError(f"audio is [channels, samples] at a rate in Hz, not {audio.shape} at {sample_rate}")
        self._audio = np.asarray(audio, dtype=np.float32)
        self.sample_rate = sample_rate

    @property
    def channels(self) -> int:
        return self._audio.shape[0]

    @property
    def samples(self) -> int:
        return self._audio.shape[1]

    def read(self, start: int, stop: int) -> Audio:
        return self._audio[:, start:stop]
