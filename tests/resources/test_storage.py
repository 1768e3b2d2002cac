"""The local folder as storage: whole objects or none, whoever dies when."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from resources.storage import LocalStorage, read_json, write_json
from stem_pipeline.errors import RunFailed


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "storage")


def test_what_was_written_is_read_listed_and_deleted(storage: LocalStorage) -> None:
    storage.write_bytes("a/b/c.json", b"1")
    storage.write_bytes("a/d@1/x=y+z.wav", b"2")
    assert storage.read_bytes("a/b/c.json") == b"1"
    assert storage.keys("a") == ["a/b/c.json", "a/d@1/x=y+z.wav"]
    assert storage.keys("a/b") == ["a/b/c.json"]
    assert storage.keys("nothing") == []
    storage.delete("a/b/c.json")
    storage.delete("a/b/c.json")
    assert not storage.exists("a/b/c.json")


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../x",
        "a/./x",
        "a//x",
        "a/",
        ".scratch/x",
        "a/.hidden",
        "a\\x",
        "a\0x",
        "a\nx",
        "ä",
        "a b",
    ],
)
def test_a_key_that_could_leave_the_folder_is_refused(storage: LocalStorage, key: str) -> None:
    for act in (storage.exists, storage.read_bytes, storage.delete, storage.uri, lambda k: storage.write_bytes(k, b"")):
        with pytest.raises(ValueError, match="not a storage key"):
            act(key)


def test_a_missing_object_is_refused_with_a_code_and_no_path(storage: LocalStorage) -> None:
    with pytest.raises(RunFailed) as refused:
        storage.read_bytes("songs/x/original")
    assert refused.value.code == "storage_failed"
    assert str(storage.root) not in refused.value.message
    with pytest.raises(RunFailed), storage.local_copy("songs/x/original"):
        pass


def test_json_that_is_damaged_is_refused_with_a_code(storage: LocalStorage) -> None:
    storage.write_bytes("x.json", b'{"torn": ')
    with pytest.raises(RunFailed) as refused:
        read_json(storage, "x.json")
    assert refused.value.code == "storage_failed"


def test_equal_values_are_equal_bytes(storage: LocalStorage) -> None:
    write_json(storage, "x", {"b": 1, "a": "日本"})
    write_json(storage, "y", {"a": "日本", "b": 1})
    assert storage.read_bytes("x") == storage.read_bytes("y")


def test_publishing_moves_the_file(storage: LocalStorage) -> None:
    with storage.scratch() as scratch:
        file = scratch / "stem.wav"
        file.write_bytes(b"audio")
        inode = file.stat().st_ino
        storage.publish("stems/x.wav", file)
        assert not file.exists()
    with storage.local_copy("stems/x.wav") as copy:
        assert copy.stat().st_ino == inode  # moved, not copied


def test_publishing_from_another_file_system_leaves_nothing_behind(storage: LocalStorage) -> None:
    memory = Path("/dev/shm")
    storage.root.mkdir()
    if not memory.is_dir() or memory.stat().st_dev == storage.root.stat().st_dev:
        pytest.skip("this machine has no second file system to write to")
    file = memory / f"stem-pipeline-test-{os.getpid()}"
    file.write_bytes(b"audio")
    try:
        storage.publish("stems/x.wav", file)
        assert not file.exists()
    finally:
        file.unlink(missing_ok=True)
    assert storage.read_bytes("stems/x.wav") == b"audio"
    assert not list((storage.root / ".scratch").iterdir())


def test_readers_never_see_a_torn_object(storage: LocalStorage) -> None:
    """Two writers replace an object of 1 MB over and over; a reader only ever finds one writer's bytes, all of them."""
    size, torn, done = 1_000_000, [], threading.Event()
    storage.write_bytes("x", b"a" * size)

    def write(letter: bytes) -> None:
        while not done.is_set():
            storage.write_bytes("x", letter * size)

    writers = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b")]
    for writer in writers:
        writer.start()
    for _ in range(150):
        found = storage.read_bytes("x")
        if len(found) != size or len(set(found)) != 1:
            torn.append(len(found))
    done.set()
    for writer in writers:
        writer.join()
    assert not torn
    assert storage.keys("") == ["x"]


def test_scratch_is_gone_afterwards_even_after_an_error(storage: LocalStorage) -> None:
    seen: list[Path] = []

    def fail() -> None:
        with storage.scratch() as scratch:
            seen.append(scratch)
            (scratch / "half").write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not seen[0].exists()


def test_only_the_scratch_of_dead_processes_is_swept(storage: LocalStorage) -> None:
    code = (
        "import os, sys; from pathlib import Path; from resources.storage import LocalStorage\n"
        "with LocalStorage(Path(sys.argv[1])).scratch() as s: (s / 'half').write_bytes(b'x'); os._exit(9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(storage.root)], check=False)
    assert killed.returncode == 9
    with storage.scratch() as mine:
        other_host = storage.root / ".scratch" / "another_host-1-abcdefgh"
        other_host.mkdir()
        assert len(list((storage.root / ".scratch").iterdir())) == 3
        assert storage.sweep_scratch() == 1
        assert mine.is_dir()
        assert other_host.is_dir()


def test_a_full_disk_says_so_in_our_words(storage: LocalStorage) -> None:
    with pytest.raises(RunFailed) as refused, storage.scratch():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/private")
    assert refused.value.code == "disk_full"
    assert "/somewhere" not in refused.value.message


def test_a_storage_folder_that_cannot_be_made_is_refused_with_a_code(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    storage = LocalStorage(tmp_path / "file" / "storage")
    with pytest.raises(RunFailed) as refused:
        storage.write_bytes("x", b"")
    assert refused.value.code == "storage_failed"
    assert str(tmp_path) not in refused.value.message
