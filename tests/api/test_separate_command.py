"""`stem-pipeline separate` and `verify` on a real song with the real models, as processes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command_line import run, run_json
from conftest import RealRun

from stem_pipeline.stems import ALL_STEMS, MAIN_STEMS


def test_a_real_song_gives_eight_files_and_passes(real_run: RealRun) -> None:
    assert real_run.status == 0
    assert real_run.report["ok"] is True
    (song,) = real_run.report["songs"]
    assert set(song["stems"]) == set(ALL_STEMS)
    assert all(Path(stem["path"]).stat().st_size == stem["bytes"] for stem in song["stems"].values())
    assert all(level is None or level <= -100 for level in song["residual_dbfs"].values())
    assert sorted(f.name for f in Path(song["folder"]).iterdir()) == sorted(
        [*(f"{stem}.wav" for stem in ALL_STEMS), "manifest.json"]
    )
    assert {m["name"] for m in song["models"]} >= {"htdemucs"}


def test_the_result_verifies_from_its_files_alone(real_run: RealRun, tmp_path: Path) -> None:
    folder = real_run.report["songs"][0]["folder"]
    status, answer, _ = run_json("verify", real_run.song, folder, home=tmp_path)
    assert (status, answer["verdict"]) == (0, "passed")
    assert not any(tmp_path.iterdir())  # it needs no state of ours


def test_a_result_with_a_damaged_file_does_not_verify(real_run: RealRun, tmp_path: Path) -> None:
    folder = shutil.copytree(real_run.report["songs"][0]["folder"], tmp_path / "damaged")
    with (folder / "bass.wav").open("r+b") as bass:
        bass.seek(50_000)
        bass.write(bytes(300))
    status, answer, _ = run_json("verify", real_run.song, folder, home=tmp_path)
    assert status == 65
    failed = {check["name"] for check in answer["checks"] if not check["passed"]}
    assert {"stem_hashes", "delivered_main_sum"} <= failed


def test_a_repeat_is_served_from_what_exists_and_says_so(real_run: RealRun, tmp_path: Path) -> None:
    status, out, _ = run("separate", real_run.song, "-o", tmp_path, home=real_run.home)
    assert status == 0
    assert "served    from what existed: " in out
    assert "delivery" in out.partition("from what existed: ")[2].splitlines()[0]
    again = next(tmp_path.iterdir())
    for file in Path(real_run.report["songs"][0]["folder"]).iterdir():
        assert (again / file.name).read_bytes() == file.read_bytes()


def test_one_bad_song_does_not_stop_the_others_and_its_code_is_the_exit_status(
    real_run: RealRun, tmp_path: Path
) -> None:
    (tmp_path / "bad.wav").write_bytes(b"no audio")
    markup = tmp_path / "[bold] x.mp4"
    shutil.copyfile(real_run.song, markup)
    files = [tmp_path / "bad.wav", tmp_path / "missing.wav", markup]
    arguments = ("separate", *files, "-o", tmp_path / "out", "--no-drums", "--format", "flac")
    status, answer, _ = run_json(*arguments, home=real_run.home)
    assert [song.get("error", {}).get("code") for song in answer["songs"]] == [
        "audio_undecodable",
        "audio_not_found",
        None,
    ]
    assert status == 65  # of audio_undecodable, the first to fail
    assert set(answer["songs"][2]["stems"]) == set(MAIN_STEMS)
    assert [f.name for f in (tmp_path / "out").iterdir()] == ["[bold] x"]

    status, out, err = run(*arguments, home=real_run.home)
    assert status == 65
    assert [line.partition(": ")[2].partition(":")[0] for line in err.splitlines()] == [
        "audio_undecodable",
        "audio_not_found",
    ]
    assert "[bold] x.mp4" in out  # a name is no markup


@pytest.mark.parametrize(
    ("arguments", "code", "status"),
    [
        (["separate"], "option_invalid", 64),
        (["separate", "x.wav", "--bogus"], "option_invalid", 64),
        (["separate", "x.wav", "--stems", "banjo"], "stem_unknown", 64),
        (["separate", "x.wav", "--format", "xyz"], "format_unknown", 64),
        (["separate", "x.wav", "--model", "nope"], "model_unknown", 64),
        (["verify", "x.wav", "nowhere"], "result_invalid", 65),
        (["nonsense"], "option_invalid", 64),
    ],
)
def test_every_refusal_is_one_json_object_with_a_code(
    arguments: list[str], code: str, status: int, tmp_path: Path
) -> None:
    found, answer, err = run_json(*arguments, home=tmp_path)
    refusal = answer.get("error") or answer["songs"][0]["error"]
    assert (found, answer["ok"], refusal["code"]) == (status, False, code)
    assert "Traceback" not in err


def test_weights_of_a_refused_licence_are_refused_with_their_code(real_run: RealRun, tmp_path: Path) -> None:
    status, answer, _ = run_json(
        "separate", real_run.song, "-o", tmp_path, home=real_run.home, STEM_PIPELINE_ALLOW_RESEARCH_WEIGHTS="false"
    )
    assert status == 77
    assert answer["songs"][0]["error"]["code"] == "model_licence_refused"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("make", ["a folder that is not ours", "a file"])
def test_an_output_that_cannot_be_ours_is_refused_and_left_alone(make: str, real_run: RealRun, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if make == "a file":
        out.write_text("mine")
    else:
        (out / real_run.song.stem).mkdir(parents=True)
        (out / real_run.song.stem / "mine").write_text("mine")
    status, answer, _ = run_json("separate", real_run.song, "-o", out, home=real_run.home)
    assert status == 64
    assert answer["songs"][0]["error"]["code"] == "option_invalid"
    assert [f.read_text() for f in (*tmp_path.rglob("mine"), out) if f.is_file()] == ["mine"]


def test_models_are_listed_with_licence_and_state(tmp_path: Path) -> None:
    status, answer, _ = run_json("models", "list", home=tmp_path)
    assert status == 0
    htdemucs = next(m for m in answer["models"] if m["name"] == "htdemucs")
    assert "research" in json.dumps(htdemucs["licence"])
    assert htdemucs["state"]
