"""What is kept for tests is never learnt from: not the kits, not the grooves, not in what shipped."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from stem_pipeline.drums.grooves import RecordedGrooves
from stem_pipeline.drums.kits import (
    KITS,
    RESERVED_GROOVES,
    RESERVED_PROGRAMS,
    RESERVED_SAMPLES,
    refuse_reserved_groove,
    refuse_reserved_kit,
)
from stem_pipeline.drums.one_shots import OneShot, OneShotBank, read_kit
from stem_pipeline.drums.standard_midi import write_strokes
from stem_pipeline.drums.weights_file import SHIPPED, card_of
from stem_pipeline.errors import RequestRefused


@pytest.mark.parametrize(
    ("location", "program"),
    [
        ("/usr/share/hydrogen/data/drumkits/ColomboAcousticDrumkit", None),
        ("/elsewhere/forzee stereo", None),
        ("/usr/share/sounds/sf2/Red_Zeppelin_4_LV2.sf2", 0),
        ("/usr/share/sounds/sf2/FluidR3_GM.sf2", 32),
        ("/usr/share/sounds/sf2/FluidR3_GM.sf2", 25),
        ("/usr/share/sounds/sf2/MuseScore_General_Full.sf2", 25),
    ],
)
def test_a_reserved_kit_is_refused(location: str, program: int | None) -> None:
    with pytest.raises(RequestRefused, match="must not be trained on"):
        refuse_reserved_kit(location, program)


def test_no_kit_of_the_catalogue_is_reserved() -> None:
    for kit in KITS:
        refuse_reserved_kit(kit.location, kit.program)
    assert len(KITS) > 20  # the check above must have had something to check


def test_reading_a_reserved_kit_is_refused_before_a_file_is_opened() -> None:
    from dataclasses import replace

    reserved = replace(KITS[0], location="/not/there/ForzeeStereo")
    with pytest.raises(RequestRefused):
        next(iter(read_kit(reserved)))


@pytest.mark.parametrize("name", ["drummer1/session2/10_hiphop_86_beat_4-4.mid", "x/1_rock-prog_125_beat_4-4.MID"])
def test_a_reserved_groove_is_refused(name: str) -> None:
    with pytest.raises(RequestRefused):
        refuse_reserved_groove(name)


def test_a_zip_that_holds_reserved_grooves_gives_the_others_only(tmp_path: Path) -> None:
    midi = tmp_path / "groove.mid"
    write_strokes(midi, [(i * 0.25, 36 if i % 2 else 38, 100, 0.1) for i in range(40)])
    archive = tmp_path / "grooves.zip"
    with zipfile.ZipFile(archive, "w") as files:
        for name in ("d/1_rock-prog_125_beat_4-4.mid", "d/10_hiphop_86_beat_4-4.mid", "d/2_rock_90_beat_4-4.mid"):
            files.writestr(name, midi.read_bytes())
    grooves = RecordedGrooves(archive)
    assert grooves.names == ["d/2_rock_90_beat_4-4.mid"]
    assert grooves.excerpt(np.random.default_rng(0), 2.0)


def test_a_bank_with_a_kit_outside_the_catalogue_cannot_be_trained_on(tmp_path: Path) -> None:
    from stem_pipeline.drums.train import TrainingConfig, train

    shot = OneShot("hydrogen/ColomboAcousticDrumkit", "kick", "0 Kick", 1.0, np.ones((100, 2), np.float32))
    OneShotBank.write(tmp_path / "bank", [shot])
    with pytest.raises(RequestRefused):
        train(TrainingConfig(work_folder=str(tmp_path), steps=1, learners=1))


def test_the_shipped_card_names_no_reserved_kit_and_a_licence_for_each() -> None:
    card = card_of(SHIPPED)
    used = card["training"]["kits"]
    text = json.dumps(used).lower()
    for reserved in RESERVED_SAMPLES:
        assert reserved.lower().replace("_", " ") not in text.replace("_", " ")
    catalogue = {kit.name: kit for kit in KITS}
    for kit in used:
        assert kit["licence"] == catalogue[kit["name"]].licence
        program = catalogue[kit["name"]].program
        assert not any(font in kit["name"] and program in taken for font, taken in RESERVED_PROGRAMS.items())
    assert len(used) > 20
    assert len(RESERVED_GROOVES) == 3


def test_strokes_survive_the_midi_file(tmp_path: Path) -> None:
    from stem_pipeline.drums.standard_midi import read_strokes

    path = tmp_path / "a.mid"
    wanted = [(0.0, 36, 100, 0.05), (0.25, 38, 64, 0.05), (1.5, 42, 1, 0.05)]
    write_strokes(path, wanted)
    found = read_strokes(path.read_bytes())
    assert [(round(t, 3), k, v) for t, k, v in found] == [(t, k, v) for t, k, v, _ in wanted]
    with pytest.raises(RequestRefused):
        read_strokes(io.BytesIO(b"RIFF....").getvalue())
