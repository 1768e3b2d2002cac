"""A song's folder on a person's disk: its name, and putting a delivery there in one step.

Belongs here: names that every file system takes, and the swap. Does not belong here: what is in a delivery.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import psutil

from stem_pipeline.errors import RequestRefused, RunFailed
from stem_pipeline.manifest import FILE_NAME

_MAX_BYTES = 120
_PARTIAL = f".stem-pipeline-partial-{platform.node()}-"


def folder_name(title: str) -> str:
    """The title as a folder name: Unicode stays, what a shell, a path or Windows trips over goes.

    >>> folder_name("../a:b?")
    'a_b_'
    >>> folder_name("...")
    'song'
    """
    name = unicodedata.normalize("NFC", title)
    name = "".join("_" if c in '<>:"/\\|?*' or unicodedata.category(c) in ("Cc", "Cs", "Cf") else c for c in name)
    name = re.sub(r"\s+", " ", name).strip(" .-_" if set(name) <= set(" .-_") else " .-").lstrip("_")
    while len(name.encode()) > _MAX_BYTES:
        name = name[:-1]
    return name.rstrip(" .") or "song"


def unused_name(title: str, taken: set[str]) -> str:
    """`folder_name`, numbered when an earlier song of the same call has it (whatever the case); adds it to `taken`."""
    base = folder_name(title)
    name, count = base, 1
    while name.casefold() in taken:
        count += 1
        name = f"{base} ({count})"
    taken.add(name.casefold())
    return name


def printable(path: Path) -> str:
    """The path as text that every terminal, JSON and database takes: bytes that are no UTF-8 become �."""
    return os.fsencode(path).decode("utf-8", "replace")


def check_replaceable(target: Path) -> None:
    """Raises `RequestRefused` (`option_invalid`) if `target` is something that is not ours, or could not be written.

    Asked before a song is separated, so that nobody waits minutes for this answer.
    """
    if target.exists() and not (target / FILE_NAME).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise RequestRefused(
            "option_invalid", f"{target.name!r} exists there and is no result of ours: choose another output folder."
        )
    existing = next(folder for folder in target.absolute().parents if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise RequestRefused("option_invalid", "The output folder cannot be written: choose another with --out.")


def place(files: Mapping[str, Path], target: Path) -> None:
    """Copies `files` (name → file) into `target`, which appears, or is replaced, whole.

    Raises `RunFailed` (`disk_full`, `storage_failed`), with nothing left behind.
    """
    partial: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        partial = Path(tempfile.mkdtemp(prefix=f"{_PARTIAL}{os.getpid()}-", dir=target.parent))
        for name, file in files.items():
            shutil.copyfile(file, partial / name)
        partial.chmod(0o755)
        if target.exists():
            # What was there goes into the folder that is removed at the end, and back if the swap is interrupted.
            with tempfile.TemporaryDirectory(prefix=f"{_PARTIAL}{os.getpid()}-", dir=target.parent) as old:
                replaced = Path(old) / "replaced"
                os.replace(target, replaced)
                try:
                    os.replace(partial, target)
                except BaseException:
                    os.replace(replaced, target)
                    raise
        else:
            os.replace(partial, target)
    except OSError as error:
        code = "disk_full" if error.errno == errno.ENOSPC else "storage_failed"
        raise RunFailed(code, f"The output folder could not be written: {error.strerror}.") from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Removes what killed processes left half copied."""
    for partial in folder.glob(f"{_PARTIAL}*"):
        pid = partial.name.removeprefix(_PARTIAL).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(partial, ignore_errors=True)
