"""What a listener's library shows: the source's tags and cover, carried to every stem with the stem's name.

Belongs here: which tags, their names in each format, the cover. Does not belong here: finding tempo and key, encoding samples.
"""

from __future__ import annotations

import base64
import io
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import av
import av.error

from stem_pipeline.audio.container import open_container, open_regular
from stem_pipeline.audio.limits import Limits
from stem_pipeline.errors import AudioRefused

MAX_COVER_BYTES = 10 * 2**20
_SIGNATURES = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"))

# Our name: (ID3 frame, Vorbis comment, MP4 atom, RIFF INFO). The source's own names on the left of _ALIASES lead to ours.
_FIELDS: dict[str, tuple[str, str, str, str]] = {
    "title": ("TIT2", "TITLE", "\xa9nam", "INAM"),
    "artist": ("TPE1", "ARTIST", "\xa9ART", "IART"),
    "album": ("TALB", "ALBUM", "\xa9alb", "IPRD"),
    "album_artist": ("TPE2", "ALBUMARTIST", "aART", ""),
    "date": ("TDRC", "DATE", "\xa9day", "ICRD"),
    "genre": ("TCON", "GENRE", "\xa9gen", "IGNR"),
    "composer": ("TCOM", "COMPOSER", "\xa9wrt", ""),
    "copyright": ("TCOP", "COPYRIGHT", "cprt", "ICOP"),
    "isrc": ("TSRC", "ISRC", "----:com.apple.iTunes:ISRC", ""),
    "comment": ("COMM", "COMMENT", "\xa9cmt", "ICMT"),
    "track": ("TRCK", "TRACKNUMBER", "trkn", "ITRK"),
    "disc": ("TPOS", "DISCNUMBER", "disk", ""),
    "tempo": ("TBPM", "BPM", "tmpo", ""),
    "key": ("TKEY", "INITIALKEY", "----:com.apple.iTunes:initialkey", ""),
}
_ALIASES = {
    "albumartist": "album_artist",
    "year": "date",
    "tracknumber": "track",
    "discnumber": "disc",
    "tsrc": "isrc",
    "icmt": "comment",
    "description": "comment",
}
_NOT_CARRIED = {"tempo", "key", "bpm", "tbpm", "tkey", "initialkey", "initial_key"}
"""What the source's tags say of tempo and key may be wrong; stems carry what was measured."""


@dataclass(frozen=True)
class Cover:
    """A picture as it lies in the source: `mime` is image/jpeg or image/png."""

    data: bytes
    mime: str


def stem_tags(
    source: Mapping[str, str],
    stem: str,
    *,
    title: str | None = None,
    tempo: float | None = None,
    key: str | None = None,
) -> dict[str, str]:
    """Tags of one stem: the source's, with the title "<title> (Drums)", and tempo (BPM) and key where they were measured.

    `title`: used when the source has none, else the stem's name stands alone.

    >>> stem_tags({"title": "Song", "artist": "A"}, "drums", tempo=120.04)
    {'title': 'Song (Drums)', 'artist': 'A', 'tempo': '120'}
    """
    lowered = {name.lower(): value for name, value in source.items()}
    tags = {"title": lowered.get("title") or title or ""}
    tags["title"] = f"{tags['title']} ({stem.capitalize()})" if tags["title"] else stem.capitalize()
    for name, value in lowered.items():
        ours = _ALIASES.get(name, name)
        if ours in _FIELDS and ours not in tags and name not in _NOT_CARRIED and value:
            tags[ours] = value
    if tempo is not None:
        tags["tempo"] = f"{tempo:.1f}".removesuffix(".0")
    if key:
        tags["key"] = _short_key(key)
    return tags


def _short_key(key: str) -> str:
    """ "F# minor" as ID3's TKEY and every DJ program write it: "F#m"; anything else as it is."""
    tonic, _, mode = key.strip().partition(" ")
    suffix = {"major": "", "maj": "", "minor": "m", "min": "m"}.get(mode.strip().lower())
    return key.strip() if suffix is None else tonic + suffix


