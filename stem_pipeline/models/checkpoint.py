"""Reading the pickled packages (`.th`) in which Demucs' trainer leaves a model, without running what a pickle may
carry.

Belongs here: unpickling with an allow-list, the check of the hash in a file's name. Does not belong here: building
networks.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import zipfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from stem_pipeline.errors import ModelRefused

_HASHED_NAME = re.compile(r"^[0-9a-f]{8}-([0-9a-f]{8,64})$")


@dataclass(frozen=True)
class DemucsPackage:
    """What a `.th` file says: the class by name, how to call it, and its parameters (torch tensors by name)."""

    klass: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    state: dict[str, Any]


class _Named:
    """Stands for a network's class while unpickling: a package needs the name alone, and this does nothing when
    called."""

    name = ""


class _HDemucs(_Named):
    name = "demucs.hdemucs.HDemucs"


class _HTDemucs(_Named):
    name = "demucs.htdemucs.HTDemucs"


def read_demucs_package(path: Path) -> DemucsPackage:
    """The package at `path`: `{"klass", "args", "kwargs", "state", …}` as `demucs.states.serialize_model` makes it.

    Only tensors, plain values, fractions and the two network classes are unpickled (`torch.load(weights_only=True)`).
    A name like `955717e8-8726e21a.th` carries the beginning of the file's sha256, and it must hold, as in Demucs' own
    repository. Raises `ModelRefused` (`model_damaged`, or `model_unavailable` when the file cannot be read).
    """
    import torch

    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelRefused("model_unavailable", f"The weights file {path.name} cannot be read.") from error
    if (match := _HASHED_NAME.match(path.stem)) and not hashlib.sha256(data).hexdigest().startswith(match[1]):
        raise ModelRefused("model_damaged", f"{path.name} does not have the sha256 that its name says: get it again.")
    allowed: list[Any] = [Fraction, (_HDemucs, _HDemucs.name), (_HTDemucs, _HTDemucs.name)]
    try:
        with torch.serialization.safe_globals(allowed):
            package = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelRefused(
            "model_damaged",
            f"{path.name} holds more than a Demucs model's values, or is damaged: it was not opened any further.",
        ) from error
    except (RuntimeError, EOFError, ValueError, TypeError, AttributeError, KeyError, zipfile.BadZipFile) as error:
        raise ModelRefused("model_damaged", f"{path.name} is damaged: get it again.") from error
    return _checked(package, path.name)


def _checked(package: Any, file_name: str) -> DemucsPackage:
    refusal = ModelRefused("model_damaged", f"{file_name} is not a Demucs model package.")
    if not isinstance(package, dict):
        raise refusal
    klass, args, kwargs, state = (package.get(key) for key in ("klass", "args", "kwargs", "state"))
    if not (isinstance(klass, type) and issubclass(klass, _Named)):
        raise refusal
    if not (isinstance(args, tuple | list) and isinstance(kwargs, dict) and isinstance(state, dict)):
        raise refusal
    if state.get("__quantized"):
        raise ModelRefused("model_damaged", f"{file_name} is a quantised package: only plain weights can be loaded.")
    return DemucsPackage(klass.name, tuple(args), kwargs, state)
