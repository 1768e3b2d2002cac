"""Is a result folder what its manifest says, and does it add up to its source? From the files alone.

Belongs here: reading the folder and running the checks on it. Nothing of storage or Dagster is needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from quality.checks import check_equal, verdict
from quality.deliverables import check_deliverables
from stem_pipeline.audio import open_source, parse_format
from stem_pipeline.errors import AudioRefused, StemPipelineError
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
    checks = [
        check_equal("source_hash", _sha256(source), manifest.song["id"], "sha256 of the source"),
    ]
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
    fmt = parse_format(manifest.format["name"], manifest.format["bit_depth"])
    try:
        checks += check_deliverables(
            lambda: _decoded(source), {}, files, fmt, rate, channels, samples, float(manifest.gain)
        )
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
