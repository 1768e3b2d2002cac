"""`stem-pipeline up` as a person starts it: what was run is seen there, can be run again, and nothing stays behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest
from command_line import start, stop_hard
from conftest import RealRun

RUNS = "{ runsOrError { ... on Runs { results { runId status jobName assets { key { path } } tags { key value } } } } }"
LINEAGE = (
    "{ assetNodes { assetKey { path } dependencyKeys { path } assetMaterializations(limit: 1) { runId partition } } }"
)
AGAIN = """mutation($p: ReexecutionParams!) { launchRunReexecution(reexecutionParams: $p) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""


@pytest.fixture(scope="module")
def running(real_run: RealRun) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`up` on the home of the real run: the address of its GraphQL and the process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = start("up", "--port", str(port), home=real_run.home)
    try:
        assert process.stdout is not None
        assert f"http://127.0.0.1:{port}" in process.stdout.readline()
        yield f"http://127.0.0.1:{port}/graphql", process
    finally:
        stop_hard(process)


def ask(url: str, query: str, **variables: Any) -> Any:
    answer = httpx.post(url, json={"query": query, "variables": variables}, timeout=60).json()
    assert "errors" not in answer, answer
    return answer["data"]


def test_the_run_just_made_is_there_with_its_lineage(running: tuple[str, Any], real_run: RealRun) -> None:
    url, _ = running
    run_id, song_id = real_run.report["songs"][0]["run_id"], real_run.report["songs"][0]["song_id"]
    runs = {r["runId"]: r for r in ask(url, RUNS)["runsOrError"]["results"]}
    assert runs[run_id]["status"] == "SUCCESS"
    assert {"key": "dagster/partition", "value": song_id[:32]} in runs[run_id]["tags"]
    nodes = {n["assetKey"]["path"][-1]: n for n in ask(url, LINEAGE)["assetNodes"]}
    assert set(nodes) == {"source", "analysis", "main_stems", "drum_stems", "delivery"}
    assert {key["path"][-1] for key in nodes["drum_stems"]["dependencyKeys"]} == {"main_stems"}
    assert all(n["assetMaterializations"][0]["partition"] == song_id[:32] for n in nodes.values())


def test_a_rerun_from_the_page_succeeds_from_what_exists(running: tuple[str, Any], real_run: RealRun) -> None:
    url, _ = running
    parent = real_run.report["songs"][0]["run_id"]
    launched = ask(url, AGAIN, p={"parentRunId": parent, "strategy": "ALL_STEPS"})["launchRunReexecution"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    rerun = launched["run"]["runId"]
    deadline = time.monotonic() + 120
    while (status := state_of(url, rerun)) not in ("SUCCESS", "FAILURE", "CANCELED"):
        assert time.monotonic() < deadline, status
        time.sleep(0.5)
    assert status == "SUCCESS"


def test_stopping_leaves_no_process(running: tuple[str, subprocess.Popen[str]], real_run: RealRun) -> None:
    _, process = running
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=40) == 0
    # Ends of children are asynchronous: they were told to stop, and may take a moment.
    _, alive = psutil.wait_procs(children, timeout=10)
    assert [p.cmdline() for p in alive] == []
    assert not any(str(real_run.home) in " ".join(cmdline) for cmdline in command_lines())


def state_of(url: str, run_id: str) -> str:
    return next(r["status"] for r in ask(url, RUNS)["runsOrError"]["results"] if r["runId"] == run_id)


def command_lines() -> list[list[str]]:
    found = []
    for process in psutil.process_iter(["cmdline", "pid"]):
        if process.info["pid"] != os.getpid():
            found.append(process.info["cmdline"] or [])
    return found


def test_a_port_that_is_taken_is_refused_with_a_code(real_run: RealRun) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = start("up", "--port", str(taken.getsockname()[1]), home=real_run.home)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 64
    assert err.startswith("option_invalid: Port ")
