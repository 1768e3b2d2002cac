"""Clips: what is asked for, apart and together, the same again from the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from drum_sounds import synthetic_bank

from stem_pipeline.drums.grooves import invented_groove, more_toms
from stem_pipeline.drums.one_shots import PIECES, RATE, piece_of
from stem_pipeline.drums.rendering import Renderer


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    return Renderer(synthetic_bank(tmp_path_factory.mktemp("bank")))


def test_parts_and_residue_add_up_to_the_mixture(renderer: Renderer) -> None:
    clip = renderer.clip(np.random.default_rng(1), 3.0)
    assert clip.parts.shape == (4, 2, 3 * RATE)
    total = clip.parts.astype(np.float64).sum(0) + clip.residue
    # float32 sums of five signals near 1: rounding of 2⁻²² at most
    assert np.abs(total - clip.mixture).max() < 5e-7
    assert np.sqrt(np.mean(clip.mixture**2)) > 0.02


def test_the_same_seed_gives_the_same_clip_and_another_seed_another(renderer: Renderer) -> None:
    first, again = (renderer.clip(np.random.default_rng(5), 2.0) for _ in range(2))
    assert first.parts.tobytes() == again.parts.tobytes()
    assert first.parts.tobytes() != renderer.clip(np.random.default_rng(6), 2.0).parts.tobytes()


def test_a_set_of_clips_has_every_part_and_clips_that_lack_one(renderer: Renderer) -> None:
    silent = np.array(
        [[not part.any() for part in renderer.clip(np.random.default_rng((9, i)), 2.0).parts] for i in range(24)]
    )
    assert not silent.all(0).any(), "a part that never sounds cannot be learnt"
    assert silent.any(), "a part that is always there would never be learnt to be silent"


def test_an_invented_groove_is_in_order_and_plays_only_what_a_set_has() -> None:
    for seed in range(20):
        strokes = invented_groove(np.random.default_rng(seed), 6.0)
        assert len(strokes) > 4
        times = [s.seconds for s in strokes]
        assert times == sorted(times)
        assert {s.piece for s in strokes} <= set(PIECES)
        assert all(0 < s.velocity <= 1 for s in strokes)


def test_more_toms_keeps_the_rhythm() -> None:
    strokes = invented_groove(np.random.default_rng(3), 8.0)
    changed = more_toms(np.random.default_rng(4), strokes)
    assert [s.seconds for s in changed] == [s.seconds for s in strokes]
    assert sum(s.piece == "tom" for s in changed) > sum(s.piece == "tom" for s in strokes)


@pytest.mark.parametrize(
    ("name", "piece"),
    [
        ("c3 - bass drum 1", "kick"),
        ("Pearl Snare Rimshot", "snare"),
        ("Side OHH", "hat_open"),
        ("VariBreaks Hat 1 Pd", "hat_pedal"),
        ("Floor Tom", "tom"),
        ("Ride Bell", "bell"),
        ("Snare Roll", None),
        ("Hand Clap", "clap"),
        ("Conga 1", None),
    ],
)
def test_instrument_names_mean_pieces(name: str, piece: str | None) -> None:
    assert piece_of(name) == piece
