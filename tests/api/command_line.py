"""The command line as a person starts it: a process of its own, in a home of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "api.cli"]


def start(*arguments: str | Path, home: Path, **variables: str) -> subprocess.Popen[str]:
    # A group of its own: what is sent to it reaches it and its children, and not pytest.
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env={**os.environ, "STEM_PIPELINE_HOME": str(home), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(*arguments: str | Path, home: Path, **variables: str) -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    process = start(*arguments, home=home, **variables)
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def run_json(*arguments: str | Path, home: Path, **variables: str) -> tuple[int, dict[str, Any], str]:
    """Exit status, the one JSON object on standard output (anything else there fails), standard error."""
    status, out, err = run(*arguments, "--json", home=home, **variables)
    return status, json.loads(out), err


def wait_for(holds: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120) -> None:
    """Returns as soon as `holds()`; fails if the process ends before, or time runs out."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert process.poll() is None, f"it ended before: {process.communicate()}"
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


def stop_hard(process: subprocess.Popen[str]) -> None:
    """For a test's end: whatever is left of the process and its children."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
