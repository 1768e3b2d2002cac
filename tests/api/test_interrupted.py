"""Killed in the middle: nothing half written is visible, and the next run is as if nothing had been."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command_line import run_json, start, stop_hard, wait_for
from real_song import falcon


def stems_in_progress(home: Path) -> bool:
    """The main stems are being written: their files are in scratch, under the names of what is not finished."""
    return any((home / "storage" / ".scratch").glob("*/.vocals.wav.*.part"))


@pytest.fixture(scope="module")
def long_song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real song ten times over: a minute, eleven segments, so that a signal arrives while most are still to come."""
    audio, rate = falcon()
    song = tmp_path_factory.mktemp("songs") / "a minute.wav"
    soundfile.write(song, np.tile(audio.T, (10, 1)), rate, subtype="FLOAT")
    return song


def visible_objects(home: Path) -> set[str]:
    storage = home / "storage"
    return {
        f.relative_to(storage).parts[0]
        for f in storage.rglob("*")
        if f.is_file() and ".scratch" not in f.relative_to(storage).parts
    }


@pytest.mark.parametrize("sent", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_in_the_middle_is_coded_and_leaves_nothing(
    sent: signal.Signals, long_song: Path, tmp_path: Path
) -> None:
    home, out = tmp_path / "home", tmp_path / "out"
    process = start("separate", long_song, "-o", out, "--json", home=home)
    try:
        wait_for(lambda: stems_in_progress(home), process)
        process.send_signal(sent)
        output, errors = process.communicate(timeout=30)
    finally:
        stop_hard(process)
    assert process.returncode == 130
    assert json.loads(output)["songs"][0]["error"]["code"] == "cancelled"
    assert "Traceback" not in errors
    assert not out.exists() or not list(out.iterdir())
    assert not list((home / "storage" / ".scratch").iterdir())
    assert "stems" not in visible_objects(home)
    assert "deliveries" not in visible_objects(home)


def test_after_a_kill_the_next_run_sweeps_and_succeeds(long_song: Path, tmp_path: Path) -> None:
    home, out = tmp_path / "home", tmp_path / "out"
    process = start("separate", long_song, "-o", out, "--stems", "vocals", home=home)
    try:
        wait_for(lambda: stems_in_progress(home), process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    finally:
        stop_hard(process)
    assert list((home / "storage" / ".scratch").iterdir())  # it really was killed in the middle
    assert "stems" not in visible_objects(home)
    status, answer, _ = run_json("separate", long_song, "-o", out, "--stems", "vocals", home=home)
    assert status == 0
    assert answer["songs"][0]["verdict"] == "passed"
    assert not list((home / "storage" / ".scratch").iterdir())
    assert [f.name for f in out.iterdir()] == [long_song.stem]

    import dagster as dg

    from resources.dagster_instance import open_instance

    with open_instance(home / "dagster") as instance:
        # The killed run no longer counts as running: it would hold the queue's only place for ever.
        assert sorted(r.status.value for r in instance.get_runs()) == ["FAILURE", "SUCCESS"]
        assert instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])) == []
