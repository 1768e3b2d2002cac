"""The asset `delivery`: the stems that were asked for, in the format that was asked for, proven once more as files.

Belongs here: from masters to a published folder with its manifest. The arithmetic of gain and rounding is
`stem_pipeline.delivery`.
"""

import contextlib
import functools
import hashlib
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import dagster as dg

from assets import keys
from assets.analysis import analysis, analysis_key
from assets.failures import coded_failures
from assets.metadata import check_metadata, table
from assets.partitions import songs
from assets.request import ParsedRequest, SongRequest
from assets.source import source
from assets.stem_folder import StemFolder, blocks_of, find_stems, open_stems
from assets.stems import drum_stems, level_checks, main_stems
from assets.surroundings import Surroundings
from quality.checks import verdict
from quality.deliverables import check_deliverables
from resources.storage import read_json
from stem_pipeline import __version__
from stem_pipeline.audio import MasterReader, SourceFacts, check_can_hold, read_cover, stem_tags
from stem_pipeline.delivery import write_deliverables
from stem_pipeline.errors import RunFailed
from stem_pipeline.manifest import FILE_NAME, CheckRecord, Manifest, StemRecord
from stem_pipeline.rounding import shared_gain


def delivery_key(song: str, wanted: ParsedRequest) -> str:
    """Folder of a delivery: the same stems of the same masters in the same format under the same name, the same place."""
    return keys.delivery_folder(
        song,
        keys.digest_of(
            {
                "main": wanted.main_folder(song),
                "drums": wanted.drum_folder(song) if wanted.wants_drum_parts else None,
                "stems": wanted.stems,
                "format": wanted.format.label,
                "title": wanted.title,
                "analysis": analysis_key(song, wanted),
                "code": __version__,
            }
        ),
    )


def deliver(around: Surroundings, song: str, wanted: ParsedRequest) -> tuple[Manifest, bool]:
    """Writes and proves the deliverables of a song; gives their manifest and whether they were there before.

    Raises `RequestRefused` (`format_cannot_hold`), `RunFailed` (`contract_broken`: what was encoded does not hold, and
    nothing is published), `Cancelled`.
    """
    storage, folder = around.storage, delivery_key(song, wanted)
    if storage.exists(f"{folder}/{FILE_NAME}"):
        return Manifest.from_json(storage.read_bytes(f"{folder}/{FILE_NAME}").decode()), True
    facts = SourceFacts.from_dict(read_json(storage, keys.source_facts(song)))
    check_can_hold(wanted.format, facts.sample_rate, facts.channels)
    found = read_json(storage, analysis_key(song, wanted))
    levels = [_level(around, wanted.main_folder(song))]
    checks = level_checks(around, wanted.main_folder(song), keys.source_audio(song))
    if wanted.wants_drum_parts:
        levels.append(_level(around, wanted.drum_folder(song)))
        drums = keys.stem_audio(wanted.main_folder(song), "drums")
        checks += level_checks(around, wanted.drum_folder(song), drums)
    gain = shared_gain(_largest_peak(levels), wanted.format.bits if wanted.format.integer else None)
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(storage.scratch())
        parent = MasterReader(stack.enter_context(storage.local_copy(keys.source_audio(song))))
        masters = {k: v for level in levels for k, v in open_stems(storage, level, stack).items()}
        original = stack.enter_context(storage.local_copy(keys.original(song)))
        title = wanted.title or read_json(storage, keys.song_record(song))["name"]
        files = write_deliverables(
            parent,
            masters,
            wanted.stems,
            wanted.format,
            gain,
            scratch,
            {stem: _tags(facts, stem, title, found) for stem in wanted.stems},
            read_cover(original) if facts.has_cover else None,
            on_progress=around.on_progress,
            is_cancelled=around.is_cancelled,
        )
        checks += check_deliverables(
            lambda: blocks_of(parent),
            {s: functools.partial(blocks_of, masters[s]) for s in wanted.stems},
            files,
            wanted.format,
            facts.sample_rate,
            facts.channels,
            facts.samples,
            gain,
        )
        manifest = _manifest(song, storage, facts, wanted, title, levels, gain, files, found, checks)
        if manifest.verdict != "passed":
            failed = "; ".join(c.sentence for c in checks if not c.passed)
            raise RunFailed("contract_broken", f"The stems failed their proof and are withheld: {failed}.")
        for stem, file in files.items():
            storage.publish(f"{folder}/{manifest.stems[stem].file}", file)
        storage.write_bytes(f"{folder}/{FILE_NAME}", manifest.to_json().encode())
    return manifest, False


