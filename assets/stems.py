"""The assets `main_stems` and `drum_stems`: the two levels of separation, and the checks that prove each adds up.

Belongs here: the assets and their blocking checks. Making a level is stem_folder.py, bounds are quality/checks.py.
"""

import contextlib
from dataclasses import asdict

import dagster as dg

from assets import keys
from assets.failures import coded_failures
from assets.metadata import check_metadata, pictures, table
from assets.partitions import songs
from assets.request import SongRequest
from assets.source import source
from assets.stem_folder import StemFolder, find_stems, make_stems, measure_level, open_stems
from assets.surroundings import Surroundings
from quality.checks import check_equal, check_lag, check_lengths, check_sum
from resources.storage import read_json, write_json
from stem_pipeline.errors import RunFailed
from stem_pipeline.manifest import CheckRecord
from stem_pipeline.stems import PARENT


@dg.asset(partitions_def=songs, deps=[source], group_name="song", kinds={"pytorch"}, pool="separation")
def main_stems(
    context: dg.AssetExecutionContext, surroundings: dg.ResourceParam[Surroundings], request: SongRequest
) -> dg.MaterializeResult:
    """Drums, bass, vocals and other, each as long as the song, adding up to it."""
    song = context.partition_key
    with coded_failures():
        wanted = request.parsed()
        level = make_stems(
            surroundings,
            wanted.main_folder(song),
            "main",
            wanted.model.name,
            wanted.preset,
            keys.source_audio(song),
        )
        return _materialized(surroundings, level)


@dg.asset(partitions_def=songs, deps=[main_stems], group_name="song", kinds={"pytorch"}, pool="separation")
def drum_stems(
    context: dg.AssetExecutionContext, surroundings: dg.ResourceParam[Surroundings], request: SongRequest
) -> dg.MaterializeResult:
    """Kick, snare, cymbals and toms, adding up to the drums stem."""
    song = context.partition_key
    with coded_failures():
        wanted = request.parsed()
        level = make_stems(
            surroundings,
            wanted.drum_folder(song),
            "drums",
            wanted.drum_model.name,
            wanted.preset,
            keys.stem_audio(wanted.main_folder(song), "drums"),
        )
        return _materialized(surroundings, level)


def _materialized(around: Surroundings, level: StemFolder) -> dg.MaterializeResult:
    with contextlib.ExitStack() as stack:
        drawn = pictures(around.storage, level.folder, open_stems(around.storage, level, stack))
    return dg.MaterializeResult(
        metadata={
            "model": f"{level.model.name}@{level.model.version}",
            "backend": level.model.backend,
            "licence": level.model.licence,
            "stems": table([{"stem": s, **level.levels[s]} for s in level.stems]),
            "uri": around.storage.uri(keys.stems_record(level.folder)),
            "served_from": "what existed" if level.existed else "this run",
            "seconds": level.seconds,
            **drawn,
        }
    )


def level_checks(around: Surroundings, folder: str, parent_key: str, *, again: bool = False) -> list[CheckRecord]:
    """The contract on one level's masters: length, rate, channels, lag, sum.

    Measured once and kept beside the masters; `again` measures anew, as an asset check must.
    Raises `RunFailed` (`storage_failed`) if the level is not there.
    """
    kept = keys.stems_checks(folder)
    if not again and around.storage.exists(kept):
        return [CheckRecord(**c) for c in read_json(around.storage, kept)]
    level = find_stems(around.storage, folder)
    if level is None:
        raise RunFailed("storage_failed", "The stems to be checked are not in storage: materialize them first.")
    report, shape = measure_level(around.storage, level, parent_key)
    name = "main" if PARENT[level.stems[0]] == "mixture" else "drums"
    parent_rate, parent_channels = shape["parent"]
    rates, channels = ({shape[s][i] for s in level.stems} for i in (0, 1))
    checks = [
        check_lengths(name, report),
        check_equal(f"{name}_rate", _other(rates, parent_rate), parent_rate, "Rate in Hz"),
        check_equal(f"{name}_channels", _other(channels, parent_channels), parent_channels, "Channels"),
        check_lag(name, report),
        check_sum(name, report),
    ]
    write_json(around.storage, kept, [asdict(c) for c in checks])
    return checks


def _other(found: set[int], expected: int) -> int:
    """The value that is not the expected one, if there is one."""
    return next(iter(found - {expected}), expected)


@dg.asset_check(asset=main_stems, blocking=True, partitions_def=songs)
def main_stems_are_exact(
    context: dg.AssetCheckExecutionContext, surroundings: dg.ResourceParam[Surroundings], request: SongRequest
) -> dg.AssetCheckResult:
    """Main stems have the source's length, rate and channels, lag 0, and add up to it within −100 dBFS."""
    with coded_failures():
        song = context.partition_key
        folder = request.parsed().main_folder(song)
        checks = level_checks(surroundings, folder, keys.source_audio(song), again=True)
    return _checked(checks)


@dg.asset_check(asset=drum_stems, blocking=True, partitions_def=songs)
def drum_stems_are_exact(
    context: dg.AssetCheckExecutionContext, surroundings: dg.ResourceParam[Surroundings], request: SongRequest
) -> dg.AssetCheckResult:
    """Drum parts have the drums stem's length, rate and channels, lag 0, and add up to it within −100 dBFS."""
    with coded_failures():
        song = context.partition_key
        wanted = request.parsed()
        drums = keys.stem_audio(wanted.main_folder(song), "drums")
        checks = level_checks(surroundings, wanted.drum_folder(song), drums, again=True)
    return _checked(checks)


def _checked(checks: list[CheckRecord]) -> dg.AssetCheckResult:
    failed = [c.sentence for c in checks if not c.passed]
    return dg.AssetCheckResult(
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join(failed) or None,
        metadata=check_metadata(checks),
    )
