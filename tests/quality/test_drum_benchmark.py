"""The benchmark's own arithmetic, on signals whose answer is known."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from quality.drum_benchmark import (
    RATE,
    RESERVED_LOOPS,
    Score,
    as_table,
    band_splitting,
    draw_parts,
    mixture_itself,
    onset_leakage,
    read_multitrack,
    read_onsets,
    render_reserved_loop,
    score_multitrack,
    sdr_db,
    separated_by,
    si_sdr_db,
    sum_of,
)
from stem_pipeline.errors import RequestRefused
from stem_pipeline.stems import DRUM_PARTS

DRUMKITS = Path("/usr/share/hydrogen/data/drumkits")


def _noise(seed: int, seconds: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((1, int(seconds * RATE))).astype(np.float32)


def test_an_error_a_tenth_of_the_signal_is_20_db() -> None:
    signal = _noise(0)
    assert sdr_db(signal, signal * np.float32(1.1)) == pytest.approx(20, abs=0.01)
    assert sdr_db(np.zeros_like(signal), signal) != sdr_db(
        np.zeros_like(signal), signal
    )  # NaN: nothing to compare with


def test_si_sdr_does_not_mind_level_and_sdr_does() -> None:
    signal, other = _noise(0), _noise(1)
    estimate = signal + 0.1 * other
    assert si_sdr_db(signal, estimate) == pytest.approx(20, abs=0.2)
    assert si_sdr_db(signal, 0.5 * estimate) == pytest.approx(si_sdr_db(signal, estimate), abs=1e-6)
    assert sdr_db(signal, 0.5 * estimate) == pytest.approx(6, abs=0.1)


def test_bands_add_up_to_the_mixture() -> None:
    mixture = _noise(2)
    assert np.abs(sum_of(band_splitting(mixture)) - mixture).max() < 1e-5


def test_a_perfect_method_wins_and_silent_parts_are_left_out() -> None:
    parts = {p: _noise(i, 0.2) for i, p in enumerate(DRUM_PARTS)}
    parts["toms"] = np.zeros_like(parts["toms"])
    scores = list(score_multitrack("clip", parts, {"mixture": mixture_itself, "truth": lambda _: parts}))
    assert {s.part for s in scores} == {"kick", "snare", "cymbals"}
    best = {s.method: s.sdr_db for s in scores if s.part == "kick"}
    # three equal parts: the other two are the error, −3 dB
    assert best["mixture"] == pytest.approx(-3, abs=0.3)
    assert best["truth"] > 100


def test_the_table_has_the_published_figures_beside_ours() -> None:
    table = as_table([Score("Colombo", "ours", p, 10.0, 9.0, 0.1) for p in DRUM_PARTS])
    assert "| Colombo | ours | 10.0 (9.0) |" in table
    assert "14.2" in table


def test_leakage_tells_a_clean_part_from_a_leaking_one(tmp_path: Path) -> None:
    annotation = tmp_path / "song.txt"
    annotation.write_text("0.5 \t KD \n1.0 \t SD \n1.5 \t KD \n2.0 \t SD \n2.2 \t OT \n")
    onsets = read_onsets(annotation)
    assert onsets == {"kick": [0.5, 1.5], "snare": [1.0, 2.0]}
    silent = np.zeros((1, 3 * RATE), np.float32)
    kick, snare = silent.copy(), silent.copy()
    for t in onsets["kick"]:
        kick[:, int(t * RATE) : int((t + 0.05) * RATE)] = 0.5
    for t in onsets["snare"]:
        snare[:, int(t * RATE) : int((t + 0.05) * RATE)] = 0.5
    parts = {"kick": kick, "snare": snare + 0.1 * kick, "cymbals": silent, "toms": silent}
    found = {x.part: x.own_over_others_db for x in onset_leakage(parts, onsets)}
    assert found["kick"] > 60
    assert found["snare"] == pytest.approx(20, abs=0.1)  # a tenth of the kick is in it


def test_a_folder_without_parts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestRefused) as refused:
        read_multitrack(tmp_path)
    assert refused.value.code == "audio_not_found"
    assert str(tmp_path) not in refused.value.message
    with pytest.raises(RequestRefused):
        render_reserved_loop(RESERVED_LOOPS["Colombo"], tmp_path)


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    parts = {p: _noise(i, 0.5) for i, p in enumerate(DRUM_PARTS)}
    draw_parts(sum_of(parts), parts, tmp_path / "deep" / "parts.png")
    assert (tmp_path / "deep" / "parts.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
@pytest.mark.parametrize("kit", list(RESERVED_LOOPS))
def test_the_shipped_network_beats_the_bar_on_kits_it_never_heard(kit: str) -> None:
    from stem_pipeline.drums.model import DrumNet

    if not DRUMKITS.is_dir():
        pytest.skip("apt-get install hydrogen-drumkits to have the reserved kits")
    parts = render_reserved_loop(RESERVED_LOOPS[kit], DRUMKITS)
    methods = {"mixture": mixture_itself, "ours": separated_by(DrumNet())}
    scores = list(score_multitrack(kit, parts, methods))
    ours = {s.part: s.sdr_db for s in scores if s.method == "ours"}
    floor = {s.part: s.sdr_db for s in scores if s.method == "mixture"}
    assert all(ours[p] > floor[p] for p in DRUM_PARTS)
    # Inverse Drum Machine has 11.7 and 4.9 here.
    assert np.mean(list(ours.values())) >= {"Colombo": 11.7, "Forzee": 6.9}[kit]


@pytest.mark.slow
@pytest.mark.parametrize("kit", list(RESERVED_LOOPS))
def test_our_reserved_loops_are_the_shared_ones(kit: str) -> None:
    shared = os.environ.get("STEM_PIPELINE_SHARED_AUDIO")
    if not shared or not DRUMKITS.is_dir():
        pytest.skip("needs STEM_PIPELINE_SHARED_AUDIO and hydrogen-drumkits")
    known = read_multitrack(Path(shared) / "drums" / "reserved" / kit)
    ours = render_reserved_loop(RESERVED_LOOPS[kit], DRUMKITS)
    for part in DRUM_PARTS:
        assert known[part].shape == ours[part].shape
        assert sdr_db(known[part], ours[part]) > 80  # the shared files have 24 bits
