"""Taking a file in: bytes to storage under the song's key, once, whatever the name.

Belongs here: everything before Dagster knows the song. Decoding is the asset `source`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from assets import keys
from assets.partitions import partition_key, song_id_of
from resources.storage import Storage, write_json
from stem_pipeline.audio import Limits
from stem_pipeline.errors import AudioRefused


def ingest(storage: Storage, file: Path, limits: Limits) -> str:
    """Stores the file's bytes and returns the song's partition key; a song that is there already is left as it is.

    Raises `AudioRefused` (`audio_not_found`, `audio_empty`, `audio_too_large`), `RunFailed` (`storage_failed`).
    """
    try:
        if file.is_dir():
            raise AudioRefused("audio_not_found", f"{_name(file)!r} is a folder: name the songs in it.")
        if not file.is_file():
            raise AudioRefused("audio_not_found", f"There is no file called {_name(file)!r}.")
        size = file.stat().st_size
        if size == 0:
            raise AudioRefused("audio_empty", f"{_name(file)!r} is empty: send a file with audio in it.")
        limits.check_bytes(size)
        song = partition_key(song_id_of(file))
        if storage.exists(keys.song_record(song)):
            return song
        with storage.scratch() as scratch:
            copy = scratch / "original"
            shutil.copyfile(file, copy)
            # Hashed again: a file that somebody still writes to must not lie under another one's key.
            song_id, size = song_id_of(copy), copy.stat().st_size
            song = partition_key(song_id)
            storage.publish(keys.original(song), copy)
        write_json(storage, keys.song_record(song), {"song_id": song_id, "name": _name(file, "stem"), "bytes": size})
    except PermissionError as error:
        raise AudioRefused("audio_not_found", f"{_name(file)!r} may not be read: change its permissions.") from error
    except OSError as error:
        raise AudioRefused("audio_not_found", f"{_name(file)[:80]!r} cannot be read: {error.strerror}.") from error
    return song


def _name(file: Path, part: str = "name") -> str:
    """The file's name as text that JSON and a database take: bytes that are no UTF-8 become �."""
    return os.fsencode(getattr(file, part)).decode("utf-8", "replace")
