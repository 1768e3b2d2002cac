"""Songs as partitions: the key is the first 32 hex digits of the sha256 of the file's bytes.

Belongs here: the definition and the arithmetic of keys. Titles and owners are metadata, never keys.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import dagster as dg

songs = dg.DynamicPartitionsDefinition(name="songs")

KEY_DIGITS = 32


def song_id_of(file: Path) -> str:
    """sha256 of the bytes as they came, 64 hex digits; the file is read in blocks."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def partition_key(song_id: str) -> str:
    """The partition of a song id.

    >>> partition_key("ab" * 32)
    'abababababababababababababababab'
    """
    return song_id[:KEY_DIGITS]
