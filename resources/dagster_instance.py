"""Dagster's home: made from the files in `dagster_home/`, opened for a run in this process.

Belongs here: where the instance lies and how it is configured. Does not belong here: assets.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib import resources as package_files
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from stem_pipeline.errors import RunFailed

if TYPE_CHECKING:
    import dagster as dg

CODE_LOCATION = "assets.definitions"
"""The module in `dagster_home/workspace.yaml`, and so the code location's name."""
_HOST_TAG, _PROCESS_TAG = "stem-pipeline/host", "stem-pipeline/process"


def prepare_dagster_home(home: Path) -> Path:
    """Puts `dagster.yaml` and `workspace.yaml` into `home` where they are missing, and returns it.

    A file that is there is the operator's and stays as it is. Raises `RunFailed` (`storage_failed`).
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        for name in ("dagster.yaml", "workspace.yaml"):
            if not (home / name).exists():
                with package_files.as_file(package_files.files("dagster_home") / name) as shipped:
                    shutil.copyfile(shipped, home / name)
    except OSError as error:
        raise RunFailed(
            "storage_failed",
            f"The folder for Dagster's state cannot be written ({error.strerror}): point STEM_PIPELINE_HOME elsewhere.",
        ) from error
    return home


def open_instance(home: Path) -> dg.DagsterInstance:
    """The instance in `home` for runs inside this process; its log capture is off, because the process has a console."""
    import dagster as dg
    from dagster._core.instance.ref import InstanceRef

    # The one private import: InstanceRef is how an instance is opened with an override of its own file.
    quiet = {
        "compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
    }
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(prepare_dagster_home(home)), overrides=quiet))


def process_tags() -> dict[str, str]:
    """Tags of a run inside this process: who is to be alive for it to be alive."""
    return {_HOST_TAG: platform.node(), _PROCESS_TAG: str(os.getpid())}


def make_rerunnable(instance: dg.DagsterInstance, run_id: str, job: str) -> None:
    """Tells Dagster which code location a run inside this process belongs to, so that its page can run it again.

    A run by `execute_in_process` has no origin, and "Re-execute" fails on it. The names are those the workspace file
    gives rise to; Dagster has no public call for this (the version is pinned, and a test presses the button).
    """
    from dagster._core.remote_origin import (
        ManagedGrpcPythonEnvCodeLocationOrigin,
        RemoteJobOrigin,
        RemoteRepositoryOrigin,
    )
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    run = instance.get_run_by_id(run_id)
    if run is None:
        return
    target = LoadableTargetOrigin(executable_path=sys.executable, module_name=CODE_LOCATION)
    location = ManagedGrpcPythonEnvCodeLocationOrigin(loadable_target_origin=target, location_name=CODE_LOCATION)
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), job)
    instance.run_storage.replace_job_origin(run, origin)


def close_abandoned_runs(instance: dg.DagsterInstance) -> int:
    """Marks runs as failed whose process on this host was killed; returns how many.

    Dagster cannot know of them, shows them as running for ever, and lets each hold the queue's only place.
    """
    import dagster as dg

    started = dg.RunsFilter(tags={_HOST_TAG: platform.node()}, statuses=[dg.DagsterRunStatus.STARTED])
    closed = 0
    for record in instance.get_run_records(started):
        process = record.dagster_run.tags.get(_PROCESS_TAG, "")
        if process.isdigit() and not _runs_in(int(process), record.start_time):
            instance.report_run_failed(record.dagster_run, "The process this ran in was killed.")
            closed += 1
    return closed


def _runs_in(pid: int, start_time: float | None) -> bool:
    """Whether the process `pid` is there and no younger than the run: numbers are given again."""
    try:
        born = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return False
    return start_time is None or born <= start_time
