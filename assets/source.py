"""The asset `source`: a song's bytes, decoded once into the working format, its facts kept.

What cannot be a song is refused here, before any separation.
"""

import time

import dagster as dg

from assets import keys
from assets.failures import coded_failures
from assets.metadata import pictures
from assets.partitions import songs
from assets.surroundings import Surroundings
from resources.storage import read_json, write_json
from stem_pipeline.audio import MasterReader, MasterWriter, SourceFacts, open_source
from stem_pipeline.progress import ProgressMeter


def decode_source(around: Surroundings, song: str) -> tuple[SourceFacts, bool]:
    """Facts of the decoded source of `song`, and whether it had been decoded before.

    Raises `AudioRefused` if it is no song, `RunFailed` if storage fails, `Cancelled`.
    """
    storage = around.storage
    if storage.exists(keys.source_facts(song)):
        return SourceFacts.from_dict(read_json(storage, keys.source_facts(song))), True
    with storage.local_copy(keys.original(song)) as file, storage.scratch() as scratch:
        with open_source(file, around.limits) as decoder:
            first = decoder.facts
            expected = max(1, int((decoder.expected_samples or 0) / first.sample_rate))
            meter = ProgressMeter("decode", expected, around.on_progress, around.is_cancelled)
            with MasterWriter(scratch / "source.wav", first.sample_rate, first.channels) as master:
                for block in decoder:
                    master.write(block)
                    meter.advance()
            facts = decoder.facts
        storage.publish(keys.source_audio(song), scratch / "source.wav")
    write_json(storage, keys.source_facts(song), facts.as_dict())
    return facts, False


@dg.asset(partitions_def=songs, group_name="song", kinds={"audio"})
def source(context: dg.AssetExecutionContext, surroundings: dg.ResourceParam[Surroundings]) -> dg.MaterializeResult:
    """The song as it came, decoded: rate, channels and length that every stem will have."""
    started = time.monotonic()
    song = context.partition_key
    with coded_failures():
        facts, existed = decode_source(surroundings, song)
        with surroundings.storage.local_copy(keys.source_audio(song)) as file:
            drawn = pictures(surroundings.storage, keys.song_folder(song), {"mixture": MasterReader(file)})
        record = read_json(surroundings.storage, keys.song_record(song))
    return dg.MaterializeResult(
        metadata={
            "title": record["name"],
            "song_id": record["song_id"],
            "duration_seconds": facts.duration_seconds,
            "sample_rate": facts.sample_rate,
            "channels": facts.channels,
            "samples": facts.samples,
            "bit_depth": facts.bit_depth or facts.sample_format,
            "container": facts.container,
            "codec": facts.codec,
            "uri": surroundings.storage.uri(keys.source_audio(song)),
            "served_from": "what existed" if existed else "the upload",
            "seconds": time.monotonic() - started,
            **drawn,
        }
    )
