"""The reference backend: Demucs' own answer, whatever the batch."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from demucs.htdemucs import HTDemucs

from stem_pipeline.errors import RequestRefused, RunFailed
from stem_pipeline.separation.demucs_torch import DemucsTorch
from stem_pipeline.separation.segment_model import SegmentModel

SOURCES = ["drums", "bass", "other", "vocals"]


@pytest.fixture(scope="module")
def small_model() -> HTDemucs:
    """A short, narrow HTDemucs of random weights: the same code paths in a hundredth of the time."""
    torch.manual_seed(0)
    return HTDemucs(
        sources=SOURCES, channels=8, bottom_channels=32, t_layers=3, t_heads=4, dconv_mode=3, dconv_comp=8,
        segment=Fraction(1), samplerate=44100,
    )  # fmt: skip


@pytest.fixture(scope="module")
def segments() -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1, (3, 2, 44100)).astype(np.float32)


def test_it_plays_the_segment_model_protocol(small_model: HTDemucs) -> None:
    backend = DemucsTorch(small_model, "v1")
    assert isinstance(backend, SegmentModel)
    assert (backend.name, backend.version, backend.backend) == ("htdemucs", "v1", "torch-cpu-float32")
    assert backend.sources == tuple(SOURCES)
    assert (backend.sample_rate, backend.segment_samples, backend.normalised) == (44100, 44100, True)
    assert backend.preferred_batch == 1


def test_it_gives_the_bytes_of_the_stock_forward(small_model: HTDemucs, segments: np.ndarray) -> None:
    with torch.inference_mode():
        stock = small_model.eval()(torch.from_numpy(segments[:1])).numpy()
    assert DemucsTorch(small_model, "v1").separate_segments(segments[:1]).tobytes() == stock.tobytes()


def test_a_batch_equals_its_segments_one_by_one(small_model: HTDemucs, segments: np.ndarray) -> None:
    batched = DemucsTorch(small_model, "v1", preferred_batch=3).separate_segments(segments)
    single = DemucsTorch(small_model, "v1", preferred_batch=1)
    one_by_one = np.concatenate([single.separate_segments(s[None]) for s in segments])
    # Only the order of summation differs: float32 rounding through some forty layers stays below −80 dB.
    error = np.sqrt(np.mean((batched - one_by_one) ** 2) / np.mean(one_by_one**2))
    assert 20 * np.log10(error + 1e-12) < -80
    assert not np.allclose(batched[0], batched[1], atol=1e-3)


def test_two_runs_give_the_same_bytes(small_model: HTDemucs, segments: np.ndarray) -> None:
    backend = DemucsTorch(small_model, "v1")
    assert backend.separate_segments(segments).tobytes() == backend.separate_segments(segments).tobytes()


def test_bfloat16_autocast_stays_near_float32_and_returns_float32(small_model: HTDemucs, segments: np.ndarray) -> None:
    exact = DemucsTorch(small_model, "v1").separate_segments(segments[:1])
    coarse = DemucsTorch(small_model, "v1", precision="bfloat16").separate_segments(segments[:1])
    assert coarse.dtype == np.float32
    error = np.sqrt(np.mean((coarse - exact) ** 2) / np.mean(exact**2))
    assert 0 < error < 0.1  # eight bits of mantissa: some 2 % after this depth; more would be a broken cast


class _Exhausted(torch.nn.Module):
    """A device with room for so many segments and no more, which no test machine can be made to be on demand."""

    def __init__(self, model: HTDemucs, room: int) -> None:
        super().__init__()
        self.model, self.room = model, room
        self.sources, self.samplerate, self.segment = model.sources, model.samplerate, model.segment
        self.asked: list[int] = []

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        self.asked.append(len(mix))
        if len(mix) > self.room:
            raise torch.OutOfMemoryError("out of memory")
        return self.model(mix)


def test_out_of_memory_is_tried_once_more_with_half_the_batch(small_model: HTDemucs, segments: np.ndarray) -> None:
    device = _Exhausted(small_model, room=1)
    answer = DemucsTorch(device, "v1", preferred_batch=2).separate_segments(segments)
    assert device.asked == [2, 1, 1, 1]
    assert answer.tobytes() == DemucsTorch(small_model, "v1").separate_segments(segments).tobytes()


def test_out_of_memory_at_half_the_batch_is_a_coded_failure(small_model: HTDemucs, segments: np.ndarray) -> None:
    device = _Exhausted(small_model, room=0)
    with pytest.raises(RunFailed) as refusal:
        DemucsTorch(device, "v1", preferred_batch=2).separate_segments(segments)
    assert refusal.value.code == "device_out_of_memory"
    assert device.asked == [2, 1]


def test_another_error_of_the_device_is_not_taken_for_lack_of_memory(small_model: HTDemucs) -> None:
    with pytest.raises(RuntimeError):
        DemucsTorch(small_model, "v1").separate_segments(np.zeros((1, 7, 44100), np.float32))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_on_a_machine_without_it_is_refused_with_a_code(small_model: HTDemucs) -> None:
    with pytest.raises(RunFailed) as refusal:
        DemucsTorch(small_model, "v1", device="cuda")
    assert refusal.value.code == "device_unavailable"


def test_an_unknown_precision_is_refused_with_a_code(small_model: HTDemucs) -> None:
    with pytest.raises(RequestRefused) as refusal:
        DemucsTorch(small_model, "v1", precision="int3")  # type: ignore[arg-type]
    assert refusal.value.code == "option_invalid"
