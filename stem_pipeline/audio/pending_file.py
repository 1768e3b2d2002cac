"""A file that is visible whole or not at all.

Belongs here: the temporary name, the flush to disk, the rename. Does not belong here: what the bytes mean.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stem_pipeline.errors import RunFailed


class PendingFile:
    """Reserves a hidden temporary name beside `path`; `publish()` puts it in place, `discard()` removes it.

    The temporary name ends in `.part`: what a killed process leaves behind can be swept by that ending.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        stem = self.path.name.encode("utf-8", "surrogateescape")[:80].decode("utf-8", "ignore")
        self.partial = self.path.with_name(f".{stem}.{secrets.token_hex(6)}.part")
        with speaking_disk_errors():
            os.close(os.open(self.partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))

    def publish(self) -> None:
        """Flushes the bytes to disk, renames atomically, flushes the folder."""
        with speaking_disk_errors():
            _fsync(self.partial)
            os.replace(self.partial, self.path)
            _fsync(self.path.parent)

    def discard(self) -> None:
        self.partial.unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def speaking_disk_errors() -> Iterator[None]:
    """Turns what a full or failing disk says into `RunFailed`: `disk_full`, `storage_failed`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise RunFailed(
                "disk_full", "The disk is full: free some space, or choose another folder, and try again."
            ) from error
        raise RunFailed(
            "storage_failed", f"The file could not be written: {os.strerror(error.errno or errno.EIO)}."
        ) from error
