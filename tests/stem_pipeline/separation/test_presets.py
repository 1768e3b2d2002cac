"""Presets: more quality never means less overlap, and a name that is none is refused with a code."""

from __future__ import annotations

import pytest

from stem_pipeline.errors import RequestRefused
from stem_pipeline.separation.presets import PRESETS, find_preset


def test_fast_standard_and_best_are_there_in_order_of_overlap() -> None:
    assert tuple(PRESETS) == ("fast", "standard", "best")
    overlaps = [preset.overlap for preset in PRESETS.values()]
    assert overlaps == sorted(overlaps)
    assert all(0 <= overlap <= 0.9 for overlap in overlaps)  # what a plan takes


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_is_found_by_its_name(name: str) -> None:
    assert find_preset(name).name == name


@pytest.mark.parametrize("name", ["", "Best", "ultra", "x" * 10_000])
def test_an_unknown_quality_is_refused_with_a_code_and_the_choices(name: str) -> None:
    with pytest.raises(RequestRefused) as refusal:
        find_preset(name)
    assert refusal.value.code == "option_invalid"
    assert "fast, standard, best" in refusal.value.message
    assert len(refusal.value.message) < 200
