"""Tags and covers: carried to every format, named for the stem, bounded, and never at the cost of a sample."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import mutagen
import numpy as np
import pytest
from audio_signals import music_like, write_stem
from hypothesis import given
from hypothesis import strategies as st

from stem_pipeline.audio import FORMATS, Cover, SourceFacts, parse_format, read_audio, read_cover, read_stem, stem_tags
from stem_pipeline.audio.facts import MAX_TAG_VALUE, MAX_TAGS, clean_tags


def _png(side: int) -> bytes:
    """A real PNG of noise, so large that it needs several Ogg pages."""
    rows = b"".join(b"\0" + np.random.default_rng(y).bytes(3 * side) for y in range(side))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


SOURCE = {
    "title": "Sóng 曲",
    "artist": "Ä & B",
    "album": "C",
    "date": "1999",
    "track": "3/12",
    "TBPM": "60",
    "lyrics": "la",
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_carries_tags_and_cover_and_keeps_its_samples(tmp_path: Path, name: str) -> None:
    fmt, audio, cover = parse_format(name), music_like(44_100, 2, 30_001), Cover(_png(200), "image/png")
    write_stem(tmp_path / "bare", fmt, 44_100, audio)
    path = tmp_path / f"tagged.{fmt.extension}"
    write_stem(path, fmt, 44_100, audio, stem_tags(SOURCE, "drums", tempo=123.5, key="F# minor"), cover)
    assert np.array_equal(read_stem(path, 44_100, 30_001), read_stem(tmp_path / "bare", 44_100, 30_001))
    tags = read_audio(path)[1].tags
    assert tags["title"] == "Sóng 曲 (Drums)"
    assert (tags["artist"], tags["album"], tags["date"], tags["track"]) == ("Ä & B", "C", "1999", "3/12")
    assert "lyrics" not in tags
    assert read_cover(path) == cover
    assert read_cover(tmp_path / "bare") is None


def test_tempo_and_key_are_the_measured_ones_by_each_formats_own_name(tmp_path: Path) -> None:
    where = {
        "wav": ("TBPM", "TKEY"),
        "mp3": ("TBPM", "TKEY"),
        "flac": ("bpm", "initialkey"),
        "ogg": ("bpm", "initialkey"),
        "opus": ("bpm", "initialkey"),
        "m4a": ("tmpo", "----:com.apple.iTunes:initialkey"),
    }
    for name, (tempo, key) in where.items():
        path = tmp_path / f"s.{name}"
        write_stem(
            path,
            parse_format(name),
            44_100,
            music_like(44_100, 1, 4_410),
            stem_tags(SOURCE, "kick", tempo=96.0, key="A minor"),
        )
        tags = mutagen.File(path).tags
        assert str(tags[tempo] if name in ("wav", "mp3") else tags[tempo][0]) == "96"
        found = tags[key] if name in ("wav", "mp3") else tags[key][0]
        assert (found.decode() if isinstance(found, bytes) else str(found)) == "Am"


def test_a_stem_without_a_titled_source_is_named_after_the_stem() -> None:
    assert stem_tags({}, "vocals") == {"title": "Vocals"}
    assert stem_tags({}, "vocals", title="take 3")["title"] == "take 3 (Vocals)"


def test_a_cover_that_is_no_picture_or_a_file_that_is_none_gives_no_cover(tmp_path: Path) -> None:
    path = tmp_path / "s.mp3"
    write_stem(
        path, parse_format("mp3"), 44_100, music_like(44_100, 1, 4_410), {}, Cover(b"not a picture", "image/png")
    )
    assert read_cover(path) is None
    (tmp_path / "text").write_text("no audio")
    assert read_cover(tmp_path / "text") is None
    assert read_cover(tmp_path / "absent") is None


@given(st.dictionaries(st.text(max_size=80), st.text(), max_size=80), st.binary(max_size=50))
def test_any_tags_become_bounded_valid_text(tags: dict[str, str], raw: bytes) -> None:
    broken = {"title": raw.decode("utf-8", "surrogateescape"), "comment": "x" * 10_000}
    cleaned = clean_tags(broken, tags)
    assert len(cleaned) <= MAX_TAGS
    assert all(len(v) <= MAX_TAG_VALUE for v in cleaned.values())
    for name, value in cleaned.items():
        assert name
        assert value
        (name + value).encode("utf-8")
        assert "\0" not in name + value


def test_facts_go_through_json_and_back() -> None:
    facts = SourceFacts(
        44_100, 2, 441, 0.01, None, "lossy", "mp3", "mp3float", 320_000, {"title": "é"}, True, 1, 1105, 7
    )
    assert SourceFacts.from_dict(json.loads(json.dumps(facts.as_dict()))) == facts
    assert SourceFacts.from_dict(facts.as_dict() | {"of_a_later_version": 1}) == facts


def test_broken_utf8_in_a_file_does_not_stop_it(tmp_path: Path) -> None:
    path = tmp_path / "s.flac"
    write_stem(path, parse_format("flac"), 44_100, music_like(44_100, 1, 4_410), {"title": "ABCDEFGH"})
    # The title's letters again as bytes that are no UTF-8; a comment has no checksum.
    path.write_bytes(path.read_bytes().replace(b"ABCDEFGH", b"AB\xff\xfe\xc3(GH"))
    title = read_audio(path)[1].tags["title"]
    assert title.startswith("AB")
    assert title.endswith("GH")
    title.encode("utf-8")
