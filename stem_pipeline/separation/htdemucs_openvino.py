"""HTDemucs on a CPU through OpenVINO: a multiple faster than the stock forward pass, and started without torch.

Belongs here: running segments. Does not belong here: the network itself (`htdemucs_graph`), the transforms around it
(`htdemucs_spectrum`), precision, compiling and its cache (`openvino_runtime`), where weights come from.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.errors import RunFailed
from stem_pipeline.models.htdemucs import SEGMENT_SAMPLES
from stem_pipeline.separation.htdemucs_spectrum import SegmentSpectrum
from stem_pipeline.separation.openvino_runtime import OpenVinoRuntime, Precision

if TYPE_CHECKING:
    import openvino as ov

GRAPH_REVISION = 2
"""Raise it whenever `htdemucs_graph` computes anything else: compiled networks on disk are then no longer used."""


class HtdemucsOpenVino:
    """Plays `SegmentModel` with HTDemucs as an OpenVINO network.

    `load_network` gives the `demucs.htdemucs.HTDemucs` with its weights; it is called only if the network does not lie
    compiled in `cache_dir` (a folder, made if need be; None compiles anew). `weights_sha256`: of those weights, by
    which the compiled network is known. `sources`, `sample_rate` (Hz) and `segment_samples` are the network's.
    `precision`, `threads`: as of `OpenVinoRuntime`.

    Raises `RequestRefused` (`option_invalid`) for a precision that does not exist or that the processor lacks, and what
    `load_network` raises.
    """

    name = "htdemucs"
    normalised = True
    preferred_batch = 1

    def __init__(
        self,
        load_network: Callable[[], Any],
        weights_sha256: str,
        version: str,
        precision: Precision | None = None,
        cache_dir: Path | None = None,
        threads: int | None = None,
        *,
        sources: tuple[str, ...] = ("drums", "bass", "other", "vocals"),
        sample_rate: int = 44_100,
        segment_samples: int = SEGMENT_SAMPLES,
    ) -> None:
        runtime = OpenVinoRuntime(precision, threads)
        self.version = version
        self.backend = runtime.backend
        self.sources = sources
        self.sample_rate = sample_rate
        self.segment_samples = segment_samples
        self._spectrum = SegmentSpectrum(segment_samples, len(sources))

        def build() -> tuple[ov.Model, ...]:
            from stem_pipeline.separation import htdemucs_graph

            return htdemucs_graph.build_graphs(load_network())

        # The tail is float32 whatever the precision: see `htdemucs_graph`.
        self._body, self._tail = runtime.compile(
            self.name,
            (GRAPH_REVISION, version, weights_sha256, sources, segment_samples),
            {"body": runtime.precision, "tail": "float32"},
            build,
            cache_dir,
        )

    def separate_segments(self, segments: NDArray[np.float32]) -> NDArray[np.float32]:
        """`segments`: float32 [batch, 2, segment_samples] → float32 [batch, sources, 2, segment_samples].

        One by one: more at once is slower on a CPU, and so a batch gives the bytes of its segments alone.
        Raises `RunFailed` (`device_out_of_memory`) when the machine has no memory for one segment.
        """
        out = np.empty((len(segments), len(self.sources), 2, self.segment_samples), np.float32)
        try:
            for index, segment in enumerate(segments):
                spectrogram, waveform, levels = self._spectrum.forward(np.asarray(segment, np.float32))
                maps, waveforms = self._body(spectrogram, waveform)
                (spectrograms,) = self._tail(maps)
                self._spectrum.inverse(spectrograms, waveforms, levels, out[index])
        except MemoryError as error:
            raise RunFailed("device_out_of_memory", "The machine has too little memory for one segment.") from error
        return out
