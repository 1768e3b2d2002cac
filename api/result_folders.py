"""A song's folder on a person's disk: its name, and putting a delivery there in one step.

Belongs here: names that every file system takes, and the swap. Does not belong here: what is in a delivery.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from stem_pipeline.errors import RequestRefused, RunFailed
from stem_pipeline.manifest import FILE_NAME

_MAX_BYTES = 120


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


def check_replaceable(target: Path) -> None:
    """Raises `RequestRefused` (`option_invalid`) if `target` exists and is not one of our result folders."""
    if target.exists() and not (target / FILE_NAME).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise RequestRefused(
            "option_invalid", f"{target.name!r} exists there and is no result of ours: choose another output folder."
        )


def place(files: Mapping[str, Path], target: Path) -> None:
    """Copies `files` (name → file) into `target`, which appears, or is replaced, whole.

    Raises `RunFailed` (`disk_full`, `storage_failed`), with nothing left behind.
    """
    partial: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=target.parent))
        for name, file in files.items():
            shutil.copyfile(file, partial / name)
        partial.chmod(0o755)
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=".old-", dir=target.parent))
            os.replace(target, old / "replaced")
            os.replace(partial, target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(partial, target)
    except OSError as error:
        code = "disk_full" if error.errno == 28 else "storage_failed"
        raise RunFailed(code, f"The output folder could not be written: {error.strerror}.") from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
