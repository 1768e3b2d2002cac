"""The asset `analysis`: tempo, beats, key, loudness, true peak of the source.

Belongs here: the asset. The measuring is `stem_pipeline.analysis`. It comes after `main_stems`, because the drums stem
tells a beat that a dense mixture hides: of "Falcon 69" the mixture alone gives no tempo at all, with its drums
117.6 BPM.
"""

import contextlib
import time
from typing import Any

import dagster as dg

from assets import keys
from assets.failures import coded_failures
from assets.partitions import songs
from assets.request import ParsedRequest, SongRequest
from assets.source import source
from assets.stem_folder import blocks_of
from assets.stems import main_stems
from assets.surroundings import Surroundings
from resources.storage import read_json, write_json
from stem_pipeline.audio import MasterReader

ANALYSIS_VERSION = "1"
"""Raised whenever the analysis answers differently: part of its storage key."""


def analysis_key(song: str, wanted: ParsedRequest) -> str:
    """Where the analysis lies: it depends on the drums stem it listened to."""
    return keys.analysis(song, ANALYSIS_VERSION, keys.digest_of(wanted.main_folder(song)))


def analyse_song(around: Surroundings, song: str, wanted: ParsedRequest) -> tuple[dict[str, Any], bool]:
    """The analysis of a separated song as plain values, and whether it was there before."""
    storage, key = around.storage, analysis_key(song, wanted)
    if storage.exists(key):
        return read_json(storage, key), True
    from stem_pipeline.analysis.song import analyse

    drums_key = keys.stem_audio(wanted.main_folder(song), "drums")
    with contextlib.ExitStack() as stack:
        reader = MasterReader(stack.enter_context(storage.local_copy(keys.source_audio(song))))
        drums = MasterReader(stack.enter_context(storage.local_copy(drums_key)))
        found = analyse(
            blocks_of(reader),
            reader.sample_rate,
            reader.channels,
            on_progress=around.on_progress,
            is_cancelled=around.is_cancelled,
            total_samples=reader.samples,
            rhythm=blocks_of(drums),
        ).as_dict()
    write_json(storage, key, found)
    return found, False


@dg.asset(partitions_def=songs, deps=[source, main_stems], group_name="song", kinds={"audio"})
def analysis(
    context: dg.AssetExecutionContext, surroundings: dg.ResourceParam[Surroundings], request: SongRequest
) -> dg.MaterializeResult:
    """Tempo with its alternatives, beats, key with its runner-up, loudness, true peak."""
    started = time.monotonic()
    with coded_failures():
        found, existed = analyse_song(surroundings, context.partition_key, request.parsed())
    tempo, key = found["tempo"], found["key"]
    return dg.MaterializeResult(
        metadata={
            "tempo_bpm": tempo["bpm"] or "unknown",
            "tempo_alternatives": ", ".join(f"{a['bpm']:.1f} ({a['relation']})" for a in tempo["alternatives"]) or "–",
            "key": key["name"] or "unknown",
            "full": found,
            "served_from": "what existed" if existed else "this run",
            "seconds": time.monotonic() - started,
        }
    )
