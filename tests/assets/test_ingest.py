"""A song's bytes are its name."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from assets import keys
from assets.ingest import ingest
from resources.storage import LocalStorage, read_json
from stem_pipeline.audio import Limits
from stem_pipeline.errors import AudioRefused


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "storage")


def test_the_partition_key_is_the_beginning_of_the_sha256(storage: LocalStorage, tmp_path: Path) -> None:
    file = tmp_path / "song.wav"
    file.write_bytes(b"some bytes")
    song = ingest(storage, file, Limits())
    assert song == hashlib.sha256(b"some bytes").hexdigest()[:32]
    assert storage.read_bytes(keys.original(song)) == b"some bytes"
    assert read_json(storage, keys.song_record(song))["name"] == "song"


def test_the_same_bytes_under_another_name_are_the_same_song(storage: LocalStorage, tmp_path: Path) -> None:
    for name in ("one.wav", "two.mp3"):
        (tmp_path / name).write_bytes(b"some bytes")
    first = ingest(storage, tmp_path / "one.wav", Limits())
    objects = storage.keys("")
    assert ingest(storage, tmp_path / "two.mp3", Limits()) == first
    assert storage.keys("") == objects


@pytest.mark.parametrize(
    "name", ["percent%20%s%n.wav", "trailing dot..wav", "日本語 🎵", "-rf", "a\nb.wav", "[b]x[\\b].wav"]
)
def test_no_name_trips_it(storage: LocalStorage, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(name.encode())
    assert storage.exists(keys.original(ingest(storage, tmp_path / name, Limits())))


def test_a_name_that_is_no_utf8_is_kept_as_text(storage: LocalStorage, tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(b"caf\xe9.wav")
    file.write_bytes(b"x")
    assert read_json(storage, keys.song_record(ingest(storage, file, Limits())))["name"] == "caf�"


@pytest.mark.parametrize("name", ["", "x" * 300, "missing.wav"])
def test_what_is_no_file_is_refused_without_showing_where_we_looked(
    storage: LocalStorage, tmp_path: Path, name: str
) -> None:
    with pytest.raises(AudioRefused) as refused:
        ingest(storage, tmp_path / name, Limits())
    assert refused.value.code == "audio_not_found"
    assert str(tmp_path.parent) not in refused.value.message


def test_a_file_above_the_limit_is_refused_before_it_is_copied(storage: LocalStorage, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(11))
    with pytest.raises(AudioRefused) as refused:
        ingest(storage, tmp_path / "big", Limits(max_bytes=10))
    assert refused.value.code == "audio_too_large"
    assert not storage.root.exists()