def read_cover(path: str | os.PathLike[str]) -> Cover | None:
    """The source's front cover, if it has a JPEG or PNG of at most 10 MiB; never raises over a damaged one."""
    try:
        with open_regular(path, Limits()) as file, open_container(file) as container:
            for stream in container.streams.video:
                if av.stream.Disposition.attached_pic not in stream.disposition:
                    continue
                for packet in container.demux(stream):
                    if 0 < packet.size <= MAX_COVER_BYTES:
                        data = bytes(packet)
                        mime = next((m for s, m in _SIGNATURES if data.startswith(s)), None)
                        if mime:
                            return Cover(data, mime)
                    break
    except (AudioRefused, av.error.FFmpegError, ValueError, OSError):
        return None
    return None


def write_tags(path: str | os.PathLike[str], name: str, tags: Mapping[str, str], cover: Cover | None) -> None:
    """Writes tags into a finished flac, mp3, ogg, opus or m4a file; the samples are not touched. WAV: `wave_tag_chunks`."""
    if not tags and not cover:
        return
    if name == "mp3":
        id3 = _id3(tags, cover)
        id3.save(os.fspath(path), v2_version=4)
    elif name == "m4a":
        _tag_mp4(path, tags, cover)
    else:
        _tag_xiph(path, name, tags, cover)


def wave_tag_chunks(tags: Mapping[str, str], cover: Cover | None) -> bytes:
    """Chunks that follow a WAV's samples: LIST INFO for simple readers, `id3 ` with everything."""
    if not tags and not cover:
        return b""
    info = b"".join(
        _chunk(_FIELDS[k][3].encode(), value.encode("utf-8") + b"\0")
        for k, value in tags.items()
        if k in _FIELDS and _FIELDS[k][3]
    )
    buffer = io.BytesIO()
    _id3(tags, cover).save(buffer, v2_version=4, padding=lambda _: 0)
    return (_chunk(b"LIST", b"INFO" + info) if info else b"") + _chunk(b"id3 ", buffer.getvalue())


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def _id3(tags: Mapping[str, str], cover: Cover | None) -> Any:
    from mutagen import id3

    out = id3.ID3()
    for name, value in tags.items():
        if name not in _FIELDS:
            continue
        frame = _FIELDS[name][0]
        if frame == "COMM":
            out.add(id3.COMM(encoding=3, lang="XXX", desc="", text=[value]))
        else:
            # ID3 knows whole beats only for TBPM.
            text = str(round(float(value))) if name == "tempo" else value
            out.add(getattr(id3, frame)(encoding=3, text=[text]))
    if cover:
        out.add(id3.APIC(encoding=3, mime=cover.mime, type=3, desc="", data=cover.data))
    return out


def _tag_mp4(path: str | os.PathLike[str], tags: Mapping[str, str], cover: Cover | None) -> None:
    from mutagen.mp4 import MP4, MP4Cover, MP4FreeForm

    file: Any = MP4(os.fspath(path))
    if file.tags is None:
        file.add_tags()
    for name, value in tags.items():
        if name not in _FIELDS:
            continue
        atom = _FIELDS[name][2]
        if name in ("track", "disc"):
            numbers = [int(n) if n.strip().isdigit() else 0 for n in [*value.split("/"), "0"][:2]]
            if any(numbers) and max(numbers) < 65_536:
                file.tags[atom] = [tuple(numbers)]
        elif name == "tempo":
            file.tags[atom] = [round(float(value))]
        elif atom.startswith("----"):
            file.tags[atom] = [MP4FreeForm(value.encode("utf-8"))]
        else:
            file.tags[atom] = [value]
    if cover:
        kind = MP4Cover.FORMAT_PNG if cover.mime == "image/png" else MP4Cover.FORMAT_JPEG
        file.tags["covr"] = [MP4Cover(cover.data, imageformat=kind)]
    file.save()


def _tag_xiph(path: str | os.PathLike[str], name: str, tags: Mapping[str, str], cover: Cover | None) -> None:
    from mutagen.flac import FLAC, Picture
    from mutagen.oggopus import OggOpus
    from mutagen.oggvorbis import OggVorbis

    file: Any = {"flac": FLAC, "opus": OggOpus, "ogg": OggVorbis}[name](os.fspath(path))
    if file.tags is None:
        file.add_tags()
    for field, value in tags.items():
        if field in _FIELDS:
            file.tags[_FIELDS[field][1]] = [value]
    if cover:
        picture = Picture()
        picture.type, picture.mime, picture.data = 3, cover.mime, cover.data
        if name == "flac":
            file.add_picture(picture)
        else:
            file.tags["METADATA_BLOCK_PICTURE"] = [base64.b64encode(picture.write()).decode("ascii")]
    file.save()
