"""Key, runner-up and tuning on chords and generated songs."""

import json

import numpy as np
import pytest
from generated_songs import RATE, STYLES, generate

from stem_pipeline.analysis.key import NO_KEY, camelot, estimate_key

_NAMES = ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"]
_PITCH_CLASS = {name: i for i, name in enumerate(_NAMES)} | {"Db": 1, "G#": 8}


def same_key(one: str | None, other: str) -> bool:
    if one is None:
        return False
    (tonic, mode), (other_tonic, other_mode) = one.split(), other.split()
    return mode == other_mode and _PITCH_CLASS[tonic] == _PITCH_CLASS[other_tonic]


def chords(*triads: tuple[int, str], cents: float = 0.0, rate: int = RATE, seconds: float = 2.0) -> np.ndarray:
    """Sawtooth-like triads over a bass note: (MIDI root, `M` or `m`)."""
    t = np.arange(round(seconds * rate)) / rate
    out = []
    for root, quality in triads:
        notes = [root, root + (4 if quality == "M" else 3), root + 7, root - 12]
        hertz = [440 * 2 ** ((n - 69 + cents / 100) / 12) for n in notes]
        out.append(sum(np.sin(2 * np.pi * k * f * t) / k**1.5 for f in hertz for k in range(1, 7)) * np.exp(-t))
    return (np.concatenate(out) * 0.05).astype(np.float32)


@pytest.mark.parametrize("tonic", range(12))
def test_a_cadence_is_heard_in_every_major_and_minor_key(tonic: int) -> None:
    c = 48 + tonic
    major = chords((c, "M"), (c + 5, "M"), (c + 7, "M"), (c, "M"))
    minor = chords((c, "m"), (c + 5, "m"), (c + 7, "M"), (c, "m"))
    names = ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"]
    assert same_key(estimate_key(major, RATE).name, f"{names[tonic]} major")
    assert same_key(estimate_key(minor, RATE).name, f"{names[tonic]} minor")


@pytest.mark.parametrize("cents", [-40, -20, 0, 30])
def test_a_song_out_of_tune_keeps_its_key_and_tells_its_tuning(cents: float) -> None:
    key = estimate_key(chords((57, "m"), (62, "m"), (64, "M"), (57, "m"), cents=cents, rate=44_100), 44_100)
    assert key.name == "A minor"
    assert key.tuning_cents == pytest.approx(cents, abs=5)  # half a step of ten cents


def test_confidences_are_chances_and_the_runner_up_is_another_key() -> None:
    key = estimate_key(chords((48, "M"), (53, "M"), (55, "M"), (48, "M")), RATE)
    assert key.runner_up is not None
    assert key.runner_up.name != key.name
    assert 0 < key.runner_up.confidence <= key.confidence <= 1


def test_the_camelot_wheel_turns_by_fifths() -> None:
    assert [camelot(7 * i % 12, "major") for i in range(3)] == ["8B", "9B", "10B"]
    assert camelot(9, "minor") == "8A"
    assert len({camelot(t, m) for t in range(12) for m in ("major", "minor")}) == 24


@pytest.mark.parametrize("samples", [0, 1, RATE])
def test_silence_has_no_key(samples: int) -> None:
    assert estimate_key(np.zeros(samples, np.float32), RATE) == NO_KEY


def test_noise_has_no_key_and_the_result_is_json() -> None:
    noise = np.random.default_rng(0).standard_normal(10 * RATE).astype(np.float32) * 0.1
    key = estimate_key(noise, RATE)
    assert key.confidence < 0.5
    assert json.dumps(key.as_dict(), allow_nan=False)


def test_generated_songs_of_each_style_mostly_give_their_key() -> None:
    """Seeds that nothing was fitted to."""
    right = 0
    for i, style in enumerate(STYLES):
        song = generate(200_000 + i, style)
        right += same_key(estimate_key(song.audio, RATE).name, song.key)
    assert right >= 8  # of 13; the goal is 67 % of many songs


@pytest.mark.slow
def test_key_accuracy_on_130_generated_songs() -> None:
    songs = [generate(300_000 + i, list(STYLES)[i % len(STYLES)]) for i in range(130)]
    assert np.mean([same_key(estimate_key(song.audio, RATE).name, song.key) for song in songs]) >= 0.67
