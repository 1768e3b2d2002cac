"""Deliverables read back at their source's rate, to compare them with what they were made from.

Belongs here: decoding a stem for proof. Does not belong here: the comparison itself.

A codec of one fixed rate (Opus: 48 kHz) holds ⌈samples · 48000 / rate⌉ samples; its length is compared after the conversion
back, here, where exactly `samples` come out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from stem_pipeline.audio.decode import open_source
from stem_pipeline.audio.limits import Limits

Audio = npt.NDArray[np.float32]


def iterate_stem(
    path: str | os.PathLike[str], sample_rate: int, samples: int | None = None, limits: Limits | None = None
) -> Iterator[Audio]:
    """float32 blocks [channels, n] of a deliverable at `sample_rate` Hz; memory is that of a block.

    A file of that rate is given as it is, whatever `samples` says. Another rate is converted with soxr, and the last sample or
    two, which only rounding decides, are cut or zero-filled to `samples`; without it, ⌊held · sample_rate / held rate⌋.
    Raises as `open_source`.
    """
    import soxr

    with open_source(path, limits) as source:
        facts = source.facts
        if facts.sample_rate == sample_rate:
            yield from source
            return
        stream = soxr.ResampleStream(facts.sample_rate, sample_rate, facts.channels, dtype="float32", quality="HQ")
        given = held = 0
        # Held back: what rounding may cut from the end.
        slack = 2 + sample_rate // facts.sample_rate
        kept = np.zeros((facts.channels, 0), np.float32)
        for block in source:
            held += block.shape[1]
            kept = np.concatenate([kept, stream.resample_chunk(np.ascontiguousarray(block.T)).T], axis=1)
            if kept.shape[1] > slack:
                given += kept.shape[1] - slack
                yield np.ascontiguousarray(kept[:, :-slack])
                kept = kept[:, -slack:]
        kept = np.concatenate(
            [kept, stream.resample_chunk(np.zeros((0, facts.channels), np.float32), last=True).T], axis=1
        )
        exact = held * sample_rate // facts.sample_rate
        # Only rounding is corrected: a deliverable that is really too short or too long keeps its wrong length.
        if samples is not None and -slack <= exact - samples <= slack:
            exact = samples
        tail = exact - given
        if tail > kept.shape[1]:
            kept = np.pad(kept, ((0, 0), (0, tail - kept.shape[1])))
        yield np.ascontiguousarray(kept[:, : max(tail, 0)])


def read_stem(
    path: str | os.PathLike[str], sample_rate: int, samples: int | None = None, limits: Limits | None = None
) -> Audio:
    """A whole deliverable, float32 [channels, samples]: `iterate_stem` joined."""
    return np.concatenate(list(iterate_stem(path, sample_rate, samples, limits)), axis=1)
