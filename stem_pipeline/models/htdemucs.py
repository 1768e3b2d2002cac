"""The HTDemucs network with its published weights.

Belongs here: building the network and filling it. Does not belong here: fetching, segments, devices, precision.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.errors import ModelRefused
from stem_pipeline.models.canonical import read_verified, state_from_safetensors
from stem_pipeline.models.catalogue import find_model

if TYPE_CHECKING:
    from demucs.htdemucs import HTDemucs

SEGMENT_SECONDS = Fraction(39, 5)
SEGMENT_SAMPLES = int(SEGMENT_SECONDS * 44_100)
"""343,980: what the network was trained on, and the only length the transformer is at its best with."""


def load_htdemucs(path: Path) -> HTDemucs:
    """The network in float32, in eval mode, on the CPU, its weights proven by their sha256.

    `path`: the canonical file as `store.ensure_weights` gives it. Input float32 [batch, 2, samples] at 44,100 Hz,
    output float32 [batch, 4, 2, samples] in the order of the card's sources. Raises `ModelRefused` (`model_damaged`,
    `model_unavailable`).
    """
    return build_htdemucs(state_from_safetensors(read_verified(path, find_model("htdemucs").weights_sha256)))


def build_htdemucs(state: dict[str, NDArray[Any]]) -> HTDemucs:
    """HTDemucs as published, filled with `state` (every parameter must be there and fit)."""
    import torch
    from demucs.htdemucs import HTDemucs

    with torch.random.fork_rng(
        devices=[]
    ):  # its initial values are thrown away: the caller's generator must not notice
        network = HTDemucs(
            sources=list(find_model("htdemucs").sources),
            channels=48,
            bottom_channels=512,
            t_layers=5,
            t_heads=8,
            dconv_mode=3,
            dconv_depth=2,
            dconv_comp=8,
            segment=SEGMENT_SECONDS,
            samplerate=44_100,
        )
    tensors = {name: torch.from_numpy(array.astype(np.float32)) for name, array in state.items()}
    try:
        network.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise ModelRefused("model_damaged", "The weights do not fit HTDemucs: fetch them again.") from error
    return network.eval()
