"""Dagster's home: made from the files in `dagster_home/`, opened for a run in this process.

Belongs here: where the instance lies and how it is configured. Does not belong here: assets.
"""

from __future__ import annotations

import shutil
from importlib import resources as package_files
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg


def prepare_dagster_home(home: Path) -> Path:
    """Puts `dagster.yaml` and `workspace.yaml` into `home` where they are missing, and returns it.

    A file that is there is the operator's and stays as it is.
    """
    home.mkdir(parents=True, exist_ok=True)
    for name in ("dagster.yaml", "workspace.yaml"):
        if not (home / name).exists():
            with package_files.as_file(package_files.files("dagster_home") / name) as shipped:
                shutil.copyfile(shipped, home / name)
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
