"""From a model's name and a device to something that plays `SegmentModel`.

Belongs here: which class computes which catalogue entry, and where. Torch, OpenVINO and the networks are imported only
once their model is asked for.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

from stem_pipeline.errors import RequestRefused
from stem_pipeline.models.catalogue import ModelCard, check_licence, find_model
from stem_pipeline.models.store import Notify, ensure_weights, ignore_notice, user_cache, weights_identity
from stem_pipeline.progress import IsCancelled, OnProgress, ignore_progress, never_cancelled
from stem_pipeline.separation.segment_model import SegmentModel

DEFAULT_MAIN_MODEL = "htdemucs"
DEFAULT_DRUM_MODEL = "stemline-drums"

Weights = Callable[[], Path]
"""Gives the proven weights file, fetching it if need be."""


def load_model(
    name: str,
    *,
    device: str = "auto",
    allow_research_weights: bool = True,
    on_progress: OnProgress = ignore_progress,
    is_cancelled: IsCancelled = never_cancelled,
    notify: Notify = ignore_notice,
) -> SegmentModel:
    """The model ready to run on `device` (`auto`, `cpu` or `cuda`), its weights fetched and proven.

    Raises `ModelRefused` (unknown, unavailable, damaged, licence), `RequestRefused` (no such device), `RunFailed`
    (`device_unavailable`).
    """
    card = find_model(name)
    check_licence(card, allow_research_weights)
    if device not in ("auto", "cpu", "cuda"):
        raise RequestRefused("option_invalid", f"There is no device {device[:40]!r}: use auto, cpu or cuda.")

    def weights() -> Path:
        return ensure_weights(card, on_progress, is_cancelled=is_cancelled, notify=notify)

    return _LOADERS[card.name](card, weights, device)


def _on_cuda(device: str) -> bool:
    return device == "cuda" or (device == "auto" and _cuda_is_there())


def _cuda_is_there() -> bool:
    """Asks torch only where there is a driver to ask: loading torch takes longer than all else at the start."""
    if not any(_has_library(name) for name in ("libcuda.so.1", "nvcuda.dll")):
        return False
    import torch

    return torch.cuda.is_available()


def _has_library(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _load_htdemucs(card: ModelCard, weights: Weights, device: str) -> SegmentModel:
    from stem_pipeline.models.htdemucs import load_htdemucs

    path = weights()
    if _on_cuda(device):
        from stem_pipeline.separation.demucs_torch import DemucsTorch

        return DemucsTorch(load_htdemucs(path), card.version, "cuda", "float16")
    from stem_pipeline.separation.htdemucs_openvino import HtdemucsOpenVino

    return HtdemucsOpenVino(
        lambda: load_htdemucs(path),
        weights_identity(card, path),
        card.version,
        cache_dir=_compiled_networks(),
        sources=card.sources,
        sample_rate=card.sample_rate,
    )


def _compiled_networks() -> Path:
    """Where compiled networks are kept: beside the weights in the user's cache."""
    return user_cache().parent / "compiled"


def _load_stemline_drums(card: ModelCard, weights: Weights, device: str) -> SegmentModel:
    if _on_cuda(device):
        from stem_pipeline.drums.model import DrumNet

        return DrumNet(weights(), "cuda")
    from stem_pipeline.drums.model_openvino import DrumNetOpenVino

    return DrumNetOpenVino(weights(), cache_dir=_compiled_networks())


def _load_drumsep(card: ModelCard, weights: Weights, device: str) -> SegmentModel:
    from stem_pipeline.models.drumsep import load_drumsep
    from stem_pipeline.separation.demucs_torch import DemucsTorch

    network = load_drumsep(weights())
    if _on_cuda(device):
        return DemucsTorch(network, card.version, "cuda", "float16", name=card.name)
    return DemucsTorch(network, card.version, "cpu", name=card.name)


def _load_nmf_drums(card: ModelCard, weights: Weights, device: str) -> SegmentModel:
    from stem_pipeline.drums.nmf import NmfDrums

    return NmfDrums()


_LOADERS: dict[str, Callable[[ModelCard, Weights, str], SegmentModel]] = {
    "htdemucs": _load_htdemucs,
    "stemline-drums": _load_stemline_drums,
    "drumsep": _load_drumsep,
    "nmf-drums": _load_nmf_drums,
}
