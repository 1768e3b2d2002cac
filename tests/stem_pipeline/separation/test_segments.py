"""Segments cover a song, overlap as asked, and are not more than needed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stem_pipeline.separation.segments import plan_segments, triangle_window

SIZES = st.integers(1, 400)
OVERLAPS = st.sampled_from((0.0, 0.1, 0.25, 0.5, 0.75, 0.9))


@given(samples=st.integers(1, 5_000), size=SIZES, overlap=OVERLAPS)
@example(samples=10, size=10, overlap=0.25)
@example(samples=11, size=10, overlap=0.25)
@example(samples=9, size=10, overlap=0.25)
@example(samples=1, size=400, overlap=0.9)
def test_every_sample_is_covered_and_neighbours_overlap_as_asked(samples: int, size: int, overlap: float) -> None:
    segments = plan_segments(samples, size, overlap).segments
    assert segments[0].start == 0
    assert segments[-1].stop == samples
    # A stride is whole samples, at least one: a segment of one sample has no overlap to give.
    widest = max(1, int(size * (1 - overlap)))
    for one, following in itertools.pairwise(segments):
        assert 0 < following.start - one.start <= widest
        assert one.stop - one.start == size  # so that they have size − stride in common


@given(samples=st.integers(1, 5_000), size=SIZES, overlap=OVERLAPS)
def test_what_is_used_of_a_segment_lies_in_what_the_model_heard(samples: int, size: int, overlap: float) -> None:
    segments = plan_segments(samples, size, overlap).segments
    assert segments[0].offset <= 0
    offsets = [segment.offset for segment in segments]
    assert offsets == sorted(set(offsets))  # the engine reads forward only
    for segment in segments:
        assert segment.offset <= segment.start < segment.stop <= min(segment.offset + size, samples)
        # What is missing to a whole segment is silence, half of it before (in whole samples) and half after.
        assert segment.start - segment.offset == (size - (segment.stop - segment.start)) // 2


@given(samples=st.integers(1, 5_000), size=SIZES, overlap=OVERLAPS)
def test_there_is_not_one_segment_more_than_needed(samples: int, size: int, overlap: float) -> None:
    stride = max(1, int(size * (1 - overlap)))
    fewest = 1 + max(0, -(-(samples - size) // stride))
    assert len(plan_segments(samples, size, overlap).segments) == fewest


def test_no_samples_need_no_segments() -> None:
    assert plan_segments(0, 10, 0.25).segments == ()


@pytest.mark.parametrize(
    ("samples", "size", "overlap"), [(10, 5, -0.1), (10, 5, 0.91), (10, 5, float("nan")), (-1, 5, 0), (10, 0, 0)]
)
def test_a_plan_that_makes_no_sense_is_refused(samples: int, size: int, overlap: float) -> None:
    with pytest.raises(ValueError, match="cannot plan"):
        plan_segments(samples, size, overlap)


@given(size=SIZES, power=st.sampled_from((0.5, 1.0, 2.0)))
def test_the_window_is_above_zero_everywhere_and_one_in_the_middle(size: int, power: float) -> None:
    window = triangle_window(size, power)
    assert window.shape == (size,)
    assert window.dtype == np.float32
    assert window.min() > 0
    assert window.max() == window[size // 2] == 1
