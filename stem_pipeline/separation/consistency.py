"""Makes stems add up to their mixture, exactly.

Belongs here: who gets the residual (mixture − Σ estimates). Does not belong here: rounding to a format's depth
(delivery does that, and keeps the sum too).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.separation.segment_model import Audio
from stem_pipeline.stems import PARENT, REMAINDER


class Consistency:
    """Hands the residual to the remainder stem of the sources' parent (`stems.REMAINDER`)."""

    def __init__(self, sources: tuple[str, ...]) -> None:
        parents = {PARENT[s] for s in sources}
        if len(parents) != 1:
            raise ValueError(f"the sources {sources} are not parts of one signal")
        self._remainder = sources.index(REMAINDER[parents.pop()])

    def apply(self, mixture: Audio, estimates: NDArray[np.float32]) -> NDArray[np.float32]:
        """`mixture` float32 [channels, n], `estimates` float32 [sources, channels, n] → the same shape.

        Σ sources = mixture up to float32's rounding of the remainder (about −150 dB below it).
        """
        out = estimates.copy()
        k = self._remainder
        others = np.delete(out, k, axis=0).sum(axis=0, dtype=np.float64)
        out[k] = mixture - others
        return out
