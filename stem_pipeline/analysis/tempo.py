"""How fast a song is and where its beats lie.

Belongs here: from an onset envelope (of the mixture, and of the drums stem where there is one) to tempo, alternatives and beats.
Does not belong here: the envelope itself, the scoring of candidate tempos, bars and downbeats.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.analysis import tempogram
from stem_pipeline.analysis.onsets import FRAME_RATE, onset_envelope

_SHORTEST = 86  # frames: in less than a second nothing repeats
_RELATED = {
    "half": 1 / 2,
    "double": 2.0,
    "3/2": 3 / 2,
    "2/3": 2 / 3,
    "3/1": 3.0,
    "1/3": 1 / 3,
    "4/3": 4 / 3,
    "3/4": 3 / 4,
}
_SAME = 0.026  # octaves (1.8 %): candidates this near each other are one tempo
_LEAST_PULSE, _SURE_PULSE = (
    5.0,
    12.0,
)  # standard errors; noise of 5…60 s reaches 4.2, Brahms' strings 6.7, songs 12 and more
_TIGHTNESS = 120.0  # how dear a beat off its period is against a stronger onset (Ellis used 100 to 400)
_ONSET_DELAY_S = -0.003  # notes are seen 7 ms late, clicks 3 ms early (medians over generated songs)


@dataclass(frozen=True)
class Alternative:
    """Another tempo the song may be counted in."""

    bpm: float
    confidence: float
    """The chance that people tap this instead, 0…1."""
    relation: str
    """To the tempo given: `half`, `double`, `3/2`, …"""


@dataclass(frozen=True)
class Tempo:
    """bpm None and confidence 0: there is no pulse."""

    bpm: float | None
    confidence: float
    """The chance, 0…1, that this is what people tap."""
    alternatives: tuple[Alternative, ...] = ()
    """Likeliest first; half and double are always among them where they lie within 30…300 bpm."""
    beats_seconds: tuple[float, ...] = field(default=(), repr=False)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


NO_TEMPO = Tempo(None, 0.0)


def estimate_tempo(mono: NDArray[np.float32], sample_rate: int, rhythm: NDArray[np.float32] | None = None) -> Tempo:
    """Tempo of a whole signal. `mono`: float32 [samples]; `rhythm`: its drums stem, float32 [samples], if there is one."""
    drums = onset_envelope(rhythm, sample_rate) if rhythm is not None else None
    return tempo_of_envelope(onset_envelope(mono, sample_rate), drums)


def tempo_of_envelope(envelope: NDArray[np.float32], rhythm: NDArray[np.float32] | None = None) -> Tempo:
    """Tempo of an onset envelope. `envelope`, `rhythm`: float32 [bands, frames] at `FRAME_RATE`, of equal length.

    A candidate tempo is scored by how the envelope repeats at fractions and multiples of its beat (tempogram.py); the
    winner's beats are found by dynamic programming and the tempo is then the slope of the line through them.
    """
    if envelope.shape[1] < _SHORTEST:
        return NO_TEMPO
    flat = tempogram.flatten(envelope)
    correlation = tempogram.autocorrelation(flat)
    if rhythm is not None:
        drums = tempogram.flatten(rhythm)
        if np.any(drums):
            # Drums say more about the beat than the rest, but they may pause: both are heard.
            frames = min(flat.shape[1], drums.shape[1])
            flat = flat[:, :frames] + 2 * drums[:, :frames]
            correlation = (correlation + 2 * tempogram.autocorrelation(drums)) / 3
    if not np.any(correlation):
        return NO_TEMPO
    chances = tempogram.score(tempogram.describe(correlation))
    best = int(np.argmax(chances))
    pulse = _pulse(correlation[-1], flat.shape[1])
    if pulse < _LEAST_PULSE:
        return NO_TEMPO
    period = _refine_period(correlation[-1], 60 / tempogram.CANDIDATES[best] * FRAME_RATE)
    onsets = flat.sum(axis=0)
    frames = track_beats(onsets, period)
    times = _place(onsets, frames)
    bpm = _slope_bpm(times, 60 * FRAME_RATE / period)
    sure = min(1.0, (pulse - _LEAST_PULSE + 1) / (_SURE_PULSE - _LEAST_PULSE + 1))
    alternatives = [
        Alternative(round(bpm * ratio, 2), round(_chance_near(chances, bpm * ratio), 4), relation)
        for relation, ratio in _RELATED.items()
        if 30 <= bpm * ratio <= 300
    ]
    alternatives = [a for a in alternatives if a.relation in ("half", "double") or a.confidence >= 0.02]
    alternatives.sort(key=lambda a: -a.confidence)
    confidence = round(_chance_near(chances, bpm) * sure, 4)
    return Tempo(round(bpm, 2), confidence, tuple(alternatives), tuple(round(float(t), 4) for t in times))


def _chance_near(chances: NDArray[np.float64], bpm: float) -> float:
    return float(chances[np.abs(np.log2(tempogram.CANDIDATES / bpm)) < 1.5 * _SAME].sum())


def _pulse(correlation: NDArray[np.float64], frames: int) -> float:
    """How far the highest repetition stands above chance: in standard errors of the correlation of so many frames."""
    lags = correlation[12 : max(13, min(len(correlation), frames // 3))]
    return float(lags.max() * np.sqrt(frames))


def _refine_period(correlation: NDArray[np.float64], period: float) -> float:
    """The period (frames) within ±2 % at which the correlation's multiples peak together."""
    trial = period * np.linspace(0.98, 1.02, 81)
    count = max(1, min(8, int((len(correlation) - 2) / trial[-1])))
    lags = trial[:, None] * np.arange(1, count + 1)
    comb = np.interp(lags, np.arange(len(correlation)), correlation)
    return float(trial[int(np.argmax(comb.mean(axis=1)))])


