"""Models: the catalogue, the store that fetches and proves weights, and the loaders. Importing it loads no torch.

Does not belong here: running a network (stem_pipeline.separation), our own drum network (stem_pipeline.drums).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stem_pipeline.models.catalogue import Licence, ModelCard, Origin, check_licence, find_model, model_cards
    from stem_pipeline.models.drumsep import load_drumsep
    from stem_pipeline.models.htdemucs import load_htdemucs
    from stem_pipeline.models.store import ModelStatus, ensure_weights, list_models, weights_identity

__all__ = [
    "Licence",
    "ModelCard",
    "ModelStatus",
    "Origin",
    "check_licence",
    "ensure_weights",
    "find_model",
    "list_models",
    "load_drumsep",
    "load_htdemucs",
    "model_cards",
    "weights_identity",
]

_HOME = {
    **dict.fromkeys(("Licence", "ModelCard", "Origin", "check_licence", "find_model", "model_cards"), "catalogue"),
    **dict.fromkeys(("ModelStatus", "ensure_weights", "list_models", "weights_identity"), "store"),
    "load_drumsep": "drumsep",
    "load_htdemucs": "htdemucs",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
