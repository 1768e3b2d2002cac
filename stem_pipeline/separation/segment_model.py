"""The seam between the engine and the networks: what a separation model must offer, and nothing about how.

Belongs here: the protocol. Everything that plays it (torch, OpenVINO, NMF, the drum network) lives in a file of its own.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]
"""float32 [channels, samples], −1…1 nominal."""


@runtime_checkable
class SegmentModel(Protocol):
    """Separates stereo segments of one fixed length.

    The engine owns everything around it: rate, channels, normalisation, segments, overlap-add, consistency.
    """

    name: str
    """As in the catalogue, for example `htdemucs`."""
    version: str
    """Changes whenever the answer may: part of every storage key."""
    backend: str
    """What computes it, for example `torch-cpu-float32` or `openvino-bf16`: part of the manifest."""
    sources: tuple[str, ...]
    """Stem names, in the order of the output; all children of one parent in `stems.PARENT`."""
    sample_rate: int
    """Hz."""
    segment_samples: int
    """Length of a segment at `sample_rate`."""
    normalised: bool
    """True if the model expects the mixture at zero mean and unit deviation (Demucs does)."""
    preferred_batch: int
    """Segments a call should carry: 1 where batching does not pay (a CPU), more where it does (a GPU)."""

    def separate_segments(self, segments: NDArray[np.float32]) -> NDArray[np.float32]:
        """`segments`: float32 [batch, 2, segment_samples] → float32 [batch, sources, 2, segment_samples].

        Deterministic: the same segment gives the same bytes on the same device, whatever else is in the batch
        up to rounding. Raises `RunFailed` (`device_out_of_memory`) when the device cannot hold the batch.
        """
        ...
