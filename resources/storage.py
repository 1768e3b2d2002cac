"""Where songs, stems and deliveries are kept: objects under keys, never visible half-written.

Belongs here: the `Storage` protocol and the local folder that plays it. Does not belong here: which keys exist
(`assets.keys`) and what lies in the objects.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import psutil

from stem_pipeline.errors import RunFailed

_SEGMENT = r"[A-Za-z0-9@=+_-][A-Za-z0-9@=+._-]*"
_KEY = re.compile(rf"{_SEGMENT}(/{_SEGMENT})*")
"""No segment begins with a dot: no way up, and none into scratch."""

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_CLOCK_SLACK_SECONDS = 2.0


class Storage(Protocol):
    """Objects by key. A group of objects is complete when its marker, published last, exists."""

    def exists(self, key: str) -> bool: ...
    def read_bytes(self, key: str) -> bytes:
        """Raises `RunFailed` (`storage_failed`) if there is no such object."""
        ...

    def write_bytes(self, key: str, data: bytes) -> None:
        """Publishes at once: readers see the old object or the new one, never a part."""
        ...

    def publish(self, key: str, file: Path) -> None:
        """Moves a finished local file to `key`, atomically; the file is gone from where it was."""
        ...

    def local_copy(self, key: str) -> contextlib.AbstractContextManager[Path]:
        """A readable file with the object's bytes, for as long as the context lasts."""
        ...

    def keys(self, prefix: str) -> list[str]:
        """Keys under `prefix`, sorted."""
        ...

    def delete(self, key: str) -> None:
        """Removes an object; no error if there is none."""
        ...

    def scratch(self) -> contextlib.AbstractContextManager[Path]:
        """An empty folder for work in progress, removed afterwards; publishing from it copies nothing."""
        ...

    def uri(self, key: str) -> str: ...


def read_json(storage: Storage, key: str) -> Any:
    """The object at `key` as JSON. Raises `RunFailed` (`storage_failed`) if it is missing or no JSON."""
    try:
        return json.loads(storage.read_bytes(key))
    except ValueError as error:
        raise RunFailed("storage_failed", f"The object {key} in storage is damaged: it is not JSON.") from error


def write_json(storage: Storage, key: str, value: Any) -> None:
    """Publishes `value` as JSON with sorted keys, so that equal values are equal bytes."""
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    storage.write_bytes(key, text.encode() + b"\n")


class LocalStorage:
    """`Storage` in a folder. Writes go to `root/.scratch` on the same file system and are renamed into place."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._scratch = root / ".scratch"

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"not a storage key: {key!r}")
        return self.root / key

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def read_bytes(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except OSError as error:
            raise RunFailed("storage_failed", f"The object {key} cannot be read from storage.") from error

    def write_bytes(self, key: str, data: bytes) -> None:
        with self.scratch() as folder:
            file = folder / "object"
            file.write_bytes(data)
            self.publish(key, file)

    def publish(self, key: str, file: Path) -> None:
        target = self._path(key)
        try:
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
            target.parent.mkdir(parents=True, exist_ok=True)
            if file.stat().st_dev != target.parent.stat().st_dev:
                with self.scratch() as folder:
                    near = folder / "object"
                    shutil.copyfile(file, near)
                    with near.open("rb") as handle:
                        os.fsync(handle.fileno())
                    os.replace(near, target)
                file.unlink()
            else:
                os.replace(file, target)
        except OSError as error:
            raise _failed(error, f"The object {key} cannot be written") from error

    @contextlib.contextmanager
    def local_copy(self, key: str) -> Iterator[Path]:
        if not self.exists(key):
            raise RunFailed("storage_failed", f"The object {key} is not in storage.")
        yield self._path(key)

    def keys(self, prefix: str) -> list[str]:
        base = self._path(prefix.rstrip("/")) if prefix else self.root
        files = (p for p in base.rglob("*") if p.is_file())
        return sorted(k for p in files if not (k := p.relative_to(self.root).as_posix()).startswith(".scratch/"))

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=_scratch_prefix(os.getpid()), dir=self._scratch))
        except OSError as error:
            raise _failed(error, "The storage folder cannot be written") from error
        try:
            yield folder
        except OSError as error:
            # Whoever fills the disk while working in scratch says so in the product's words; other errors are theirs.
            if error.errno in _NO_ROOM:
                raise _failed(error, "The storage is full") from error
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def sweep_scratch(self) -> int:
        """Removes what killed processes of this host left in scratch; returns how many folders that were."""
        swept = 0
        prefix = _scratch_prefix("")[:-1]
        for folder in self._scratch.glob(f"{prefix}*"):
            pid, _, _ = folder.name.removeprefix(prefix).partition("-")
            if pid.isdigit() and not _is_owner(int(pid), folder):
                shutil.rmtree(folder, ignore_errors=True)
                swept += 1
        return swept

    def uri(self, key: str) -> str:
        return self._path(key).resolve().as_uri()


def _scratch_prefix(pid: int | str) -> str:
    # The host is in the name: a folder may be shared by several machines, whose process ids mean nothing here.
    return f"{re.sub('[^A-Za-z0-9]', '_', platform.node()) or 'host'}-{pid}-"


def _is_owner(pid: int, folder: Path) -> bool:
    """Whether the process `pid` can have made `folder`: a number is given again, but not to an older process."""
    try:
        return psutil.Process(pid).create_time() <= folder.stat().st_mtime + _CLOCK_SLACK_SECONDS
    except (psutil.NoSuchProcess, FileNotFoundError):
        return False
    except psutil.AccessDenied:
        return True


def _failed(error: OSError, what: str) -> RunFailed:
    if error.errno in _NO_ROOM:
        return RunFailed("disk_full", f"{what}: there is no space left. Make room and run again.")
    return RunFailed("storage_failed", f"{what}: {error.strerror}.")
