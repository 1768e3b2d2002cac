"""One song through the job `separate_song` in this process: what the command line calls, and what a worker would.

Belongs here: launching and reading back the run. Does not belong here: printing, folders of the caller.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from assets.analysis import analysis
from assets.definitions import build_defs
from assets.delivery import delivery, delivery_key
from assets.failures import refusal_of
from assets.ingest import ingest
from assets.jobs import separate_song
from assets.partitions import songs
from assets.request import SongRequest
from assets.source import source
from assets.stems import drum_stems, main_stems
from assets.surroundings import Surroundings
from resources.dagster_instance import make_rerunnable, process_tags
from stem_pipeline.errors import Cancelled
from stem_pipeline.manifest import FILE_NAME, Manifest


@dataclass(frozen=True)
class SongRun:
    """A finished run. `folder`: storage key of the delivery. `seconds`: by stage, `dagster` being what is left of `total`.

    `reused`: assets that were served from what existed.
    """

    song: str
    folder: str
    manifest: Manifest
    run_id: str
    seconds: dict[str, float]
    reused: tuple[str, ...]


class SongRunner:
    """Runs songs one after the other on one instance, the models staying loaded between them."""

    def __init__(self, instance: dg.DagsterInstance, around: Surroundings) -> None:
        self._instance, self._around = instance, around
        definitions = build_defs(resource_overrides={"surroundings": around})
        self._job = definitions.resolve_job_def(separate_song.name)

    def run(self, file: Path, request: dict[str, Any]) -> SongRun:
        """`request`: fields of `SongRequest`. Raises the coded refusal of whatever failed; nothing is then delivered."""
        started = time.monotonic()
        around = self._around
        wanted = SongRequest(**request).parsed()
        song = ingest(around.storage, file, around.limits)
        self._instance.add_dynamic_partitions(str(songs.name), [song])
        selection = [a.key for a in (source, analysis, main_stems, delivery)]
        if wanted.wants_drum_parts:
            selection.insert(3, drum_stems.key)
        run_id = str(uuid.uuid4())
        try:
            result = self._job.execute_in_process(
                run_id=run_id,
                instance=self._instance,
                partition_key=song,
                asset_selection=selection,
                tags={**process_tags(), "stem-pipeline/song": wanted.title or file.stem},
                raise_on_error=False,
                run_config={
                    "resources": {"request": {"config": request}},
                    # The events are in the instance; a console has progress bars instead.
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                },
            )
        except dg.DagsterExecutionInterruptedError as interrupt:
            raise Cancelled() from interrupt
        finally:
            make_rerunnable(self._instance, run_id, separate_song.name)
        if not result.success:
            raise refusal_of(result)
        seconds: dict[str, float] = {}
        reused: list[str] = []
        for event in result.get_asset_materialization_events():
            made = event.step_materialization_data.materialization
            name = made.asset_key.path[-1]
            seconds[name] = _number(made.metadata["seconds"])
            if made.metadata["served_from"].value == "what existed":
                reused.append(name)
        total = time.monotonic() - started
        folder = delivery_key(song, wanted)
        manifest = Manifest.from_json(around.storage.read_bytes(f"{folder}/{FILE_NAME}").decode())
        return SongRun(
            song=song,
            folder=folder,
            manifest=manifest,
            run_id=result.run_id,
            seconds={**seconds, "dagster": max(0.0, total - sum(seconds.values())), "total": total},
            reused=tuple(reused),
        )


def _number(value: dg.MetadataValue) -> float:
    """The float inside a metadata value that this package wrote as one."""
    if not isinstance(value, dg.FloatMetadataValue) or value.value is None:
        raise TypeError("a duration in metadata is no float")
    return value.value
