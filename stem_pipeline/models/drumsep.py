"""DrumSep's network from an operator's own checkpoint: no registry has it.

Belongs here: building Hybrid Demucs from such a package and naming its outputs. Does not belong here: finding the file
(store.py), unpickling (checkpoint.py), segments, devices.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

from stem_pipeline.errors import ModelRefused
from stem_pipeline.models.catalogue import find_model
from stem_pipeline.models.checkpoint import read_demucs_package

if TYPE_CHECKING:
    from demucs.hdemucs import HDemucs

SPANISH_NAMES = {"bombo": "kick", "redoblante": "snare", "platillos": "cymbals", "toms": "toms"}
"""DrumSep was trained with its author's words for the parts."""


def load_drumsep(path: Path) -> HDemucs:
    """The network of a DrumSep checkpoint, in float32, in eval mode, on the CPU.

    Its `sources` are our names in the order of its own output, which need not be the order of the catalogue. Input
    float32 [batch, 2, samples] at its `samplerate` (Hz), output float32 [batch, 4, 2, samples]. The published hash is
    not known: what is proven is that the package is a Hybrid Demucs of these four parts and that every parameter fits.
    Raises `ModelRefused` (`model_damaged`, `model_unavailable`).
    """
    import torch
    from demucs.hdemucs import HDemucs

    package = read_demucs_package(path)
    card = find_model("drumsep")
    if package.klass != "demucs.hdemucs.HDemucs":
        raise ModelRefused("model_damaged", f"{path.name} is not DrumSep: its network is not Hybrid Demucs.")
    known = inspect.signature(HDemucs).parameters
    options = {name: value for name, value in package.kwargs.items() if name in known}  # older trainers left more
    try:
        with torch.random.fork_rng(devices=[]):  # its initial values are thrown away
            network = HDemucs(*package.args, **options)
        network.load_state_dict({name: tensor.float() for name, tensor in package.state.items()}, strict=True)
        sources = [SPANISH_NAMES.get(name, name) for name in network.sources]
    except (RuntimeError, TypeError, ValueError, AttributeError, AssertionError) as error:
        raise ModelRefused("model_damaged", f"{path.name} does not fit Hybrid Demucs: get it again.") from error
    if sorted(sources) != sorted(card.sources):
        raise ModelRefused(
            "model_damaged", f"{path.name} is not DrumSep: it does not give kick, snare, cymbals and toms."
        )
    if network.samplerate != card.sample_rate or network.audio_channels != 2:
        raise ModelRefused("model_damaged", f"{path.name} is not DrumSep: it is not for stereo at 44,100 Hz.")
    network.sources = sources
    return network.eval()
