"""Integers that add up to the last bit, at any depth, with one gain for all, and nothing that wraps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_pipeline.rounding import round_keeping_sum, round_to_integers, shared_gain
from stem_pipeline.stems import DRUM_PARTS, MAIN_STEMS, REMAINDER

DEPTHS = st.sampled_from((16, 24))
LEVELS = st.sampled_from((0.0, 1e-6, 0.1, 1.0, 3.0))


def song(seed: int, samples: int, level: float, stems: tuple[str, ...]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Stems, and the float32 parent that they add up to (to float32's rounding, as after consistency)."""
    draw = np.random.default_rng(seed)
    children = {s: (level * draw.uniform(-1, 1, (2, samples))).astype(np.float32) for s in stems}
    return np.sum([c.astype(np.float64) for c in children.values()], axis=0).astype(np.float32), children


def largest(children: dict[str, np.ndarray]) -> float:
    return max(float(np.abs(c).max(initial=0)) for c in children.values())


@given(
    seed=st.integers(0, 999), samples=st.integers(0, 300), level=LEVELS, bits=DEPTHS,
    stems=st.sampled_from((MAIN_STEMS, DRUM_PARTS)),
)  # fmt: skip
def test_the_integers_add_up_exactly_whatever_the_level(
    seed: int, samples: int, level: float, bits: int, stems: tuple[str, ...]
) -> None:
    parent, children = song(seed, samples, level, stems)
    gain = shared_gain(largest(children), bits)
    whole = round_to_integers(parent, bits, gain)
    rounded = round_keeping_sum(whole, children, bits, gain)
    assert tuple(rounded) == stems
    np.testing.assert_array_equal(sum(r.astype(np.int64) for r in rounded.values()), whole)
    scale = 2 ** (bits - 1)
    for stem, integers in rounded.items():
        assert integers.dtype == np.int32
        assert integers.shape == children[stem].shape
        exact = children[stem].astype(np.float64) * gain * scale
        # Half a step for a rounded stem; the remainder carries three of them and the parent's. Above that, float32's own
        # rounding of the parent, which at 24 bits and level 3 is a step too.
        allowed = (
            0.5 if stem != REMAINDER["mixture" if "other" in stems else "drums"] else 2 + 2 * level * scale * 2**-23
        )
        assert np.abs(integers - exact).max(initial=0) <= allowed + 1e-6


@given(seed=st.integers(0, 999), bits=DEPTHS)
def test_a_source_over_full_scale_keeps_its_sum_where_no_stem_clips(seed: int, bits: int) -> None:
    """Four stems near full scale make a mixture near four times full scale, which is never written itself."""
    draw = np.random.default_rng(seed)
    children = {s: draw.uniform(0.8, 0.99, (2, 50)).astype(np.float32) for s in MAIN_STEMS}
    parent = np.sum(list(children.values()), axis=0, dtype=np.float64).astype(np.float32)
    assert parent.min() > 3
    assert shared_gain(largest(children), bits) == 1.0
    whole = round_to_integers(parent, bits)
    rounded = round_keeping_sum(whole, children, bits)
    np.testing.assert_array_equal(sum(r.astype(np.int64) for r in rounded.values()), whole)
    assert all(r.min() > 0 for r in rounded.values())  # nothing wrapped to the other sign


@pytest.mark.parametrize("bits", [16, 24])
def test_what_does_not_fit_is_cut_and_never_wraps(bits: int) -> None:
    children = {s: np.array([[1.5, -1.5]], np.float32) for s in MAIN_STEMS}
    rounded = round_keeping_sum(round_to_integers(np.array([[6.0, -6.0]]), bits), children, bits)
    for integers in rounded.values():
        np.testing.assert_array_equal(integers, [[2 ** (bits - 1) - 1, -(2 ** (bits - 1))]])


@given(peak=st.floats(0, 100), bits=DEPTHS)
def test_the_gain_is_never_above_one_and_only_used_where_a_stem_would_clip(peak: float, bits: int) -> None:
    gain = shared_gain(peak, bits)
    scale = 2 ** (bits - 1)
    assert 0 < gain <= 1
    assert (gain == 1) == (peak <= 1 - 4 / scale)
    # With its gain the loudest sample keeps the room that the remainder's rounding may need (2 steps).
    assert round(peak * gain * scale) + 2 <= scale - 1


@pytest.mark.parametrize("peak", [0.0, 1.0, 50.0])
def test_floating_point_cannot_clip_and_gets_no_gain(peak: float) -> None:
    assert shared_gain(peak, None) == 1.0


@pytest.mark.parametrize(
    ("bits", "expected"), [(16, [-32768, -1, 0, 16384, 32768]), (24, [-(2**23), -256, 0, 2**22, 2**23])]
)
def test_full_scale_is_two_to_the_bits_less_one(bits: int, expected: list[int]) -> None:
    signal = np.array([[-1, -1 / 32768, 0, 0.5, 1]], np.float32)
    np.testing.assert_array_equal(round_to_integers(signal, bits), [expected])


@given(seed=st.integers(0, 99), bits=DEPTHS)
def test_what_the_remainder_was_does_not_matter_the_parent_decides(seed: int, bits: int) -> None:
    parent, children = song(seed, 40, 0.1, MAIN_STEMS)
    whole = round_to_integers(parent, bits)
    one = round_keeping_sum(whole, children, bits)
    other = round_keeping_sum(whole, children | {"other": children["other"] * 0}, bits)
    np.testing.assert_array_equal(one["other"], other["other"])
