"""The drum network as the engine sees it: a `SegmentModel` that takes segments of drums and gives their four parts.

Belongs here: the adapter. Does not belong here: overlap-add, rates, exact sums (the engine), the network's insides.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.drums.weights_file import SHIPPED, load_network
from stem_pipeline.errors import RunFailed


class DrumNet:
    """Our own drum separator, with the weights that ship in this package: no download, deterministic on a CPU.

    Plays `stem_pipeline.separation.segment_model.SegmentModel`. Linear in level; the parts add up to the segment to
    rounding, since the masks add up to one.
    """

    normalised = False
    preferred_batch = 1

    def __init__(self, weights: Path = SHIPPED, device: str = "cpu") -> None:
        """Raises `ModelRefused` (`model_unavailable`, `model_damaged`), `RunFailed` (`device_unavailable`)."""
        import torch

        self._network, card = load_network(weights)
        try:
            self._device = torch.device(device)
            self._network.to(self._device)
        except (RuntimeError, AssertionError) as error:
            raise RunFailed("device_unavailable", f"The device {device!r} is not there: choose cpu.") from error
        if self._device.type == "cpu":
            self._network.to(memory_format=torch.channels_last)
        self.name = str(card["name"])
        self.version = f"{card['version']}-{card['sha256'][:8]}"
        self.backend = f"torch-{self._device.type}-float32"
        self.sources: tuple[str, ...] = tuple(card["parts"])
        self.sample_rate = int(card["shape"]["sample_rate"])
        hop = int(card["shape"]["hop_samples"])
        self.segment_samples = 344 * hop
        """8.0 s: twice the stretches of training, a whole number of hops and of the network's time strides."""

    def separate_segments(self, segments: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [batch, 2, segment_samples] → float32 [batch, parts, 2, segment_samples], at the level that came in.

        Raises `RunFailed` (`device_out_of_memory`).
        """
        import torch

        with torch.inference_mode():
            try:
                # One by one: the answer to a segment does not depend on its neighbours in the batch, to the last bit.
                parts = [self._network(torch.from_numpy(s[None]).to(self._device))[0].cpu() for s in segments]
            except torch.OutOfMemoryError as error:
                raise RunFailed(
                    "device_out_of_memory", "The device has too little memory for one segment of drums: use the CPU."
                ) from error
        return (
            torch.stack(parts).numpy() if parts else np.zeros((0, len(self.sources), *segments.shape[1:]), np.float32)
        )
