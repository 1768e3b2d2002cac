"""Ogg Vorbis through libsndfile, with a stream serial number that is always the same.

Belongs here: the Vorbis writer and the Ogg pages it corrects. Does not belong here: other codecs.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile as sf

SERIAL = 1
_QUALITY = 0.8
"""libvorbis q8, some 256 kb/s for stereo: stems are listened to alone and summed, where q5's artefacts would show."""
_REVERSED = bytes(int(f"{i:08b}"[::-1], 2) for i in range(256))


class VorbisFile:
    """Appends float [channels, n] to an Ogg Vorbis file; see `encode._Backend`."""

    def __init__(self, path: str, sample_rate: int, channels: int) -> None:
        self._path = path
        self._file = sf.SoundFile(
            path, "w", sample_rate, channels, format="OGG", subtype="VORBIS", compression_level=1 - _QUALITY
        )

    def append(self, block: npt.NDArray[Any]) -> None:
        # libsndfile puts a whole call's frames on the stack: small pieces.
        frames = np.ascontiguousarray(block.T, dtype=np.float32)
        for start in range(0, len(frames), 4096):
            self._file.write(frames[start : start + 4096])

    def finish(self) -> None:
        self._file.close()
        set_serial(self._path, SERIAL)

    def abandon(self) -> None:
        self._file.close()


def set_serial(path: str, serial: int) -> None:
    """Gives every page of an Ogg file this serial number and a fitting checksum (RFC 3533, section 6)."""
    with open(path, "r+b") as file:
        place = 0
        while head := file.read(27):
            if len(head) < 27 or head[:4] != b"OggS":
                raise ValueError("not an Ogg page")
            lacing = file.read(head[26])
            body = file.read(sum(lacing))
            page = bytearray(head + lacing)
            struct.pack_into("<I", page, 14, serial)
            struct.pack_into("<I", page, 22, 0)
            struct.pack_into("<I", page, 22, _checksum(bytes(page) + body))
            file.seek(place)
            file.write(page[:27])
            place += len(page) + len(body)
            file.seek(place)


def _checksum(page: bytes) -> int:
    """Ogg's CRC-32: polynomial 0x04c11db7, bits not reflected, start 0, no final inversion — from zlib's reflected one."""
    reflected = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)
