"""A result folder against its source, from the files alone: the good one passes, and each damage fails its own check."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from result_folders import RATE, ResultFolder, assert_only, failed, late, sha256, smooth_noise

from quality.verification import verify_result
from stem_pipeline.audio import parse_format
from stem_pipeline.errors import AudioRefused, StemPipelineError
from stem_pipeline.manifest import FILE_NAME
from stem_pipeline.stems import ALL_STEMS, DRUM_PARTS, MAIN_STEMS


@pytest.fixture
def result(tmp_path: Path) -> ResultFolder:
    return ResultFolder(tmp_path)


def test_a_good_folder_passes_with_every_check_made(result: ResultFolder) -> None:
    verification = verify_result(result.source, result.folder)
    assert_only(verification.checks, set())
    assert verification.verdict == "passed"
    assert {c.name for c in verification.checks} == {
        "source_hash", "stem_hashes", "delivered_shape", "manifest_verdict",
        *(f"delivered_{level}_{what}" for level in ("main", "drums") for what in ("length", "lag", "sum")),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "depth"), [("wav", "16"), ("wav", "32f"), ("flac", "24"), ("mp3", None), ("opus", None)]
)
def test_good_folders_of_other_formats_pass(tmp_path: Path, name: str, depth: str | None) -> None:
    result = ResultFolder(tmp_path, parse_format(name, depth))
    assert_only(verify_result(result.source, result.folder).checks, set())


@pytest.mark.parametrize("stems", [MAIN_STEMS, ("drums", *DRUM_PARTS), ("vocals",)])
def test_folders_of_some_stems_pass(tmp_path: Path, stems: tuple[str, ...]) -> None:
    result = ResultFolder(tmp_path, stems=stems)
    assert_only(verify_result(result.source, result.folder).checks, set())


# What was encoded is wrong, and the manifest's hashes agree with it: only listening finds it.


def test_all_stems_one_sample_late_fail_lag_and_sum(result: ResultFolder) -> None:
    result.rewrite({s: late(result.stems[s], 1) for s in MAIN_STEMS})
    found = failed(verify_result(result.source, result.folder).checks)
    assert {"delivered_main_lag", "delivered_main_sum"} <= found


def test_one_stem_one_sample_late_fails_the_sum_alone(result: ResultFolder) -> None:
    result.rewrite({"vocals": late(result.stems["vocals"], 1)})
    assert_only(verify_result(result.source, result.folder).checks, {"delivered_main_sum"})


def test_a_drum_part_one_sample_late_fails_the_drums_sum_alone(result: ResultFolder) -> None:
    result.rewrite({"kick": late(result.stems["kick"], 1)})
    assert_only(verify_result(result.source, result.folder).checks, {"delivered_drums_sum"})


def test_a_stem_half_a_decibel_down_fails_the_sum_alone(result: ResultFolder) -> None:
    result.rewrite({"bass": result.stems["bass"] * np.float32(10 ** (-0.5 / 20))})
    assert_only(verify_result(result.source, result.folder).checks, {"delivered_main_sum"})


def test_a_missing_segment_fails_the_sum_alone(result: ResultFolder) -> None:
    hole = result.stems["other"].copy()
    hole[:, 20_000:22_000] = 0
    result.rewrite({"other": hole})
    assert_only(verify_result(result.source, result.folder).checks, {"delivered_main_sum"})


def test_a_stem_cut_short_fails_its_length(result: ResultFolder) -> None:
    result.rewrite({"toms": result.stems["toms"][:, :-1]})
    found = failed(verify_result(result.source, result.folder).checks)
    assert {"delivered_drums_length", "toms_length"} <= found


def test_drums_and_bass_swapped_fail_the_sum_of_the_parts(result: ResultFolder) -> None:
    """The main stems add up in any order: only the parts, which are held against the drums, tell."""
    result.rewrite({"drums": result.stems["bass"], "bass": result.stems["drums"]})
    assert_only(verify_result(result.source, result.folder).checks, {"delivered_drums_sum"})


@pytest.mark.parametrize("name", ["mp3", "opus"])
def test_an_encoder_delay_that_nobody_took_out_fails_the_lag(tmp_path: Path, name: str) -> None:
    """1105 samples: what LAME adds (576 + 529), and a player that ignores its tag leaves in."""
    result = ResultFolder(tmp_path, parse_format(name))
    result.rewrite({s: late(result.stems[s], 1_105) for s in MAIN_STEMS})
    checks = {c.name: c for c in verify_result(result.source, result.folder).checks}
    assert not checks["delivered_main_lag"].passed
    assert checks["delivered_main_lag"].measured == 1_105
    assert checks["delivered_main_length"].passed


@pytest.mark.parametrize("name", ["mp3", "opus"])
def test_a_lossy_stem_that_is_silent_fails_the_sum(tmp_path: Path, name: str) -> None:
    result = ResultFolder(tmp_path, parse_format(name))
    result.rewrite({"drums": 0 * result.stems["drums"]})
    assert "delivered_main_sum" in failed(verify_result(result.source, result.folder).checks)


# The files are not what the manifest says.


def test_swapped_files_fail_the_hashes(result: ResultFolder) -> None:
    drums, bass = result.files["drums"], result.files["bass"]
    held = drums.read_bytes()
    drums.write_bytes(bass.read_bytes())
    bass.write_bytes(held)
    checks = verify_result(result.source, result.folder).checks
    assert failed(checks) == {"stem_hashes", "delivered_drums_sum"}
    (hashes,) = [c for c in checks if c.name == "stem_hashes"]
    assert hashes.measured == "drums differs, bass differs"


def test_one_flipped_bit_fails_the_hashes(result: ResultFolder) -> None:
    file = result.files["vocals"]
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)
    assert "stem_hashes" in failed(verify_result(result.source, result.folder).checks)


def test_a_missing_file_fails_the_hashes_and_is_named(result: ResultFolder) -> None:
    result.files["snare"].unlink()
    checks = verify_result(result.source, result.folder).checks
    assert_only(checks, {"stem_hashes"})
    assert "snare is missing" in [c.measured for c in checks if c.name == "stem_hashes"]


def test_a_file_that_is_no_audio_fails_the_decoding(result: ResultFolder) -> None:
    result.files["bass"].write_bytes(b"no audio" * 1_000)
    result.write_manifest()
    verification = verify_result(result.source, result.folder)
    assert "stems_decode" in failed(verification.checks)
    assert verification.verdict == "failed"


def test_another_source_fails_the_source_hash(result: ResultFolder, tmp_path: Path) -> None:
    import soundfile as sf

    other = tmp_path / "other.wav"
    sf.write(other, smooth_noise(2, result.audio.shape[1], seed=5).T, RATE, subtype="FLOAT")
    found = failed(verify_result(other, result.folder).checks)
    assert {"source_hash", "delivered_main_sum"} <= found


def test_a_manifest_that_says_failed_is_believed(result: ResultFolder) -> None:
    result.write_manifest(verdict="failed")
    assert_only(verify_result(result.source, result.folder).checks, {"manifest_verdict"})


@pytest.mark.parametrize("path", ["../outside.wav", "/etc/outside.wav", "..", "", "x/../../outside.wav", "nul\0.wav"])
def test_a_file_name_that_leads_out_of_the_folder_is_not_followed(result: ResultFolder, path: str) -> None:
    """The good file lies beside the folder: following the name would find all in order."""
    outside = result.folder.parent / "outside.wav"
    shutil.move(result.files["bass"], outside)
    result.files["bass"] = outside
    stems = {s: {**vars(record)} for s, record in result.manifest().stems.items()}
    stems["bass"]["file"] = path
    result.write_manifest(stems=stems)
    assert "stem_hashes" in failed(verify_result(result.source, result.folder).checks)


# There is no manifest to hold the folder against.


def refusal_of(result: ResultFolder) -> StemPipelineError:
    with pytest.raises(StemPipelineError) as refusal:
        verify_result(result.source, result.folder)
    assert str(result.folder.parent) not in refusal.value.message
    return refusal.value


def test_a_folder_without_manifest_is_refused_with_a_code(result: ResultFolder) -> None:
    (result.folder / FILE_NAME).unlink()
    assert refusal_of(result).code == "result_invalid"


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff\xfe\x00", b"[]", b"{}", b"[" * 100_000, b'{"schema": 1}'])
def test_a_manifest_of_garbage_is_refused_with_a_code(result: ResultFolder, content: bytes) -> None:
    (result.folder / FILE_NAME).write_bytes(content)
    assert refusal_of(result).code == "result_invalid"


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": "stem-pipeline/manifest/9"},
        {"song": {}},
        {"song": []},
        {"song": {"id": 5}},
        {"format": {}},
        {"format": {"name": "wav"}},
        {"format": {"name": "exe", "bit_depth": None}},
        {"format": {"name": 7, "bit_depth": None}},
        {"format": {"name": "mp3", "bit_depth": "24"}},
        {"gain": "loud"},
        {"gain": None},
        {"gain": float("nan")},
        {"stems": {}},
    ],
)
def test_a_manifest_that_lacks_what_is_needed_is_refused_with_a_code(
    result: ResultFolder, changes: dict[str, Any]
) -> None:
    result.write_manifest(**changes)
    assert refusal_of(result).code == "result_invalid"


def test_a_stem_whose_file_is_no_name_is_refused_with_a_code(result: ResultFolder) -> None:
    document = json.loads((result.folder / FILE_NAME).read_text())
    document["stems"]["bass"]["file"] = 5
    (result.folder / FILE_NAME).write_text(json.dumps(document))
    assert refusal_of(result).code == "result_invalid"


def test_a_source_that_is_not_there_or_no_song_is_refused_with_a_code(result: ResultFolder, tmp_path: Path) -> None:
    with pytest.raises(AudioRefused) as refusal:
        verify_result(tmp_path / "nothing.wav", result.folder)
    assert refusal.value.code == "audio_not_found"
    text = tmp_path / "text.wav"
    text.write_text("not a song " * 100)
    with pytest.raises(AudioRefused):
        verify_result(text, result.folder)


def test_verifying_changes_no_file(result: ResultFolder) -> None:
    before = {p.name: sha256(p) for p in result.folder.iterdir()}
    verify_result(result.source, result.folder)
    assert {p.name: sha256(p) for p in result.folder.iterdir()} == before
    assert set(before) == {FILE_NAME, *(f"{s}.wav" for s in ALL_STEMS)}
