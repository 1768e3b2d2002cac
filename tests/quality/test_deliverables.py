"""A run's own proof: every file decoded again and held against its master."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from result_folders import ResultFolder, assert_only, failed, late

from quality.verification import verify_result
from stem_pipeline.audio import parse_format
from stem_pipeline.errors import AudioRefused
from stem_pipeline.stems import ALL_STEMS, DRUM_PARTS, MAIN_STEMS

HALF_A_DECIBEL = np.float32(10 ** (-0.5 / 20))


FORMS = [
    ("wav", "16"), ("wav", "24"), ("wav", "32f"), ("flac", "16"), ("flac", "24"),
    ("mp3", None), ("opus", None), ("ogg", None), ("m4a", None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "depth"), FORMS)
def test_what_was_delivered_well_passes_every_check(tmp_path: Path, name: str, depth: str | None) -> None:
    checks = ResultFolder(tmp_path, parse_format(name, depth)).checks()
    assert_only(checks, set())
    assert {c.name for c in checks} == {
        "delivered_shape",
        *(f"delivered_{level}_{what}" for level in ("main", "drums") for what in ("length", "lag", "sum")),
    }


@pytest.mark.parametrize(("name", "depth"), FORMS[:5])
def test_a_song_over_full_scale_passes_with_its_gain(tmp_path: Path, name: str, depth: str | None) -> None:
    result = ResultFolder(tmp_path, parse_format(name, depth), level=5)
    assert (result.gain < 1) == (depth != "32f")
    assert_only(result.checks(), set())
    assert_only(verify_result(result.source, result.folder).checks, set())


@pytest.mark.parametrize("stem", ["vocals", "kick"])
def test_a_stem_without_its_siblings_is_held_against_its_master(tmp_path: Path, stem: str) -> None:
    result = ResultFolder(tmp_path, stems=(stem,))
    assert {c.name for c in result.checks()} == {"delivered_shape", f"delivered_{stem}_length", f"delivered_{stem}_lag"}
    assert_only(result.checks(), set())
    result.rewrite({stem: late(result.stems[stem], 1)})
    assert_only(result.checks(), {f"delivered_{stem}_lag"})


@pytest.mark.parametrize("format_name", ["wav", "opus"])
def test_a_stem_of_another_length_is_told_from_its_file(tmp_path: Path, format_name: str) -> None:
    result = ResultFolder(tmp_path, parse_format(format_name))
    result.rewrite({"bass": result.stems["bass"][:, :-2_000]})
    assert "delivered_main_length" in failed(result.checks())


def test_a_stem_of_another_rate_or_width_fails_the_shape(tmp_path: Path) -> None:
    result = ResultFolder(tmp_path, stems=("bass",))
    result.rewrite({"bass": result.stems["bass"]}, rate=48_000)
    assert "delivered_shape" in failed(result.checks())
    result.rewrite({"bass": result.stems["bass"][:1]})
    assert "delivered_shape" in failed(result.checks())


def test_half_a_decibel_too_quiet_fails_the_sum_alone(tmp_path: Path) -> None:
    result = ResultFolder(tmp_path)
    result.rewrite({"vocals": result.stems["vocals"] * HALF_A_DECIBEL})
    assert_only(result.checks(), {"delivered_main_sum"})
    result.rewrite({"vocals": result.stems["vocals"], "snare": result.stems["snare"] * HALF_A_DECIBEL})
    assert_only(result.checks(), {"delivered_drums_sum"})


def test_a_file_that_is_no_audio_is_refused_with_a_code(tmp_path: Path) -> None:
    result = ResultFolder(tmp_path, stems=("bass",))
    result.files["bass"].write_bytes(b"not audio at all" * 100)
    with pytest.raises(AudioRefused):
        result.checks()


def test_silent_stems_pass(tmp_path: Path) -> None:
    result = ResultFolder(tmp_path)
    silence = np.zeros_like(result.audio)
    result.audio = silence
    result.stems = dict.fromkeys(ALL_STEMS, silence)
    result.rewrite(result.stems)
    assert_only(result.checks(), set())


@pytest.mark.parametrize("level", [MAIN_STEMS, ("drums", *DRUM_PARTS)])
def test_only_complete_sums_are_summed(tmp_path: Path, level: tuple[str, ...]) -> None:
    names = {c.name for c in ResultFolder(tmp_path, stems=level).checks()}
    assert ("delivered_main_sum" in names) == (level == MAIN_STEMS)
    assert ("delivered_drums_sum" in names) == (level != MAIN_STEMS)
