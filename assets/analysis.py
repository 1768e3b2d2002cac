"""The asset `analysis`: tempo, beats, key, loudness, true peak of the source.

Belongs here: the asset. The measuring is `stem_pipeline.analysis`.
"""

import time
from typing import Any

import dagster as dg

from assets import keys
from assets.failures import coded_failures
from assets.partitions import songs
from assets.source import source
from assets.stem_folder import blocks_of
from assets.surroundings import Surroundings
from resources.storage import read_json, write_json
from stem_pipeline.audio import MasterReader

ANALYSIS_VERSION = "1"
"""Raised whenever the analysis answers differently: part of its storage key."""


def analyse_source(around: Surroundings, song: str) -> tuple[dict[str, Any], bool]:
    """The analysis of a decoded song as plain values, and whether it was there before."""
    storage, key = around.storage, keys.analysis(song, ANALYSIS_VERSION)
    if storage.exists(key):
        return read_json(storage, key), True
    from stem_pipeline.analysis.song import analyse

    with storage.local_copy(keys.source_audio(song)) as file:
        reader = MasterReader(file)
        found = analyse(
            blocks_of(reader),
            reader.sample_rate,
            reader.channels,
            on_progress=around.on_progress,
            is_cancelled=around.is_cancelled,
        ).as_dict()
    write_json(storage, key, found)
    return found, False


@dg.asset(partitions_def=songs, deps=[source], group_name="song", kinds={"audio"})
def analysis(context: dg.AssetExecutionContext, surroundings: dg.ResourceParam[Surroundings]) -> dg.MaterializeResult:
    """Tempo with its alternatives, beats, key with its runner-up, loudness, true peak."""
    started = time.monotonic()
    with coded_failures():
        found, existed = analyse_source(surroundings, context.partition_key)
    tempo, key = found.get("tempo"), found.get("key")
    return dg.MaterializeResult(
        metadata={
            "tempo_bpm": tempo["bpm"] if tempo else "unknown",
            "tempo_alternatives": ", ".join(f"{a['bpm']:.1f} ({a['relation']})" for a in tempo["alternatives"])
            if tempo
            else "–",
            "key": key["name"] if key else "unknown",
            "full": found,
            "served_from": "what existed" if existed else "this run",
            "seconds": time.monotonic() - started,
        }
    )
