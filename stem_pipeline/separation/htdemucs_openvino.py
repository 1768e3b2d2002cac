"""HTDemucs on a CPU through OpenVINO: compiled once, kept on disk, a multiple faster than the stock forward pass.

Belongs here: precision, compiling and its cache, running segments. Does not belong here: the network itself
(`htdemucs_graph`), the transforms around it (`htdemucs_spectrum`), where weights come from.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.errors import RequestRefused, RunFailed
from stem_pipeline.separation.htdemucs_spectrum import SegmentSpectrum

Precision = Literal["float32", "bfloat16"]

_HINTS: dict[str, str] = {"float32": "f32", "bfloat16": "bf16"}
_SHORT: dict[str, str] = {"float32": "fp32", "bfloat16": "bf16"}

GRAPH_REVISION = 2
"""Raise it whenever `htdemucs_graph` computes anything else: compiled networks on disk are then no longer used."""


class HtdemucsOpenVino:
    """Plays `SegmentModel` with `model` (a `demucs.htdemucs.HTDemucs` with its weights) as an OpenVINO network.

    `precision`: None takes bfloat16 where the processor multiplies it natively (AMX or AVX-512-BF16: there it is two
    to three times as fast) and float32 elsewhere. `cache_dir`: folder for compiled networks, made if need be; None
    compiles anew. `threads`: None for every CPU this process may use.

    Raises `RequestRefused` (`option_invalid`) for a precision that does not exist or that the processor lacks.
    """

    name = "htdemucs"
    normalised = True
    preferred_batch = 1

    def __init__(
        self,
        model: Any,
        version: str,
        precision: Precision | None = None,
        cache_dir: Path | None = None,
        threads: int | None = None,
    ) -> None:
        import openvino as ov

        core = ov.Core()
        native = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        precision = precision or ("bfloat16" if native else "float32")
        if precision not in _HINTS:
            raise RequestRefused("option_invalid", f"There is no precision {precision!r}: use float32 or bfloat16.")
        if precision == "bfloat16" and not native:
            raise RequestRefused("option_invalid", "This processor has no bfloat16 arithmetic: use float32.")
        self.version = version
        self.backend = f"openvino-{_SHORT[precision]}"
        self.sources: tuple[str, ...] = tuple(model.sources)
        self.sample_rate = int(model.samplerate)
        self.segment_samples = int(model.segment * model.samplerate)
        self._spectrum = SegmentSpectrum(self.segment_samples, len(self.sources))
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads or _usable_cpus(),
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
        }
        body, tail = _compile(core, model, version, settings, cache_dir)
        self._body, self._tail = body.create_infer_request(), tail.create_infer_request()

    def separate_segments(self, segments: NDArray[np.float32]) -> NDArray[np.float32]:
        """`segments`: float32 [batch, 2, segment_samples] → float32 [batch, sources, 2, segment_samples].

        One by one: more at once is slower on a CPU, and so a batch gives the bytes of its segments alone.
        Raises `RunFailed` (`device_out_of_memory`) when the machine has no memory for one segment.
        """
        out = np.empty((len(segments), len(self.sources), 2, self.segment_samples), np.float32)
        try:
            for index, segment in enumerate(segments):
                out[index] = self._separate(np.asarray(segment, np.float32))
        except MemoryError as error:
            raise RunFailed("device_out_of_memory", "The machine has too little memory for one segment.") from error
        return out

    def _separate(self, segment: NDArray[np.float32]) -> NDArray[np.float32]:
        spectrogram, waveform, levels = self._spectrum.forward(segment)
        maps, waveforms = self._body.infer([spectrogram, waveform], share_inputs=True, share_outputs=True).to_tuple()
        (spectrograms,) = self._tail.infer([maps], share_inputs=True, share_outputs=True).to_tuple()
        return self._spectrum.inverse(spectrograms, waveforms, levels)


def _usable_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _compile(core: Any, model: Any, version: str, settings: dict[str, Any], cache_dir: Path | None) -> tuple[Any, Any]:
    """Body and tail, compiled: read from `cache_dir` where they lie there, otherwise compiled and left there.

    The tail is float32 whatever the settings: see `htdemucs_graph`.
    """
    from stem_pipeline.separation import htdemucs_graph

    each = (settings, {**settings, "INFERENCE_PRECISION_HINT": _HINTS["float32"]})
    if cache_dir is None:
        paths = []
    else:
        fingerprint = _fingerprint(core, model, version, settings)
        paths = [cache_dir / f"htdemucs-{fingerprint}.{part}" for part in ("body", "tail")]
        try:
            body, tail = (core.import_model(p.read_bytes(), "CPU", s) for p, s in zip(paths, each, strict=True))
            return body, tail
        except FileNotFoundError:
            pass
        except RuntimeError:  # cut short or foreign: both are made again and replaced
            for path in paths:
                path.unlink(missing_ok=True)
    graphs = htdemucs_graph.build_graphs(model)
    body, tail = (core.compile_model(graph, "CPU", s) for graph, s in zip(graphs, each, strict=True))
    for path, compiled in zip(paths, (body, tail), strict=False):
        _keep(compiled, path)
    return body, tail


def _fingerprint(core: Any, model: Any, version: str, settings: dict[str, Any]) -> str:
    """Twenty hex digits of all that the compiled network depends on: weights, graph, OpenVINO, processor, settings."""
    import openvino as ov

    digest = hashlib.sha256()
    for part in (GRAPH_REVISION, version, ov.get_version(), core.get_property("CPU", "FULL_DEVICE_NAME")):
        digest.update(f"{part}\n".encode())
    digest.update(repr(sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))).encode())
    digest.update(repr(sorted(settings.items())).encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).data)
    return digest.hexdigest()[:20]


def _keep(compiled: Any, path: Path) -> None:
    """Write whole or not at all: several processes may compile at once, and a disk may be full."""
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(compiled.export_model().getbuffer())
        os.replace(part, path)
    except OSError:
        # The cache only saves seconds at the next start: without it the answer is the same.
        part.unlink(missing_ok=True)
