"""Overlap-add in memory for one segment gives what a computation over the whole song gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stem_pipeline.separation.overlap_add import OverlapAdd
from stem_pipeline.separation.segments import SegmentPlan, plan_segments, triangle_window


def whole_song(plan: SegmentPlan, window: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """The weighted mean of all segments at every sample, in float64, with the whole song in memory."""
    total = np.zeros((*answers.shape[1:-1], plan.samples))
    weight = np.zeros(plan.samples)
    for segment, answer in zip(plan.segments, answers, strict=True):
        for at in range(segment.start, segment.stop):
            total[..., at] += answer[..., at - segment.offset].astype(np.float64) * window[at - segment.start]
            weight[at] += window[at - segment.start]
    return total / weight


PLANS = st.builds(plan_segments, st.integers(1, 400), st.integers(2, 90), st.sampled_from((0.0, 0.25, 0.5, 0.9)))


@settings(deadline=None, max_examples=50)
@given(plan=PLANS, seed=st.integers(0, 99))
def test_it_equals_the_computation_over_the_whole_song(plan: SegmentPlan, seed: int) -> None:
    answers = np.random.default_rng(seed).normal(0, 1, (len(plan.segments), 3, 2, plan.segment_samples))
    answers = answers.astype(np.float32)
    window = triangle_window(plan.segment_samples)
    join = OverlapAdd(plan, window)
    joined = np.concatenate([join.add(answer) for answer in answers], axis=-1)
    assert joined.shape == (3, 2, plan.samples)
    # float32 sums of at most some twenty segments, divided by a weight that may be 1/90: a few roundings of 6e-8.
    np.testing.assert_allclose(joined, whole_song(plan, window, answers), atol=1e-5)


@settings(deadline=None, max_examples=50)
@given(plan=PLANS)
def test_a_constant_stays_that_constant_to_the_ends(plan: SegmentPlan) -> None:
    join = OverlapAdd(plan, triangle_window(plan.segment_samples))
    segment = np.full((1, plan.segment_samples), 0.5, np.float32)
    joined = np.concatenate([join.add(segment) for _ in plan.segments], axis=-1)
    np.testing.assert_allclose(joined, np.full((1, plan.samples), 0.5), rtol=1e-5)


def test_what_is_final_comes_out_at_once() -> None:
    plan = plan_segments(100, 20, 0.5)
    join = OverlapAdd(plan, triangle_window(20))
    lengths = [join.add(np.zeros((2, 20), np.float32)).shape[-1] for _ in plan.segments]
    assert lengths == [10] * 8 + [20]


def test_a_segment_too_many_is_refused() -> None:
    plan = plan_segments(10, 20, 0.5)
    join = OverlapAdd(plan, triangle_window(20))
    join.add(np.zeros((1, 20), np.float32))
    with pytest.raises(ValueError, match="too many"):
        join.add(np.zeros((1, 20), np.float32))


def test_a_segment_of_another_length_is_refused() -> None:
    join = OverlapAdd(plan_segments(100, 20, 0.5), triangle_window(20))
    with pytest.raises(ValueError, match="another length"):
        join.add(np.zeros((1, 19), np.float32))


@pytest.mark.parametrize("window", [np.ones(19, np.float32), np.r_[0, np.ones(19)].astype(np.float32)])
def test_a_window_that_would_divide_by_zero_or_does_not_fit_is_refused(window: np.ndarray) -> None:
    with pytest.raises(ValueError, match="window"):
        OverlapAdd(plan_segments(100, 20, 0.5), window)
