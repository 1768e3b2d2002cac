"""Which key a song is in.

Belongs here: key profiles and how they are compared with what sounds. Does not belong here: finding the pitches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.analysis.chroma import PitchEnergy, PitchMeter
from stem_pipeline.analysis.onsets import MonoResampler

_NAMES = {
    "major": ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"),
    "minor": ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B"),
}
# How often each degree sounds in a key, from the tonic up by semitones; two counts of very different music are averaged.
_CLASSICAL = {  # Albrecht and Shanahan, Music Perception 31 (2013): 982 classical works
    "major": (0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.080, 0.008, 0.081),
    "minor": (0.220, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052),
}
_ELECTRONIC = {  # Faraldo et al., ECIR 2016: electronic dance music
    "major": (1.00, 0.29, 0.50, 0.40, 0.60, 0.56, 0.32, 0.80, 0.31, 0.45, 0.42, 0.39),
    "minor": (1.00, 0.31, 0.44, 0.58, 0.33, 0.49, 0.29, 0.78, 0.43, 0.29, 0.53, 0.32),
}
_TRIAD = {"major": (0, 4, 7), "minor": (0, 3, 7)}
# What each observation counts: a softmax over the 24 keys, fitted to 520 generated songs. The last was fitted to
# those of them that are whole songs, as uploads are; it costs excerpts nothing, since there the first and the last chord
# seldom agree.
_WEIGHTS = {"classical": 4.9, "electronic": 2.8, "bass": 2.7, "triad_share": 4.9, "first_and_last_chord": 5.0}
_CHORD_SHARPNESS = 8.0  # of a softmax over correlations with the 24 triads
_EDGE_SEGMENTS = 3  # 2.2 s: about the length of the first and the last chord
_LEAST_CONTRAST, _SURE_CONTRAST = (
    0.15,
    0.4,
)  # deviation by mean of the twelve; noise 0.08, the flattest of 130 songs 0.6


@dataclass(frozen=True)
class KeyGuess:
    name: str
    """For example `A minor`."""
    confidence: float
    """0…1; over all 24 keys they sum to 1."""


@dataclass(frozen=True)
class Key:
    """None throughout and confidence 0: nothing tonal sounds."""

    tonic: str | None
    mode: str | None
    """`major` or `minor`."""
    name: str | None
    confidence: float
    """The chance, 0…1, that this is the key."""
    runner_up: KeyGuess | None
    camelot: str | None
    """The disc jockeys' wheel: 8A is A minor, 8B is C major, neighbours mix."""
    tuning_cents: float | None
    """How far A4 lies from 440 Hz."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


NO_KEY = Key(None, None, None, 0.0, None, None, None)


def estimate_key(mono: NDArray[np.float32], sample_rate: int) -> Key:
    """Key of a whole signal, float32 [samples]. Where stems exist, bass + other say it better than the mixture."""
    meter, resampler = PitchMeter(), MonoResampler(sample_rate)
    step = 30 * sample_rate
    for start in range(0, len(mono), step):
        meter.add(resampler.add(mono[None, start : start + step], last=start + step >= len(mono)))
    return key_of_pitches(meter.result())


def key_of_pitches(pitches: PitchEnergy) -> Key:
    """The key that explains best what sounds.

    Observed of each key: how its profiles correlate with the pitch classes of the treble (Krumhansl and Schmuckler's method)
    and of the bass, for how much of the time its tonic triad sounds, and whether the song begins and ends on that triad.
    """
    if not len(pitches.treble) or not (pitches.treble.any() or pitches.bass.any()):
        return NO_KEY
    tuning = pitches.tuning_cents()
    treble, bass = pitches.chroma(tuning)
    heard = _mean(treble)
    contrast = float(heard.std() / heard.mean()) if heard.any() else 0.0
    if contrast < _LEAST_CONTRAST:
        return NO_KEY
    low = _mean(bass)
    observed = {
        "classical": _correlate(heard, _rotations(_CLASSICAL)),
        "electronic": _correlate(heard, _rotations(_ELECTRONIC)),
        "bass": _correlate(low, _rotations(_ELECTRONIC)),
        "triad_share": _chords(_scaled(treble) + 0.5 * _scaled(bass)).mean(axis=0),
        "first_and_last_chord": _first_and_last(treble, bass),
    }
    evidence = sum(_WEIGHTS[name] * values for name, values in observed.items())
    return _decide(np.asarray(evidence), tuning, min(1.0, contrast / _SURE_CONTRAST))


def _scaled(segments: NDArray[np.float32]) -> NDArray[np.float64]:
    """Each segment to sum 1, smoothed with the next: a chord lasts longer than one."""
    rows = segments / (segments.sum(axis=1, keepdims=True, dtype=np.float64) + 1e-9)
    return (rows + np.concatenate((rows[:1], rows[:-1]))) / 2


def _mean(segments: NDArray[np.float32]) -> NDArray[np.float64]:
    """float32 [segments, 12] → float64 [12] of sum 1 (or 0); a segment counts by the square root of its strength."""
    totals = segments.sum(axis=1, keepdims=True, dtype=np.float64)
    mean = (segments / np.sqrt(totals + 1e-9)).mean(axis=0)
    return mean / (mean.sum() + 1e-9)


def _rotations(profile: Mapping[str, tuple[float, ...]]) -> NDArray[np.float64]:
    """The profile of the twelve major, then of the twelve minor keys: float64 [24, 12]."""
    return np.stack([np.roll(profile[mode], tonic) for mode in ("major", "minor") for tonic in range(12)])


def _triads() -> NDArray[np.float64]:
    return _rotations({m: tuple(float(i in tones) for i in range(12)) for m, tones in _TRIAD.items()})


def _correlate(heard: NDArray[np.float64], profiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson's correlation of float64 [..., 12] with each row of [24, 12]: [..., 24]; 0 where nothing sounds."""
    heard = heard - heard.mean(axis=-1, keepdims=True)
    profiles = profiles - profiles.mean(axis=1, keepdims=True)
    scale = np.linalg.norm(heard, axis=-1, keepdims=True) * np.linalg.norm(profiles, axis=1)
    return heard @ profiles.T / (scale + 1e-9)


def _chords(segments: NDArray[np.float64]) -> NDArray[np.float64]:
    """The chance of each triad: float64 [..., 12] → [..., 24]."""
    likeness = np.exp(_CHORD_SHARPNESS * _correlate(segments, _triads()))
    return likeness / likeness.sum(axis=-1, keepdims=True)


def _first_and_last(treble: NDArray[np.float32], bass: NDArray[np.float32]) -> NDArray[np.float64]:
    """The chance of each triad to be both the first and the last that sounds: float64 [24]."""
    strength = treble.sum(axis=1) + bass.sum(axis=1)
    sounding = np.nonzero(strength > 0.25 * np.median(strength))[0]
    first, last = (
        _chords(_mean(treble[edge]) + 0.5 * _mean(bass[edge]))
        for edge in (sounding[:_EDGE_SEGMENTS], sounding[-_EDGE_SEGMENTS:])
    )
    return first * last


def _decide(evidence: NDArray[np.float64], tuning: float, sure: float) -> Key:
    chances = np.exp(evidence - evidence.max())
    chances *= sure / chances.sum()
    second, best = np.argsort(evidence, kind="stable")[-2:]
    tonic, mode, name = _name(int(best))
    runner_up = KeyGuess(_name(int(second))[2], round(float(chances[second]), 4))
    return Key(
        tonic, mode, name, round(float(chances[best]), 4), runner_up, camelot(int(best) % 12, mode), round(tuning, 1)
    )


def _name(index: int) -> tuple[str, str, str]:
    mode = "major" if index < 12 else "minor"
    tonic = _NAMES[mode][index % 12]
    return tonic, mode, f"{tonic} {mode}"


def camelot(tonic: int, mode: str) -> str:
    """`tonic`: semitones above C.

    >>> camelot(9, "minor"), camelot(0, "major")
    ('8A', '8B')
    """
    relative_major = tonic if mode == "major" else tonic + 3
    return f"{(7 * relative_major + 7) % 12 + 1}{'B' if mode == 'major' else 'A'}"
