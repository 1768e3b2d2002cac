"""Everything that is told of a song before it is separated, in one pass over its blocks.

Belongs here: running the meters side by side. Does not belong here: any formula, any file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.analysis.chroma import PitchMeter
from stem_pipeline.analysis.key import Key, key_of_pitches
from stem_pipeline.analysis.loudness import Levels, LoudnessMeter
from stem_pipeline.analysis.onsets import MonoResampler, OnsetEnvelope
from stem_pipeline.analysis.tempo import Tempo, tempo_of_envelope
from stem_pipeline.progress import IsCancelled, OnProgress, ProgressMeter, ignore_progress, never_cancelled

_PIECE_S = 30  # a reader's block may be the whole song: what is worked on at once stays this short


@dataclass(frozen=True)
class Analysis:
    duration_s: float
    tempo: Tempo
    key: Key
    levels: Levels

    def as_dict(self) -> dict[str, Any]:
        """JSON-safe: None where there is nothing to say, never NaN or infinity."""
        return {
            "duration_s": self.duration_s,
            "tempo": self.tempo.as_dict(),
            "key": self.key.as_dict(),
            "levels": self.levels.as_dict(),
        }


def analyse(
    blocks: Iterable[NDArray[np.float32]],
    sample_rate: int,
    channels: int,
    on_progress: OnProgress = ignore_progress,
    is_cancelled: IsCancelled = never_cancelled,
    total_samples: int = 0,
    rhythm: Iterable[NDArray[np.float32]] | None = None,
) -> Analysis:
    """One pass over float32 [channels, n] blocks of any length. `total_samples`, if known, is for the progress only.

    `rhythm`: the drums stem in the same form, if there is one: where a dense mixture hides the beat, it tells it.

    Memory: constant, but for what tempo and key keep of each second (2 kB; 73 MB for ten hours).
    Raises `AudioRefused` (`audio_not_finite`) and `Cancelled`.
    """
    progress = ProgressMeter("analysis", total_samples, on_progress, is_cancelled)
    loudness, resampler = LoudnessMeter(sample_rate, channels), MonoResampler(sample_rate)
    onsets, pitches = OnsetEnvelope(), PitchMeter()
    samples = 0

    def hear(mono: NDArray[np.float32]) -> None:
        onsets.add(mono)
        pitches.add(mono)

    for block in blocks:
        for start in range(0, block.shape[1], _PIECE_S * sample_rate):
            piece = block[:, start : start + _PIECE_S * sample_rate]
            loudness.add(piece)
            hear(resampler.add(piece))
            samples += piece.shape[1]
            progress.advance(piece.shape[1])
    hear(resampler.add(np.zeros((1, 0), np.float32), last=True))
    drums = None if rhythm is None else _onsets_of(rhythm, sample_rate)
    tempo = tempo_of_envelope(onsets.result(), drums)
    return Analysis(samples / sample_rate, tempo, key_of_pitches(pitches.result()), loudness.result())


def _onsets_of(blocks: Iterable[NDArray[np.float32]], sample_rate: int) -> NDArray[np.float32]:
    resampler, onsets = MonoResampler(sample_rate), OnsetEnvelope()
    for block in blocks:
        for start in range(0, block.shape[1], _PIECE_S * sample_rate):
            onsets.add(resampler.add(block[:, start : start + _PIECE_S * sample_rate]))
    onsets.add(resampler.add(np.zeros((1, 0), np.float32), last=True))
    return onsets.result()
