"""The tree of stem names: four main stems, four drum parts, one remainder at each level."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_pipeline.errors import RequestRefused
from stem_pipeline.stems import ALL_STEMS, DRUM_PARTS, MAIN_STEMS, PARENT, REMAINDER, parse_stems


def test_every_stem_has_a_parent_and_every_parent_a_remainder_among_its_children() -> None:
    assert len(set(ALL_STEMS)) == 8
    assert {s for s in ALL_STEMS if PARENT[s] == "mixture"} == set(MAIN_STEMS)
    assert {s for s in ALL_STEMS if PARENT[s] == "drums"} == set(DRUM_PARTS)
    assert set(REMAINDER) == set(PARENT.values())
    assert all(PARENT[remainder] == parent for parent, remainder in REMAINDER.items())


@given(st.lists(st.sampled_from(ALL_STEMS), min_size=1))
def test_names_come_back_in_the_trees_order_without_doubles(names: list[str]) -> None:
    expected = tuple(s for s in ALL_STEMS if s in names)
    assert parse_stems(names) == expected
    assert parse_stems(" , ".join(n.upper() for n in names) + ",") == expected


@pytest.mark.parametrize("names", ["", " , ", [], "piano", "vocals,piano", ["drums", "drums.wav"], "../drums"])
def test_an_unknown_or_missing_name_is_refused_with_a_code_and_the_choices(names: str | list[str]) -> None:
    with pytest.raises(RequestRefused) as refusal:
        parse_stems(names)
    assert refusal.value.code == "stem_unknown"
    assert "cymbals" in refusal.value.message


def test_a_very_long_name_is_not_repeated_in_full() -> None:
    with pytest.raises(RequestRefused) as refusal:
        parse_stems("x" * 100_000)
    assert len(refusal.value.message) < 250
