"""Making one level of stems: a parent in, its children written as masters into a stems folder, published as one.

Belongs here: the streaming write, levels, the record. Used for both levels. Does not belong here: Dagster.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assets import keys
from assets.surroundings import Surroundings
from quality.exactness import SumReport, measure_sum
from resources.storage import Storage, read_json, write_json
from stem_pipeline.analysis.loudness import LoudnessMeter
from stem_pipeline.audio import MasterReader, MasterWriter
from stem_pipeline.errors import RunFailed
from stem_pipeline.manifest import ModelRecord
from stem_pipeline.separation.presets import Preset
from stem_pipeline.separation.reader import SampleReader
from stem_pipeline.separation.separator import Separator

_BYTES_PER_SAMPLE = 4
BLOCK_SAMPLES = 1 << 17


@dataclass(frozen=True)
class StemFolder:
    """A finished level. `levels`: by stem, as `LoudnessMeter` gives them. `seconds` is what making it took, 0 if it existed."""

    folder: str
    model: ModelRecord
    stems: tuple[str, ...]
    levels: dict[str, dict[str, float | None]]
    existed: bool
    seconds: float


def make_stems(
    around: Surroundings, folder: str, stage: str, model_name: str, preset: Preset, parent_key: str
) -> StemFolder:
    """Separates the master at `parent_key` into `folder`; if that is there already, says so and does nothing.

    `stage`: `main` or `drums`. Stems are written as they come and become visible together: the record is published
    last. Raises `ModelRefused`, `RunFailed`, `Cancelled`.
    """
    storage = around.storage
    around.models.check_allowed(model_name)
    existing = find_stems(storage, folder)
    if existing:
        return existing
    started = time.monotonic()
    model = around.models.load(model_name)
    with storage.local_copy(parent_key) as file, storage.scratch() as scratch:
        parent = MasterReader(file)
        _check_disk(scratch, parent, len(model.sources))
        meters = {s: LoudnessMeter(parent.sample_rate, parent.channels) for s in model.sources}
        with contextlib.ExitStack() as stack:
            writers = {
                s: stack.enter_context(
                    MasterWriter(scratch / f"{s}.wav", parent.sample_rate, parent.channels, parent.samples)
                )
                for s in model.sources
            }
            blocks = Separator(model, quality=preset.name).stream(
                parent, on_progress=around.on_progress, is_cancelled=around.is_cancelled, stage=stage
            )
            for block in blocks:
                for k, stem in enumerate(model.sources):
                    writers[stem].write(block[k])
                    meters[stem].add(block[k])
        for stem in model.sources:
            storage.publish(keys.stem_audio(folder, stem), scratch / f"{stem}.wav")
    record = {
        "model": asdict(around.models.record(stage, model)),
        "stems": list(model.sources),
        "levels": {stem: meter.result().as_dict() for stem, meter in meters.items()},
    }
    write_json(storage, keys.stems_record(folder), record)
    return _from_record(folder, record, existed=False, seconds=time.monotonic() - started)


def find_stems(storage: Storage, folder: str) -> StemFolder | None:
    """The finished level in `folder`, or None."""
    if not storage.exists(keys.stems_record(folder)):
        return None
    return _from_record(folder, read_json(storage, keys.stems_record(folder)), existed=True, seconds=0.0)


def open_stems(storage: Storage, level: StemFolder, stack: contextlib.ExitStack) -> dict[str, MasterReader]:
    """Readers of all stems of a level, open as long as `stack` is."""
    return {
        stem: MasterReader(stack.enter_context(storage.local_copy(keys.stem_audio(level.folder, stem))))
        for stem in level.stems
    }


def blocks_of(reader: SampleReader):
    """A reader as float32 [channels, n] blocks from start to end."""
    for start in range(0, reader.samples, BLOCK_SAMPLES):
        yield reader.read(start, min(start + BLOCK_SAMPLES, reader.samples))


def measure_level(storage: Storage, level: StemFolder, parent_key: str) -> tuple[SumReport, Mapping[str, Any]]:
    """How exactly the children of a level add up to their parent, and each one's rate and channels against its own."""
    with contextlib.ExitStack() as stack:
        parent = MasterReader(stack.enter_context(storage.local_copy(parent_key)))
        children = open_stems(storage, level, stack)
        report = measure_sum(blocks_of(parent), [blocks_of(c) for c in children.values()])
        shape = {
            "parent": (parent.sample_rate, parent.channels),
            **{stem: (c.sample_rate, c.channels) for stem, c in children.items()},
        }
    return report, shape


def _check_disk(scratch: Path, parent: MasterReader, stems: int) -> None:
    needed = parent.samples * parent.channels * _BYTES_PER_SAMPLE * stems
    free = shutil.disk_usage(scratch).free
    if free < needed * 1.05:
        raise RunFailed(
            "disk_full",
            f"The stems of this song need {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free: make room and run again.",
        )


def _from_record(folder: str, record: dict[str, Any], existed: bool, seconds: float) -> StemFolder:
    return StemFolder(
        folder=folder,
        model=ModelRecord(**record["model"]),
        stems=tuple(record["stems"]),
        levels=record["levels"],
        existed=existed,
        seconds=seconds,
    )
