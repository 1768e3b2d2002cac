"""Dagster's home and the runs that a killed process leaves in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from resources.dagster_instance import close_abandoned_runs, open_instance, prepare_dagster_home, process_tags
from stem_pipeline.errors import RunFailed


def started_run(instance: dg.DagsterInstance, tags: dict[str, str]) -> str:
    job = dg.define_asset_job("a_job").name
    run = dg.DagsterRun(job_name=job, tags=tags, status=dg.DagsterRunStatus.STARTED)
    return instance.add_run(run).run_id


def test_a_file_that_the_operator_changed_stays(tmp_path: Path) -> None:
    home = prepare_dagster_home(tmp_path / "dagster")
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    prepare_dagster_home(home)
    assert (home / "dagster.yaml").read_text() == "telemetry: {enabled: false}\n"
    assert (home / "workspace.yaml").is_file()


def test_the_shipped_instance_opens(tmp_path: Path) -> None:
    with open_instance(tmp_path / "dagster") as instance:
        assert instance.get_runs() == []
        assert instance.run_monitoring_enabled


def test_a_home_that_cannot_be_written_is_refused_with_a_code(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunFailed) as refused:
        prepare_dagster_home(tmp_path / "file" / "dagster")
    assert refused.value.code == "storage_failed"
    assert str(tmp_path) not in refused.value.message


def test_only_runs_of_dead_processes_of_this_host_are_closed() -> None:
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    instance = dg.DagsterInstance.ephemeral()
    abandoned = started_run(instance, {**process_tags(), "stem-pipeline/process": str(dead.pid)})
    alive = started_run(instance, process_tags())
    elsewhere = started_run(instance, {"stem-pipeline/host": "another", "stem-pipeline/process": str(dead.pid)})
    dagsters_own = started_run(instance, {})
    assert process_tags()["stem-pipeline/process"] == str(os.getpid())
    assert close_abandoned_runs(instance) == 1
    status = {run.run_id: run.status for run in instance.get_runs()}
    assert status.pop(abandoned) == dg.DagsterRunStatus.FAILURE
    assert set(status) == {alive, elsewhere, dagsters_own}
    assert set(status.values()) == {dg.DagsterRunStatus.STARTED}
