"""A file as FFmpeg's demuxers see it: opened safely, with what its headers say.

Belongs here: opening by content, refusing what is no audio, reading declared lengths and depths. Does not belong here:
decoding (decode.py).

FFmpeg gets the bytes and no name, may open nothing else, and only takes formats that hold audio in the file itself: a
playlist cannot make it read other files, and a picture or a text is no "video" to it.
"""

from __future__ import annotations

import os
import stat
from fractions import Fraction
from typing import Any, BinaryIO

import av
import av.error

from stem_pipeline.audio.limits import Limits
from stem_pipeline.errors import AudioRefused

CONTAINERS = (
    "3gp,aac,ac3,ac4,act,adx,aea,aiff,amr,amrnb,amrwb,ape,apc,apm,asf,ast,au,avi,avr,bonk,caf,dff,dsf,dts,dtshd,eac3,"
    "flac,flv,g722,gsm,iff,ircam,loas,m4a,matroska,mlp,mov,mp2,mp3,mp4,mpc,mpc8,mpeg,mpegts,mxf,nist,nut,oga,ogg,oma,"
    "osq,paf,pvf,rm,rso,sbc,shn,smjpeg,sol,sox,spdif,svx,swf,tak,truehd,tta,vivo,voc,vqf,w64,wav,webm,wsaud,wsd,wtv,"
    "wv,wve,xa,xwma"
)
"""Demuxers that may be used. No playlists, pictures, text or devices."""

_OPTIONS = {
    "format_whitelist": CONTAINERS,
    "protocol_whitelist": "none",
    # FLAC frames of many channels at high rates are larger than the default lets the parser find.
    "raw_packet_size": "65536",
}
_READ_BYTES = 1 << 18
_MAGIC = (b"RIFF", b"RF64", b"BW64", b"riff", b"FORM", b"fLaC", b"OggS", b"ID3", b"caff", b".snd", b"wvpk", b"TTA")
_MORE_MAGIC = (b"0&\xb2u", b"\x1aE\xdf\xa3")  # ASF, Matroska
_SHORT_FILE = 256
"""Bytes. A file of a known kind that is shorter than this and does not open was cut inside its header."""
_ONE_PAGE = 65_307
"""Bytes of the largest Ogg page (RFC 3533)."""


def open_regular(path: str | os.PathLike[str], limits: Limits) -> BinaryIO:
    """An ordinary file within the limits. Raises `AudioRefused`: `audio_not_found`, `audio_empty`, `audio_too_large`."""
    missing = AudioRefused("audio_not_found", "There is no such audio file, or it may not be read.")
    try:
        # Without O_NONBLOCK a named pipe would wait for a writer for ever.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except (OSError, ValueError) as error:
        raise missing from error
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise missing
        limits.check_bytes(about.st_size)
    except BaseException:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb", buffering=0)


class _NamelessBytes:
    """The file without its name: the content alone decides what it is."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


def open_container(file: BinaryIO) -> Any:
    """An open `av` input container. Raises `AudioRefused`: `audio_truncated_header`, `audio_undecodable`."""
    try:
        return av.open(
            _NamelessBytes(file), "r", metadata_errors="replace", buffer_size=_READ_BYTES, options=dict(_OPTIONS)
        )
    except (av.error.FFmpegError, ValueError, OSError) as error:
        head = os.pread(file.fileno(), 16, 0)
        known = head.startswith(_MAGIC + _MORE_MAGIC) or head[4:8] == b"ftyp"
        if known and (os.fstat(file.fileno()).st_size < _SHORT_FILE or isinstance(error, av.error.EOFError)):
            raise AudioRefused(
                "audio_truncated_header",
                "The file ends inside its header: it was not copied or uploaded whole. Send it again.",
            ) from error
        raise undecodable() from error


def undecodable() -> AudioRefused:
    return AudioRefused(
        "audio_undecodable",
        "The file is not audio, or is damaged beyond decoding: send it again, or convert it to WAV or FLAC.",
    )


def track_end(container: Any, stream: Any, rate: int) -> int | None:
    """Samples an MP4 track says it has, None for other containers.

    FFmpeg drops an MP4 track's delay and the packets after its end, but not what the last packet holds beyond it. iTunes
    says the length in a tag of its own.
    """
    if "mp4" not in container.format.name:
        return None
    ends = []
    words = (container.metadata.get("iTunSMPB") or stream.metadata.get("iTunSMPB") or "").split()
    if len(words) >= 4 and len(words[3]) <= 16 and set(words[3]) <= set("0123456789abcdefABCDEF"):
        ends.append(int(words[3], 16))
    if stream.duration and stream.time_base:
        ends.append(round(Fraction(stream.duration) * stream.time_base * rate))
    return min((end for end in ends if end > 0), default=None)


def has_itunes_length(container: Any, stream: Any) -> bool:
    """True where iTunes' own tag says the length, to the sample."""
    return bool(container.metadata.get("iTunSMPB") or stream.metadata.get("iTunSMPB"))


def trimmed_twice(container: Any, stream: Any) -> bool:
    """True for ALAC in CAF: the last packet is short as it is, and FFmpeg cuts the container's remainder once more."""
    return container.format.name == "caf" and stream.codec_context.name == "alac"


def one_page_vorbis(file: BinaryIO, container: Any, stream: Any) -> bool:
    """True for an Ogg Vorbis song so short that all of it lies in one page.

    There FFmpeg takes what the page's position says of the end for something about the start, and trims wrongly.
    """
    if container.format.name != "ogg" or stream.codec_context.name != "vorbis":
        return False
    size = os.fstat(file.fileno()).st_size
    # The header's pages may hold a cover: only the last page's place matters, and it must be the first with a position.
    tail = os.pread(file.fileno(), min(size, 2 * _ONE_PAGE), max(0, size - 2 * _ONE_PAGE))
    places = []
    at = tail.find(b"OggS\0")
    while at >= 0 and at + 14 <= len(tail):
        places.append(int.from_bytes(tail[at + 6 : at + 14], "little", signed=True))
        at = tail.find(b"OggS\0", at + 27)
    return sum(place > 0 for place in places) == 1


def declared_samples(container: Any, stream: Any, rate: int) -> int | None:
    """Samples a channel by the header, for progress: it may be missing, estimated or a lie."""
    if stream.duration and stream.time_base:
        return max(0, round(Fraction(stream.duration) * stream.time_base * rate)) or None
    if container.duration:
        return max(0, round(container.duration / 1_000_000 * rate)) or None
    return None


def declared_bit_rate(container: Any, context: Any) -> int | None:
    """Bits a second of the stream, or else of the file."""
    rate = context.bit_rate or container.bit_rate
    return int(rate) if rate and rate > 0 else None


def declared_depth(codec: str, extra: bytes) -> int | None:
    """Bits a sample as the stream's own header says, where the codec has a place for it."""
    if codec.startswith("pcm_"):
        digits = "".join(c for c in codec[4:].split("_")[0] if c.isdigit())
        return int(digits[:2]) if digits else None
    if codec == "flac" and len(extra) >= 18:
        return (int.from_bytes(extra[10:18], "big") >> 36 & 0x1F) + 1
    if codec == "alac" and len(extra) >= 18:
        return extra[17]
    if codec == "tta" and len(extra) >= 10:
        return int.from_bytes(extra[8:10], "little")
    return 1 if codec.startswith(("dsd_", "dst")) else None