def _level(around: Surroundings, folder: str) -> StemFolder:
    level = find_stems(around.storage, folder)
    if level is None:
        raise RunFailed("storage_failed", "The stems to be delivered are not in storage: materialize them first.")
    return level


def _largest_peak(levels: list[StemFolder]) -> float:
    peaks = [x["sample_peak_dbfs"] for level in levels for x in level.levels.values()]
    return max((10 ** (p / 20) for p in peaks if p is not None), default=0.0)


def _tags(facts: SourceFacts, stem: str, title: str, found: Mapping[str, Any]) -> dict[str, str]:
    return stem_tags(facts.tags, stem, title=title, tempo=found["tempo"]["bpm"], key=found["key"]["name"])


def _scaled(level: float | None, gain: float) -> float | None:
    return None if level is None else level + 20 * math.log10(gain)


def _manifest(
    song: str,
    storage: Any,
    facts: SourceFacts,
    wanted: ParsedRequest,
    title: str,
    levels: list[StemFolder],
    gain: float,
    files: dict[str, Path],
    found: dict[str, Any],
    checks: list[CheckRecord],
) -> Manifest:
    record = read_json(storage, keys.song_record(song))
    measured = {stem: level.levels[stem] for level in levels for stem in level.stems}
    fmt = wanted.format
    stems = {}
    for stem, file in files.items():
        with file.open("rb") as handle:
            sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
        stems[stem] = StemRecord(
            file=file.name,
            sha256=sha256,
            bytes=file.stat().st_size,
            sample_rate=facts.sample_rate,
            channels=facts.channels,
            samples=facts.samples,
            peak_dbfs=_scaled(measured[stem]["sample_peak_dbfs"], gain),
            true_peak_dbtp=_scaled(measured[stem]["true_peak_dbtp"], gain),
            integrated_lufs=_scaled(measured[stem]["integrated_lufs"], gain),
            silent=measured[stem]["sample_peak_dbfs"] is None,
        )
    return Manifest(
        song={"id": record["song_id"], "title": title, "bytes": record["bytes"]},
        source=facts.as_dict(),
        models=[replace(level.model) for level in levels],
        settings={"stems": list(wanted.stems), **asdict(wanted.preset)},
        format={"name": fmt.name, "bit_depth": fmt.bit_depth, "lossless": fmt.lossless},
        gain=gain,
        stems=stems,
        analysis=found,
        checks=checks,
        verdict=verdict(checks),
        code_version=__version__,
    )


@dg.asset(
    partitions_def=songs,
    deps=[source, analysis, main_stems, drum_stems],
    group_name="song",
    kinds={"audio"},
)
def delivery(
    context: dg.AssetExecutionContext, surroundings: dg.ResourceParam[Surroundings], request: SongRequest
) -> dg.MaterializeResult:
    """The stems asked for, encoded, tagged, decoded again and proven, with their manifest."""
    started = time.monotonic()
    song = context.partition_key
    with coded_failures():
        wanted = request.parsed()
        manifest, existed = deliver(surroundings, song, wanted)
    folder = delivery_key(song, wanted)
    return dg.MaterializeResult(
        metadata={
            "verdict": manifest.verdict,
            "stems": table([{"stem": s, **asdict(manifest.stems[s])} for s in wanted.stems]),
            "format": wanted.format.label,
            "gain": manifest.gain,
            "key": folder,
            "uri": surroundings.storage.uri(f"{folder}/{FILE_NAME}"),
            "served_from": "what existed" if existed else "this run",
            "seconds": time.monotonic() - started,
            **check_metadata(manifest.checks),
        }
    )


@dg.asset_check(asset=delivery, blocking=True, partitions_def=songs)
def delivery_holds(
    context: dg.AssetCheckExecutionContext, surroundings: dg.ResourceParam[Surroundings], request: SongRequest
) -> dg.AssetCheckResult:
    """Every file of the delivery is there with the manifest's hash, and the manifest's own verdict is `passed`."""
    song = context.partition_key
    with coded_failures():
        folder = delivery_key(song, request.parsed())
        manifest = Manifest.from_json(surroundings.storage.read_bytes(f"{folder}/{FILE_NAME}").decode())
        damaged = []
        for stem, record in manifest.stems.items():
            with surroundings.storage.local_copy(f"{folder}/{record.file}") as file, file.open("rb") as handle:
                if hashlib.file_digest(handle, "sha256").hexdigest() != record.sha256:
                    damaged.append(stem)
    return dg.AssetCheckResult(
        passed=not damaged and manifest.verdict == "passed",
        metadata={"verdict": manifest.verdict, "damaged": damaged, **check_metadata(manifest.checks)},
    )
