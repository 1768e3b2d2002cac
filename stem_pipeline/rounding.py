"""From float stems to integers of a format's depth such that children still add up to their parent, to the last bit.

Belongs here: the shared gain and the sum-keeping rounding. Does not belong here: files.

Rounding each stem for itself leaves √4 times one format's rounding error in the sum: −95 dBFS at 16 bit. Here all
children but the remainder are rounded, and the remainder takes what is left of the rounded parent: the integers add
up exactly, at any depth, and the remainder's own error is at most 2 steps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.stems import PARENT, REMAINDER

_MARGIN_STEPS = 4
"""Steps kept free below full scale: what sum-keeping rounding may add to the remainder (½ a step for each of four signals)."""


def shared_gain(largest_peak: float, bits: int | None) -> float:
    """One gain for every stem of a song: 1.0 unless `largest_peak` (linear, over all its stems) would clip.

    `bits`: the format's integer depth, None for floating point, which cannot clip. Never above 1, never per stem.
    """
    if bits is None:
        return 1.0
    ceiling = 1 - _MARGIN_STEPS / 2 ** (bits - 1)
    return 1.0 if largest_peak <= ceiling else ceiling / largest_peak


def round_to_integers(signal: NDArray[np.floating], bits: int, gain: float = 1.0) -> NDArray[np.int64]:
    """Nearest integers of gain·signal at `bits` depth (full scale 2^(bits−1)); same shape, not saturated.

    A source may exceed full scale where none of its stems does: as a parent it is never written, so it is never cut.
    """
    return np.rint(signal.astype(np.float64) * (gain * 2.0 ** (bits - 1))).astype(np.int64)


def round_keeping_sum(
    parent: NDArray[np.integer], children: dict[str, NDArray[np.floating]], bits: int, gain: float = 1.0
) -> dict[str, NDArray[np.int32]]:
    """Integers of gain·children that add up to `parent` exactly: {stem: int32 [channels, n]}.

    `parent`: the parent signal already as integers of the same depth and gain. `children`: all children of one parent
    (`stems.PARENT`), float [channels, n]; the remainder among them is not read: it is what the others leave. Saturates
    (and loses the sum at that sample) only if the gain did not come from `shared_gain`.
    """
    remainder = REMAINDER[PARENT[next(iter(children))]]
    scale = 2 ** (bits - 1)
    left = parent.astype(np.int64)
    rounded: dict[str, NDArray[np.int32]] = {}
    for stem, signal in children.items():
        if stem != remainder:
            rounded[stem] = np.clip(round_to_integers(signal, bits, gain), -scale, scale - 1).astype(np.int32)
            left -= rounded[stem]
    rounded[remainder] = np.clip(left, -scale, scale - 1).astype(np.int32)
    return {stem: rounded[stem] for stem in children}
