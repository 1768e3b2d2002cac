"""Taking a file in: bytes to storage under the song's key, once, whatever the name.

Belongs here: everything before Dagster knows the song. Decoding is the asset `source`.
"""

from __future__ import annotations

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
    if not file.is_file():
        raise AudioRefused("audio_not_found", f"There is no file called {file.name!r}.")
    try:
        size = file.stat().st_size
        if size == 0:
            raise AudioRefused("audio_empty", f"{file.name!r} is empty: send a file with audio in it.")
        limits.check_bytes(size)
        song_id = song_id_of(file)
        song = partition_key(song_id)
        if not storage.exists(keys.song_record(song)):
            with storage.scratch() as scratch:
                shutil.copyfile(file, scratch / "original")
                storage.publish(keys.original(song), scratch / "original")
            write_json(storage, keys.song_record(song), {"song_id": song_id, "name": file.stem, "bytes": size})
    except PermissionError as error:
        raise AudioRefused("audio_not_found", f"{file.name!r} may not be read: change its permissions.") from error
    return song