def track_beats(onsets: NDArray[np.float32], period: float) -> NDArray[np.int64]:
    """Frames of the beats: the path of greatest onset strength whose steps stay near `period` frames (Ellis, "Beat tracking by
    dynamic programming", JNMR 2007). `onsets`: float32 [frames].

    A beat looks back half a period at least, so half a period of frames is solved at once.
    """
    from scipy.ndimage import gaussian_filter1d

    n = len(onsets)
    strength = gaussian_filter1d(onsets.astype(np.float64), max(1.0, period / 32))
    deviation = strength.std()
    if n < 2 * period or deviation == 0:
        return np.zeros(0, np.int64)
    strength /= deviation
    shortest, longest = max(1, round(period / 2)), round(2 * period)
    lags = np.arange(longest, shortest - 1, -1)
    cost = _TIGHTNESS * np.log(lags / period) ** 2
    scores = np.concatenate((np.zeros(longest), strength))
    came_from = np.full(n, -1, np.int64)
    for start in range(0, n, shortest):
        stop = min(n, start + shortest)
        earlier = np.lib.stride_tricks.sliding_window_view(scores[start : stop - 1 + len(lags)], len(lags)) - cost
        choice = earlier.argmax(axis=1)
        rows = np.arange(stop - start)
        scores[longest + start : longest + stop] += earlier[rows, choice]
        came_from[start:stop] = start + rows - lags[choice]
    last = n - round(period) + int(np.argmax(scores[-round(period) :]))
    path = []
    while last >= 0:
        path.append(last)
        last = int(came_from[last])
    beats = np.asarray(path[::-1], np.int64)
    return _trim(beats, strength)


def _trim(beats: NDArray[np.int64], strength: NDArray[np.float64]) -> NDArray[np.int64]:
    """Without the beats counted into silence at both ends."""
    at = strength[beats]
    heard = np.nonzero(at > 0.3 * np.sqrt(np.mean(np.maximum(at, 0) ** 2)))[0]
    return beats[heard[0] : heard[-1] + 1] if len(heard) else beats[:0]


def _place(onsets: NDArray[np.float32], frames: NDArray[np.int64]) -> NDArray[np.float64]:
    """Seconds of the beats, between frames by the parabola through three of them."""
    if not len(frames):
        return np.zeros(0)
    inner = np.clip(frames, 1, len(onsets) - 2)
    left, mid, right = (onsets[inner + i].astype(np.float64) for i in (-1, 0, 1))
    curve = left - 2 * mid + right
    shift = np.where(curve < -1e-9, 0.5 * (left - right) / np.minimum(curve, -1e-9), 0)
    return np.maximum(0.0, (frames + np.clip(shift, -0.5, 0.5)) / FRAME_RATE + _ONSET_DELAY_S)


def _slope_bpm(times: NDArray[np.float64], guess: float) -> float:
    """The tempo of the line through the beats; where the tempo drifts, that of the median interval; else the guess.

    Beats that stray from the line by more than 40 ms (syncopations) are left out and the line drawn again.
    """
    if len(times) < 6:
        return guess
    number = np.round(np.concatenate(([0.0], np.cumsum(np.diff(times) * guess / 60))))
    kept = np.ones(len(times), bool)
    for _ in range(3):
        slope, start = np.polyfit(number[kept], times[kept], 1)
        stray = np.abs(times - (start + slope * number))
        kept = stray < 0.04
        if kept.sum() < max(6, 0.5 * len(times)):
            return float(60 / np.median(np.diff(times)))
    bpm = float(60 / slope)
    return bpm if abs(bpm / guess - 1) < 0.04 else guess
