"""`stem-pipeline up`: Dagster's UI and daemon on this installation's home.

Belongs here: starting the two processes, waiting until they answer, stopping them. Does not belong here: what they do.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from api import console
from resources.dagster_instance import prepare_dagster_home
from resources.settings import read_settings
from stem_pipeline.errors import RequestRefused, RunFailed

_START_SECONDS = 90
_STOP_SECONDS = 20


def up(port: int) -> int:
    """Starts both, prints the address once the UI answers, and waits; Ctrl-C or SIGTERM stops both cleanly (0).

    Raises `RequestRefused` (`option_invalid`) if the port is taken, `RunFailed` (`internal`) if one of them ends.
    """
    _check_port(port)
    settings = read_settings()
    home = prepare_dagster_home(settings.dagster_home)
    _close_abandoned_runs(home)
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(home.resolve()),
        "STEM_PIPELINE_HOME": str(settings.home.expanduser().resolve()),
        "PYTHONWARNINGS": "ignore",
    }
    workspace = str(home.resolve() / "workspace.yaml")
    binaries = Path(sys.executable).parent
    commands = {
        "web page": [str(binaries / "dagster-webserver"), "-h", "127.0.0.1", "-p", str(port), "-w", workspace],
        "daemon": [str(binaries / "dagster-daemon"), "run", "-w", workspace],
    }
    # SIGTERM (a service manager) and Ctrl-C end the same way; a shell that starts us in the background ignores SIGINT.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    log = home / "up.log"
    with log.open("ab") as sink:
        running = {
            name: subprocess.Popen(
                command,
                env=environment,
                cwd=home,
                stdout=sink,
                stderr=sink,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            for name, command in commands.items()
        }
        try:
            _wait_until_answering(port, running)
            out = console.output()
            out.print(f"Dagster's UI: http://127.0.0.1:{port}   (home: {settings.home})", highlight=False)
            out.print("Ctrl-C stops both. What they log is in dagster/up.log in that home.", highlight=False)
            while True:
                _check_running(running)
                time.sleep(1)
        except KeyboardInterrupt:
            return 0
        finally:
            _stop(running)


def _close_abandoned_runs(home: Path) -> None:
    """A killed run would hold the queue's only place for ever. Dagster is imported here, once, not with the module."""
    from resources.dagster_instance import close_abandoned_runs, open_instance

    with open_instance(home) as instance:
        close_abandoned_runs(instance)


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise RequestRefused(
                "option_invalid", f"Port {port} cannot be used: choose another with --port."
            ) from error


def _wait_until_answering(port: int, running: dict[str, subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        _check_running(running)
        try:
            if httpx.get(f"http://127.0.0.1:{port}/server_info", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.3)
    raise RunFailed(
        "internal", f"Dagster's UI did not answer within {_START_SECONDS} s: see dagster/up.log in the home."
    )


def _check_running(running: dict[str, subprocess.Popen[bytes]]) -> None:
    for name, process in running.items():
        if process.poll() is not None:
            raise RunFailed("internal", f"Dagster's {name} ended: see dagster/up.log in the home.")


def _stop(running: dict[str, subprocess.Popen[bytes]]) -> None:
    """Asks each process group to end, and insists after a while."""
    for process in running.values():
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    for process in running.values():
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
