"""Is a result folder what its manifest says, and does it add up to its source? From the files alone.

Belongs here: reading the folder and running the checks on it. Nothing of storage or Dagster is needed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from quality.checks import check_equal, verdict
from quality.deliverables import check_deliverables
from stem_pipeline.audio import OutputFormat, open_source, parse_format
from stem_pipeline.errors import AudioRefused, RequestRefused, StemPipelineError
from stem_pipeline.manifest import FILE_NAME, CheckRecord, Manifest
from stem_pipeline.separation.segment_model import Audio


@dataclass(frozen=True)
class Verification:
    checks: list[CheckRecord]

    @property
    def verdict(self) -> str:
        return verdict(self.checks)


def verify_result(source: Path, folder: Path) -> Verification:
    """Holds `folder` (stems and manifest) against the song it was made from.

    Checks the manifest's hashes of source and stems, and of the decoded stems rate, channels, length, lag and both sums
    (each where all of its stems are in the folder). Raises `StemPipelineError` (`result_invalid`) when there is no
    readable manifest, `AudioRefused` when the source is no song.
    """
    manifest = _read_manifest(folder)
    song, fmt, gain = _claims(manifest, folder)
    checks = [check_equal("source_hash", _sha256(source), song, "sha256 of the source")]
    files: dict[str, Path] = {}
    damaged: list[str] = []
    for stem, record in manifest.stems.items():
        file = folder / Path(record.file).name
        if file.is_file():
            files[stem] = file
            if _sha256(file) != record.sha256:
                damaged.append(f"{stem} differs")
        else:
            damaged.append(f"{stem} is missing")
    checks.append(check_equal("stem_hashes", ", ".join(damaged) or "as in the manifest", "as in the manifest", "Files"))

    with open_source(source) as decoder:
        rate, channels = decoder.facts.sample_rate, decoder.facts.channels
        samples = sum(block.shape[1] for block in decoder)
    try:
        checks += check_deliverables(lambda: _decoded(source), {}, files, fmt, rate, channels, samples, gain)
        for stem, file in files.items():
            held = sum(block.shape[1] for block in _stem_blocks(file, rate, samples))
            if held != samples:
                checks.append(check_equal(f"{stem}_length", held, samples, f"Samples of {stem}"))
    except AudioRefused as refusal:
        checks.append(
            CheckRecord("stems_decode", False, refusal.code, None, f"A stem cannot be decoded: {refusal.message}")
        )
    checks.append(check_equal("manifest_verdict", manifest.verdict, "passed", "The manifest's own verdict"))
    return Verification(checks)


def _stem_blocks(file: Path, rate: int, samples: int) -> Iterator[Audio]:
    from stem_pipeline.audio import iterate_stem

    return iterate_stem(file, rate, samples)


def _decoded(source: Path) -> Iterator[Audio]:
    with open_source(source) as decoder:
        yield from decoder


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise AudioRefused("audio_not_found", f"{file.name!r} cannot be read.") from error


def _read_manifest(folder: Path) -> Manifest:
    try:
        return Manifest.from_json((folder / FILE_NAME).read_text(encoding="utf-8"))
    except OSError as error:
        raise StemPipelineError(
            "result_invalid", f"There is no {FILE_NAME} in {folder.name!r}: give a result folder."
        ) from error
    except ValueError as error:
        raise StemPipelineError(
            "result_invalid", f"The {FILE_NAME} in {folder.name!r} cannot be read: {error}."
        ) from error


def _claims(manifest: Manifest, folder: Path) -> tuple[str, OutputFormat, float]:
    """The source's hash, the format and the gain a manifest claims: anybody may have written it, so each is looked at."""
    try:
        song, gain = manifest.song["id"], float(manifest.gain)
        fmt = parse_format(manifest.format["name"], manifest.format["bit_depth"])
    except (KeyError, TypeError, AttributeError, ValueError, RequestRefused) as error:
        raise _unusable(folder) from error
    names = [record.file for record in manifest.stems.values()]
    if not (isinstance(song, str) and 0 < gain < math.inf and names and all(isinstance(n, str) for n in names)):
        raise _unusable(folder)
    return song, fmt, gain


def _unusable(folder: Path) -> StemPipelineError:
    return StemPipelineError(
        "result_invalid", f"The {FILE_NAME} in {folder.name!r} lacks what is to be proven: separate the song again."
    )
