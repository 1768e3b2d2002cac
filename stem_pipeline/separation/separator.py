"""The public face of the engine: a model by name, audio in, stems out.

Belongs here: `Separator` and `separate_drums`. The flow is engine.py's; which class computes a model is load.py's.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.progress import IsCancelled, OnProgress, ignore_progress, never_cancelled
from stem_pipeline.separation.engine import separate_stream
from stem_pipeline.separation.load import DEFAULT_DRUM_MODEL, load_model
from stem_pipeline.separation.presets import find_preset
from stem_pipeline.separation.reader import ArrayReader, SampleReader
from stem_pipeline.separation.segment_model import Audio, SegmentModel


class Separator:
    """Takes a signal apart into stems that have its rate, channels and length, lag 0, and add up to it.

    `model`: a name from the catalogue, or anything that plays `SegmentModel`. `quality`: `fast`, `standard` or `best`.
    `device`: `auto`, `cpu` or `cuda`. Weights are fetched once, with progress, and checked by sha256.
    Raises `ModelRefused` when they cannot be had or their licence is refused, `RequestRefused` for unknown names.

    >>> stems = Separator("htdemucs").separate(audio, 44_100)  # doctest: +SKIP
    >>> stems["vocals"].shape == audio.shape  # doctest: +SKIP
    True
    """

    def __init__(
        self,
        model: str | SegmentModel = "htdemucs",
        *,
        quality: str = "standard",
        device: str = "auto",
        allow_research_weights: bool = True,
        on_progress: OnProgress = ignore_progress,
    ) -> None:
        self.preset = find_preset(quality)
        self.model: SegmentModel = (
            load_model(model, device=device, allow_research_weights=allow_research_weights, on_progress=on_progress)
            if isinstance(model, str)
            else model
        )

    @property
    def sources(self) -> tuple[str, ...]:
        return self.model.sources

    def separate(
        self,
        audio: Audio,
        sample_rate: int = 44_100,
        *,
        on_progress: OnProgress = ignore_progress,
        is_cancelled: IsCancelled = never_cancelled,
    ) -> dict[str, Audio]:
        """`audio`: float32 [channels, samples] at `sample_rate` Hz → {stem: float32 [channels, samples]}.

        Raises ValueError for another shape, `Cancelled`, `RunFailed`.
        """
        reader = ArrayReader(audio, sample_rate)
        out = np.zeros((len(self.sources), reader.channels, reader.samples), dtype=np.float32)
        position = 0
        for block in self.stream(reader, on_progress=on_progress, is_cancelled=is_cancelled):
            out[..., position : position + block.shape[-1]] = block
            position += block.shape[-1]
        return dict(zip(self.sources, out, strict=True))

    def stream(
        self,
        mixture: SampleReader,
        *,
        on_progress: OnProgress = ignore_progress,
        is_cancelled: IsCancelled = never_cancelled,
        stage: str = "separation",
    ) -> Iterator[NDArray[np.float32]]:
        """The same for a signal of any length: float32 [sources, channels, n] blocks in order, in bounded memory."""
        return separate_stream(
            self.model,
            mixture,
            overlap=self.preset.overlap,
            on_progress=on_progress,
            is_cancelled=is_cancelled,
            stage=stage,
        )


def separate_drums(audio: Audio, sample_rate: int, *, model: str = DEFAULT_DRUM_MODEL) -> dict[str, Audio]:
    """Takes a drums stem apart: float32 [channels, samples] → {kick, snare, cymbals, toms: same shape}, adding up to it.

    Does what the pipeline's `drum_stems` asset does, in memory. Errors as `Separator`.
    """
    return Separator(model).separate(audio, sample_rate)
