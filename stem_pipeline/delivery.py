"""From masters to deliverables: the stems that were asked for, in the format that was asked for, still adding up.

Belongs here: gain, rounding and encoding in one pass over the masters. Does not belong here: where files go, checks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.audio import Cover, OutputFormat, StemEncoder
from stem_pipeline.progress import IsCancelled, OnProgress, ProgressMeter, ignore_progress, never_cancelled
from stem_pipeline.rounding import round_keeping_sum, round_to_integers
from stem_pipeline.separation.reader import SampleReader
from stem_pipeline.stems import DRUM_PARTS, MAIN_STEMS

_BLOCK = 1 << 18
_THREADS = 4
"""Stems encoded side by side."""


def write_deliverables(
    source: SampleReader,
    masters: Mapping[str, SampleReader],
    wanted: Sequence[str],
    fmt: OutputFormat,
    gain: float,
    folder: Path,
    tags: Mapping[str, dict[str, str]],
    cover: Cover | None = None,
    *,
    on_progress: OnProgress = ignore_progress,
    is_cancelled: IsCancelled = never_cancelled,
) -> dict[str, Path]:
    """Encodes `wanted` into `folder` as `<stem>.<ext>` and returns the files.

    `masters`: all four main stems, and all four drum parts if one of them is wanted; same rate, channels and length as
    `source`. `tags`: by stem. In integer formats the four main stems add up to gain·source and the drum parts to the
    drums stem exactly, whichever of them are wanted. Memory is that of a block; a failure leaves no file.
    """
    bits = fmt.bits if fmt.integer else None
    files = {stem: folder / f"{stem}.{fmt.extension}" for stem in wanted}
    meter = ProgressMeter("encode", max(1, -(-source.samples // _BLOCK)), on_progress, is_cancelled)
    with contextlib.ExitStack() as stack:
        encoders = {
            stem: stack.enter_context(
                StemEncoder(
                    files[stem], fmt, source.sample_rate, source.channels, source.samples, tags.get(stem), cover
                )
            )
            for stem in wanted
        }
        # Each stem is one thread's at a time: codecs and writes leave the interpreter's lock, the bytes stay the same.
        threads = stack.enter_context(ThreadPoolExecutor(max_workers=_THREADS))
        for start in range(0, source.samples, _BLOCK):
            stop = min(start + _BLOCK, source.samples)
            if bits is None:

                def encode(stem: str, start: int = start, stop: int = stop) -> None:
                    encoders[stem].write(masters[stem].read(start, stop) * np.float32(gain))

            else:
                blocks = _integers(source, masters, wanted, start, stop, bits, gain)

                def encode(stem: str, blocks: dict[str, NDArray[np.int32]] = blocks) -> None:  # type: ignore[misc]
                    encoders[stem].write_pcm(blocks[stem])

            list(threads.map(encode, wanted))
            meter.advance()
    return files


def _integers(
    source: SampleReader,
    masters: Mapping[str, SampleReader],
    wanted: Sequence[str],
    start: int,
    stop: int,
    bits: int,
    gain: float,
) -> dict[str, NDArray[np.int32]]:
    whole = round_to_integers(source.read(start, stop), bits, gain)
    blocks = round_keeping_sum(whole, {s: masters[s].read(start, stop) for s in MAIN_STEMS}, bits, gain)
    if any(stem in DRUM_PARTS for stem in wanted):
        parts = {s: masters[s].read(start, stop) for s in DRUM_PARTS}
        blocks |= round_keeping_sum(blocks["drums"], parts, bits, gain)
    return blocks
