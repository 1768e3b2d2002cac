"""The bytes of a WAV file: header and sample packing, shared by the working format and the WAV deliverable.

Belongs here: RIFF/RF64 chunks. Does not belong here: when to write a file, and how much of it.

The header is written here and not by a library because it must be the same bytes in two identical runs (libsndfile's
PEAK chunk holds the time of day) and because its size must not depend on the length, so that the length may be filled
in at the end: a JUNK chunk keeps the place of `ds64` (EBU Tech 3306, RF64), which is used when the file passes 4 GiB.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_RIFF_MAX = 0xFFFFFFFF
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
_SPEAKERS = {1: 0x4, 2: 0x3, 3: 0x7, 4: 0x33, 5: 0x37, 6: 0x3F, 7: 0x70F, 8: 0x63F}
"""dwChannelMask by number of channels, in the order FFmpeg and libsndfile give: mono, stereo, 3.0, quad, 5.0, 5.1, 6.1, 7.1."""


@dataclass(frozen=True)
class WaveFormat:
    """`bits` 16 or 24 are integers, 32 is float."""

    sample_rate: int
    channels: int
    bits: int

    @property
    def frame_bytes(self) -> int:
        return self.channels * self.bits // 8


HEADER_BYTES = 12 + 8 + 28 + 8 + 40 + 8 + 4 + 8


def wave_header(form: WaveFormat, samples: int, trailing_bytes: int = 0) -> bytes:
    """The `HEADER_BYTES` before the samples; `trailing_bytes` of other chunks follow the (padded) data chunk."""
    data = samples * form.frame_bytes
    total = HEADER_BYTES - 8 + data + data % 2 + trailing_bytes
    large = total > _RIFF_MAX
    kind = _FLOAT if form.bits == 32 else _PCM
    # Two channels of plain integers or floats are what every reader knows; more need the speaker mask.
    extensible = form.channels > 2
    body = struct.pack(
        "<HHIIHH",
        _EXTENSIBLE if extensible else kind,
        form.channels,
        form.sample_rate,
        form.sample_rate * form.frame_bytes,
        form.frame_bytes,
        form.bits,
    )
    if extensible:
        body += struct.pack("<HHIH", 22, form.bits, _SPEAKERS.get(form.channels, 0), kind) + _GUID_TAIL
        fmt = b"fmt " + struct.pack("<I", 40) + body
        filler = b""
    else:
        # 16 bytes of format and an empty chunk: every header has the same size.
        fmt = b"fmt " + struct.pack("<I", 16) + body
        filler = _junk(16)
    ds64 = struct.pack("<4sIQQQI", b"ds64", 28, total, data, samples, 0) if large else _junk(28)
    head = (
        (b"RF64" if large else b"RIFF")
        + struct.pack("<I", _RIFF_MAX if large else total)
        + b"WAVE"
        + ds64
        + fmt
        + filler
        + b"fact"
        + struct.pack("<II", 4, min(samples, _RIFF_MAX))
        + b"data"
        + struct.pack("<I", _RIFF_MAX if large else data)
    )
    assert len(head) == HEADER_BYTES
    return head


def _junk(length: int) -> bytes:
    return b"JUNK" + struct.pack("<I", length) + bytes(length)


def pack_float(block: npt.NDArray[np.floating]) -> bytes:
    """float [channels, n] as interleaved little-endian float32."""
    return np.ascontiguousarray(block.T, dtype="<f4").tobytes()


def pack_integers(block: npt.NDArray[np.int32], bits: int) -> bytes:
    """int32 [channels, n], values of the format's own depth, as interleaved little-endian integers of 16 or 24 bits."""
    if bits == 16:
        return np.ascontiguousarray(block.T, dtype="<i2").tobytes()
    words = np.ascontiguousarray(block.T, dtype="<i4")
    return words.view(np.uint8).reshape(*words.shape, 4)[..., :3].tobytes()
