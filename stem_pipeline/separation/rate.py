"""Sample-rate conversion block by block, to an exact length and without delay.

Belongs here: the wrapper around soxr that keeps count. Does not belong here: deciding which rate.
"""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray


def converted_length(samples: int, from_rate: int, to_rate: int) -> int:
    """Samples that `samples` at `from_rate` Hz last at `to_rate` Hz, rounded up so that nothing is cut off."""
    return -(-samples * to_rate // from_rate)


class RateConverter:
    """Converts float32 [channels, n] blocks from one rate to another; linear phase, lag 0.

    Exactly `samples_out` samples come out in all: soxr's own count may be one or two off, the end is cut or padded with
    zeros. Equal rates pass through untouched. Quality is soxr's VHQ (28 bit): its error must stay below what the
    consistency step would otherwise have to carry.
    """

    def __init__(self, from_rate: int, to_rate: int, channels: int, samples_out: int) -> None:
        self._left = samples_out
        self._channels = channels
        self._stream = (
            None
            if from_rate == to_rate
            else soxr.ResampleStream(from_rate, to_rate, channels, dtype="float32", quality="VHQ")
        )

    def convert(self, block: NDArray[np.float32], last: bool = False) -> NDArray[np.float32]:
        """The samples that are ready after `block`; with `last`, all that remain."""
        if self._stream is None:
            out = block
        else:
            frames = np.ascontiguousarray(block.T, dtype=np.float32)
            out = self._stream.resample_chunk(frames, last=last).reshape(-1, self._channels).T
        out = out[:, : self._left]
        if last and out.shape[1] < self._left:
            out = np.pad(out, ((0, 0), (0, self._left - out.shape[1])))
        self._left -= out.shape[1]
        return np.ascontiguousarray(out)
