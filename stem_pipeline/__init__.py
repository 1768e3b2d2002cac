"""The engine as a library: `Separator("htdemucs").separate(audio)` and `separate_drums(audio, sample_rate)`.

Importing this package loads neither torch nor librosa; they come with the first separation or analysis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stem_pipeline.separation.separator import Separator, separate_drums

__all__ = ["Separator", "separate_drums"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in __all__:
        from stem_pipeline.separation import separator

        return getattr(separator, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
