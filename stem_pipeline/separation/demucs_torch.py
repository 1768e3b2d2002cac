"""Demucs networks as PyTorch computes them: the reference every other backend is held against, and the one for CUDA.

Belongs here: Demucs' own forward pass, its precision, how many segments go to the device at once. Does not belong
here: where weights come from, segments and overlap, the OpenVINO network.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.errors import RequestRefused, RunFailed

if TYPE_CHECKING:
    import torch

Device = Literal["cpu", "cuda"]
Precision = Literal["float32", "bfloat16", "float16"]

# What one segment holds in activations at its peak, in float32: the widest pair of feature maps, the skips kept for the
# decoder and the convolution workspace. An upper bound, so that the first batch fits; the retry covers the rest.
_BYTES_PER_SEGMENT = 1_500_000_000
_LARGEST_CUDA_BATCH = 32


class DemucsTorch:
    """Plays `SegmentModel` with the stock forward pass, in evaluation mode.

    `model`: a `demucs.htdemucs.HTDemucs` or `demucs.hdemucs.HDemucs` with its weights loaded. `version` and `name`: the
    catalogue's. `precision` other than
    float32 means autocast: convolutions and matrix products in that type, the STFT and the norms in float32.
    `preferred_batch`: segments per forward pass; by default 1 on a CPU (more is slower there) and what free memory
    allows on CUDA.

    Raises `RunFailed` (`device_unavailable`) when CUDA is asked for and is not there, `RequestRefused`
    (`option_invalid`) for a device or a precision that does not exist.
    """

    normalised = True

    def __init__(
        self,
        model: Any,
        version: str,
        device: Device = "cpu",
        precision: Precision = "float32",
        preferred_batch: int | None = None,
        name: str = "htdemucs",
    ) -> None:
        import torch

        if device not in ("cpu", "cuda"):
            raise RequestRefused("option_invalid", f"There is no device {device!r}: use cpu or cuda.")
        if precision not in ("float32", "bfloat16", "float16"):
            raise RequestRefused(
                "option_invalid", f"There is no precision {precision!r}: use float32, bfloat16 or float16."
            )
        if device == "cuda" and not torch.cuda.is_available():
            raise RunFailed(
                "device_unavailable",
                "CUDA was asked for, but PyTorch finds no usable CUDA device: use the cpu device, or install a driver "
                "and a PyTorch build with CUDA.",
            )
        self.name = name
        self.version = version
        self.backend = f"torch-{device}-{precision}"
        self.sources: tuple[str, ...] = tuple(model.sources)
        self.sample_rate = int(model.samplerate)
        self.segment_samples = int(model.segment * model.samplerate)
        self._model = model.eval().to(device)
        self._device = torch.device(device)
        self._autocast_dtype = None if precision == "float32" else getattr(torch, precision)
        self.preferred_batch = preferred_batch if preferred_batch is not None else _what_memory_allows(self._device)

    def separate_segments(self, segments: NDArray[np.float32]) -> NDArray[np.float32]:
        """`segments`: float32 [batch, 2, segment_samples] → float32 [batch, sources, 2, segment_samples].

        Raises `RunFailed` (`device_out_of_memory`) when the device cannot hold the batch, and not half of it either.
        """
        batch, channels, samples = segments.shape
        out = np.empty((batch, len(self.sources), channels, samples), dtype=np.float32)
        start = 0
        halved = False
        while start < batch:
            stop = min(start + self.preferred_batch, batch)
            try:
                out[start:stop] = self._forward(segments[start:stop])
            except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
                if not _is_out_of_memory(error):
                    raise
                if halved or stop - start == 1:
                    raise RunFailed(
                        "device_out_of_memory",
                        "The device has too little memory for the batch, at half its size too: free memory there, "
                        "or use the cpu device.",
                    ) from error
                halved = True
                self.preferred_batch = (stop - start) // 2
                self._release_device_memory()
                continue
            start = stop
        return out

    def _forward(self, segments: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        host = torch.from_numpy(np.ascontiguousarray(segments, dtype=np.float32))
        with torch.inference_mode(), self._repeatable(), self._autocast():
            if self._device.type == "cuda":
                host = host.pin_memory()
            stems = self._model(host.to(self._device, non_blocking=True))
            return stems.float().cpu().numpy()

    def _autocast(self) -> AbstractContextManager[Any]:
        import torch

        if self._autocast_dtype is None:
            return nullcontext()
        return torch.autocast(self._device.type, dtype=self._autocast_dtype)

    def _repeatable(self) -> AbstractContextManager[Any]:
        """cuDNN without its timing search (two runs could choose two algorithms) and without TF32 in float32."""
        import torch

        if self._device.type != "cuda":
            return nullcontext()
        return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)

    def _release_device_memory(self) -> None:
        import torch

        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def _what_memory_allows(device: torch.device) -> int:
    """Segments per forward pass that the device's free memory should hold; 1 on a CPU."""
    import torch

    if device.type != "cuda":
        return 1
    free, _ = torch.cuda.mem_get_info(device)
    return int(np.clip(free // _BYTES_PER_SEGMENT, 1, _LARGEST_CUDA_BATCH))


def _is_out_of_memory(error: BaseException) -> bool:
    """True for CUDA's own class and for the CPU allocator, which says it only in words."""
    import torch

    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
