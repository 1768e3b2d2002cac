"""The drum network on a CPU through OpenVINO: the same answers as `model.DrumNet`, several times as fast.

Belongs here: the adapter to the engine. Does not belong here: the graph (`network_graph`), the transforms around it
(`band_spectrum`), compiling and its cache (`separation.openvino_runtime`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.drums.band_spectrum import BandSpectrum, band_edges
from stem_pipeline.drums.weights_file import SHIPPED, card_of
from stem_pipeline.errors import ModelRefused, RunFailed
from stem_pipeline.models.canonical import read_verified, state_from_safetensors
from stem_pipeline.separation.openvino_runtime import OpenVinoRuntime, Precision, usable_cpus

GRAPH_REVISION = 1
"""Raise it whenever `network_graph` computes anything else: compiled networks on disk are then no longer used."""

SEGMENT_FRAMES = 344
"""Hops a segment: 8.0 s, as of `model.DrumNet`."""


class DrumNetOpenVino:
    """Our own drum separator, with the weights that ship in this package, without torch.

    Plays `stem_pipeline.separation.segment_model.SegmentModel`. `precision`: bfloat16, where the processor has it, saves
    a quarter of the time and moves single parts by up to 0.05 dB of SDR either way; in float32 the answer is torch's to
    rounding, and still several times as fast. `threads`: as of `OpenVinoRuntime`; `cache_dir`: folder for compiled
    networks, made if need be; None compiles anew. Raises `ModelRefused` (`model_unavailable`, `model_damaged`),
    `RequestRefused` (`option_invalid`).
    """

    normalised = False
    preferred_batch = 1

    def __init__(
        self,
        weights: Path = SHIPPED,
        precision: Precision = "float32",
        cache_dir: Path | None = None,
        threads: int | None = None,
    ) -> None:
        card = card_of(weights)
        data = read_verified(weights, card["sha256"])
        shape = card["shape"]
        self.name = str(card["name"])
        self.version = f"{card['version']}-{card['sha256'][:8]}"
        self.sources: tuple[str, ...] = tuple(card["parts"])
        self.sample_rate = int(shape["sample_rate"])
        self.segment_samples = SEGMENT_FRAMES * int(shape["hop_samples"])
        window, hop, bands = int(shape["window_samples"]), int(shape["hop_samples"]), int(shape["bands"])
        edges = band_edges(window // 2 + 1, int(shape["narrow_bands"]), bands)
        threads = threads or usable_cpus()
        self._bands = BandSpectrum(self.segment_samples, window, hop, edges, threads)
        runtime = OpenVinoRuntime(precision, threads)
        self.backend = runtime.backend

        def build() -> tuple[object]:
            from stem_pipeline.drums.network_graph import build_graph

            try:
                state = state_from_safetensors(data)
                return (build_graph(state, shape["context_dilations"], self._bands.frames, bands),)
            except (KeyError, ValueError, RuntimeError) as error:
                raise ModelRefused(
                    "model_damaged", f"The weights of {weights.stem} do not fit the network of this version."
                ) from error

        identity = (GRAPH_REVISION, card["sha256"], shape, self._bands.frames)
        (self._network,) = runtime.compile(self.name, identity, {"body": runtime.precision}, build, cache_dir)

    def separate_segments(self, segments: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [batch, 2, segment_samples] → float32 [batch, parts, 2, segment_samples], at the level that came in.

        One by one, so that a batch gives the bytes of its segments alone. Raises `RunFailed` (`device_out_of_memory`).
        """
        out = np.empty((len(segments), len(self.sources), 2, self.segment_samples), np.float32)
        try:
            for index, segment in enumerate(segments):
                spectrum = self._bands.spectrum(np.asarray(segment, np.float32))
                (logits,) = self._network(self._bands.features(spectrum))
                out[index] = self._bands.parts(spectrum, logits)
        except MemoryError as error:
            raise RunFailed(
                "device_out_of_memory", "The machine has too little memory for one segment of drums."
            ) from error
        return out
