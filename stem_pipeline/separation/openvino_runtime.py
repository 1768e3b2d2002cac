"""What the OpenVINO networks share: precision, threads, and compiling once, with the result kept on disk.

Belongs here: everything between a graph and a call of it. Does not belong here: any network, transforms, weights.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.errors import RequestRefused

if TYPE_CHECKING:
    import openvino as ov

Precision = Literal["float32", "bfloat16"]

_HINTS: dict[str, str] = {"float32": "f32", "bfloat16": "bf16"}
_SHORT: dict[str, str] = {"float32": "fp32", "bfloat16": "bf16"}


class CompiledGraph:
    """A graph ready to be called; one call at a time."""

    def __init__(self, compiled: Any, mapping: Any = None) -> None:
        self._request = compiled.create_infer_request()
        # OpenVINO reads weights out of the mapped file and does not keep it mapped itself.
        self._mapping = mapping

    def __call__(self, *inputs: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """The graph's outputs, in its own memory: they are overwritten by the next call."""
        found: tuple[NDArray[np.float32], ...] = self._request.infer(
            list(inputs), share_inputs=True, share_outputs=True
        ).to_tuple()
        return found


class OpenVinoRuntime:
    """OpenVINO on this machine's processor.

    `precision`: None takes bfloat16 where the processor multiplies it natively (AMX or AVX-512-BF16: there it is two
    to three times as fast) and float32 elsewhere. `threads`: None for every CPU this process may use.

    Raises `RequestRefused` (`option_invalid`) for a precision that does not exist or that the processor lacks.
    """

    def __init__(self, precision: Precision | None = None, threads: int | None = None) -> None:
        import openvino as ov

        self._core = ov.Core()
        native = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision: Precision = precision or ("bfloat16" if native else "float32")
        if self.precision not in _HINTS:
            raise RequestRefused("option_invalid", f"There is no precision {precision!r}: use float32 or bfloat16.")
        if self.precision == "bfloat16" and not native:
            raise RequestRefused("option_invalid", "This processor has no bfloat16 arithmetic: use float32.")
        self.backend = f"openvino-{_SHORT[self.precision]}"
        self._threads = threads or usable_cpus()

    def compile(
        self,
        name: str,
        identity: tuple[object, ...],
        precisions: Mapping[str, Precision],
        build: Callable[[], tuple[ov.Model, ...]],
        cache_dir: Path | None,
    ) -> tuple[CompiledGraph, ...]:
        """The graphs of the network `name`, one for each of `precisions` (part → precision), in that order.

        They are read from `cache_dir` (made if need be) where they lie there compiled, and only otherwise built,
        compiled and left there; None compiles anew. `identity` says all that the answer depends on besides OpenVINO,
        the processor and the settings: weights, version, revision of the graph.
        """
        settings = [self._settings(precision) for precision in precisions.values()]
        if cache_dir is None:
            paths = []
        else:
            fingerprint = self._fingerprint((name, *identity), settings)
            paths = [cache_dir / f"{name}-{fingerprint}.{part}" for part in precisions]
            try:
                return tuple(self._read(path, each) for path, each in zip(paths, settings, strict=True))
            except FileNotFoundError:
                pass
            except (RuntimeError, ValueError):  # cut short, empty or foreign: all are made again and replaced
                for path in paths:
                    path.unlink(missing_ok=True)
        compiled = [self._core.compile_model(graph, "CPU", each) for graph, each in zip(build(), settings, strict=True)]
        for path, one in zip(paths, compiled, strict=False):
            _keep(one, path)
        return tuple(CompiledGraph(one) for one in compiled)

    def _settings(self, precision: Precision) -> dict[str, Any]:
        return {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": self._threads,
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
        }

    def _fingerprint(self, identity: tuple[object, ...], settings: list[dict[str, Any]]) -> str:
        """Twenty hex digits of all that the compiled network depends on."""
        import openvino as ov

        capabilities = sorted(self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
        device = self._core.get_property("CPU", "FULL_DEVICE_NAME")
        everything = (*identity, ov.get_version(), device, capabilities, [sorted(each.items()) for each in settings])
        return hashlib.sha256("\n".join(map(repr, everything)).encode()).hexdigest()[:20]

    def _read(self, path: Path, settings: dict[str, Any]) -> CompiledGraph:
        """A compiled graph, mapped: its weights are the file's pages and not a copy of them.

        Raises `FileNotFoundError`, and ValueError or RuntimeError for a file that is none.
        """
        import openvino as ov

        with path.open("rb") as file:
            # Copy on write, since OpenVINO takes no memory that cannot be written to; it does not write.
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        tensor = ov.Tensor(np.frombuffer(mapping, np.uint8), shared_memory=True)
        graph = CompiledGraph(self._core.import_model(tensor, "CPU", settings), tensor)
        if hasattr(mmap, "MADV_DONTNEED"):
            # Most weights now lie rearranged elsewhere; a page that is still needed comes back from the file.
            mapping.madvise(mmap.MADV_DONTNEED)
        return graph


def usable_cpus() -> int:
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
