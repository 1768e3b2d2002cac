"""The one form in which weights are kept: a safetensors file whose bytes depend on the tensors alone.

Belongs here: writing and reading that form, its digest. Does not belong here: where tensors come from, what network
they fit.

The same weights travel as an ONNX graph, a hub's safetensors and a pickle, each with a hash of its own. Brought into
one form they have one hash, so that every origin ends as the same proven bytes or is refused.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.errors import ModelRefused


def sha256_of(path: Path) -> str:
    """The file's sha256 in hex, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_bytes(state: Mapping[str, NDArray[np.floating[Any]]]) -> bytes:
    """`state` as safetensors: float16, tensors in the order of their names, no metadata.

    Written here and not by the safetensors library because its order and padding are its own to change, and these
    bytes' hash is the weights' identity. Format: eight bytes of header length, little-endian; a JSON header padded
    with spaces to eight bytes; the tensors, C order, little-endian
    (https://github.com/huggingface/safetensors#format).

    Raises `ModelRefused` (`model_damaged`) when a value is not exactly a float16: storing it so would change the model.
    """
    header: dict[str, dict[str, Any]] = {}
    blocks: list[bytes] = []
    offset = 0
    for name in sorted(state):
        with np.errstate(over="ignore"):  # too large becomes infinity, and is refused below
            half = np.ascontiguousarray(state[name].astype("<f2"))
        if not np.array_equal(half.astype(np.float32), state[name].astype(np.float32)):
            raise ModelRefused(
                "model_damaged", "The weights are not the published ones: they do not fit half precision."
            )
        header[name] = {"dtype": "F16", "shape": list(half.shape), "data_offsets": [offset, offset + half.nbytes]}
        blocks.append(half.tobytes())
        offset += half.nbytes
    text = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *blocks])


def read_verified(path: Path, sha256: str | None) -> bytes:
    """The file's bytes, once they are proven to have this sha256 (None: whatever they are).

    Read once and hashed from memory, so that what is loaded is what was proven. Raises `ModelRefused` (`model_damaged`,
    or `model_unavailable` when the file cannot be read).
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelRefused("model_unavailable", f"The weights file {path.name} cannot be read.") from error
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise ModelRefused(
            "model_damaged",
            f"The weights in {path.name} are not the published ones: delete the file and fetch it again.",
        )
    return data


def state_from_safetensors(data: bytes) -> dict[str, NDArray[Any]]:
    """Tensors of a safetensors file by name, as numpy arrays in the dtype they are stored in.

    Raises `ModelRefused` (`model_damaged`) when the bytes are no safetensors, or hold a type numpy does not have.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(data)
    except (SafetensorError, KeyError, ValueError, AttributeError, TypeError) as error:
        raise ModelRefused("model_damaged", "The weights file is no safetensors file: fetch it again.") from error
