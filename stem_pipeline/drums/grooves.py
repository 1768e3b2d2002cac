"""What the drummer plays: strokes in time, made up by rule or taken from recorded performances.

Belongs here: styles, fills, ghost notes, timing, and reading performances (Standard MIDI Files in a zip, such as Groove
MIDI). Does not belong here: sound. Nothing here is a transcription: styles are probabilities on a grid of sixteenths.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stem_pipeline.drums.kits import refuse_reserved_groove
from stem_pipeline.drums.standard_midi import read_strokes
from stem_pipeline.errors import RequestRefused


@dataclass(frozen=True)
class Stroke:
    """One hit: when (seconds), on what (`one_shots.PIECES`), how high for a tom (0 floor … 1 high), how hard (0…1)."""

    seconds: float
    piece: str
    height: float
    velocity: float


Grid = dict[str, list[float]]
"""Chance of a stroke on each of the bar's 16 sixteenths."""


def _on(steps: dict[int, float], other: float = 0.0) -> list[float]:
    return [steps.get(i, other) for i in range(16)]


_EIGHTHS = _on(dict.fromkeys(range(0, 16, 2), 0.97))
_SIXTEENTHS = [0.95] * 16
_QUARTERS = _on(dict.fromkeys(range(0, 16, 4), 0.97))
_OFFBEATS = _on(dict.fromkeys((2, 6, 10, 14), 0.95))
_RIDE_SWING = _on({0: 1, 4: 1, 7: 0.9, 8: 1, 12: 1, 15: 0.9})

STYLES: dict[str, Grid] = {
    "rock": {"kick": _on({0: 1, 6: 0.3, 8: 0.8, 10: 0.5, 3: 0.12, 14: 0.15}), "snare": _on({4: 1, 12: 1})},
    "funk": {"kick": _on({0: 1, 3: 0.4, 6: 0.5, 10: 0.6, 13: 0.3}, 0.05), "snare": _on({4: 1, 12: 1, 7: 0.2, 15: 0.2})},
    "hip-hop": {"kick": _on({0: 1, 7: 0.5, 10: 0.6, 3: 0.25, 14: 0.2}), "snare": _on({4: 1, 12: 1, 15: 0.1})},
    "four": {"kick": _QUARTERS, "snare": _on({4: 0.9, 12: 0.9})},
    "half-time": {"kick": _on({0: 1, 3: 0.2, 6: 0.3, 10: 0.3, 14: 0.3}), "snare": _on({8: 1})},
    "blast": {"kick": _on(dict.fromkeys(range(0, 16, 2), 0.98)), "snare": _on(dict.fromkeys(range(1, 16, 2), 0.98))},
    "double kick": {"kick": [0.93] * 16, "snare": _on({4: 1, 12: 1})},
    "swing": {
        "kick": _on({0: 0.7, 4: 0.4, 8: 0.6, 12: 0.4, 7: 0.15}),
        "snare": _on({7: 0.3, 11: 0.3, 15: 0.2, 4: 0.1}),
    },
    "toms": {"kick": _on({0: 1, 8: 0.7, 6: 0.3}), "snare": _on({4: 0.6, 12: 0.6}), "tom": _on({}, 0.45)},
    "random": {"kick": [0.22] * 16, "snare": [0.18] * 16, "tom": [0.1] * 16},
}


class _Timing:
    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.sixteenth = 60 / float(rng.uniform(62, 205)) / 4
        self.swing = float(rng.choice([0, 0, 0, rng.uniform(0.1, 0.33)]))
        self.jitter = float(rng.choice([0.0, 0.004, 0.009]))

    def at(self, step: float) -> float:
        late = self.swing * self.sixteenth if round(step) % 2 else 0.0
        return step * self.sixteenth + late + float(self.rng.normal(0, 1)) * self.jitter


def _fill(rng: np.random.Generator, timing: _Timing, start: int, steps: int) -> list[Stroke]:
    """A run over snare and toms to the end of the bar; half the runs go straight down the toms."""
    strokes = []
    density = float(rng.choice([1.0, 1.0, 0.7, 2.0]))
    count = max(2, int(steps * density))
    descending = bool(rng.random() < 0.5)
    for i in range(count):
        step = start + i * steps / count
        height = 1 - i / max(1, count - 1) if descending else float(rng.random())
        piece = "snare" if rng.random() < (0.2 if descending else 0.4) else "tom"
        strokes.append(Stroke(timing.at(step), piece, height, float(rng.uniform(0.55, 1))))
        if rng.random() < 0.2:
            strokes.append(Stroke(timing.at(step), "kick", 0, float(rng.uniform(0.6, 1))))
    return strokes


def _timekeeper(rng: np.random.Generator, style: str) -> tuple[str, list[float]]:
    if style == "swing":
        return "ride", _RIDE_SWING
    piece = str(rng.choice(["hat_closed"] * 6 + ["ride"] * 3 + ["hat_open", "crash", "bell"]))
    grids = [_EIGHTHS, _EIGHTHS, _SIXTEENTHS, _QUARTERS, _OFFBEATS, [0.5] * 16]
    grid = grids[int(rng.integers(len(grids)))] if piece != "crash" else _QUARTERS
    return piece, grid


def invented_groove(rng: np.random.Generator, seconds: float) -> list[Stroke]:
    """Strokes of a made-up performance of at least `seconds`, sorted by time; the same generator state gives the same strokes."""
    timing = _Timing(rng)
    style = str(rng.choice(list(STYLES)))
    grid = {piece: list(chances) for piece, chances in STYLES[style].items()}
    bar = {p: [bool(rng.random() < c) for c in chances] for p, chances in grid.items()}
    keeper, keeper_grid = _timekeeper(rng, style)
    ghost = float(rng.choice([0, 0, 0.1, 0.35]))
    backbeat = str(rng.choice(["snare"] * 8 + ["rim", "clap"]))
    pedal = bool(rng.random() < 0.15)
    fill_chance = float(rng.choice([0.2, 0.5, 0.8]))
    strokes: list[Stroke] = []
    bars = int(seconds / (16 * timing.sixteenth)) + 1
    for number in range(bars):
        first = number * 16
        if rng.random() < 0.3:
            bar = {p: [bool(rng.random() < c) for c in chances] for p, chances in grid.items()}
        if number and rng.random() < 0.15:
            keeper, keeper_grid = _timekeeper(rng, style)
        fill = int(rng.choice([4, 8, 8, 16])) if rng.random() < fill_chance else 0
        last = 16 - fill
        for step in range(last):
            at, accent = first + step, 1.0 if step % 4 == 0 else 0.85
            for piece, hits in bar.items():
                if hits[step]:
                    name = backbeat if piece == "snare" else piece
                    strokes.append(
                        Stroke(timing.at(at), name, float(rng.random()), accent * float(rng.uniform(0.7, 1)))
                    )
            if "snare" in bar and not bar["snare"][step] and rng.random() < ghost:
                strokes.append(Stroke(timing.at(at), "snare", 0, float(rng.uniform(0.08, 0.4))))
            if rng.random() < keeper_grid[step]:
                opened = keeper == "hat_closed" and rng.random() < 0.07
                name = "hat_open" if opened else keeper
                strokes.append(Stroke(timing.at(at), name, 0, accent * float(rng.uniform(0.4, 1))))
            if pedal and step in (4, 12):
                strokes.append(Stroke(timing.at(at), "hat_pedal", 0, float(rng.uniform(0.4, 0.9))))
        if fill:
            strokes += _fill(rng, timing, first + last, fill)
        if rng.random() < (0.6 if fill else 0.15):
            name = str(rng.choice(["crash"] * 5 + ["splash", "china"]))
            strokes.append(Stroke(timing.at(first + 16), name, 0, float(rng.uniform(0.6, 1))))
    return sorted((s for s in strokes if s.seconds >= 0), key=lambda s: s.seconds)


def more_toms(rng: np.random.Generator, strokes: list[Stroke]) -> list[Stroke]:
    """The same rhythm with some of its snare and hat strokes played on toms, which most performances hardly use."""
    source = (
        {"snare", "hat_closed", "ride"} if rng.random() < 0.5 else {str(rng.choice(["snare", "hat_closed", "ride"]))}
    )
    share = float(rng.uniform(0.2, 0.8))
    return [
        Stroke(s.seconds, "tom", float(rng.random()), max(s.velocity, float(rng.uniform(0.3, 1))))
        if s.piece in source and rng.random() < share
        else s
        for s in strokes
    ]


# General MIDI percussion keys, and those that electronic kits (Roland TD series) add.
_KEYS: dict[int, tuple[str, float]] = {
    35: ("kick", 0), 36: ("kick", 0), 37: ("rim", 0), 38: ("snare", 0), 39: ("clap", 0), 40: ("snare", 0),
    41: ("tom", 0), 43: ("tom", 0.1), 58: ("tom", 0.1), 45: ("tom", 0.4), 47: ("tom", 0.55), 48: ("tom", 0.8),
    50: ("tom", 1), 22: ("hat_closed", 0), 42: ("hat_closed", 0), 44: ("hat_pedal", 0), 26: ("hat_open", 0),
    46: ("hat_open", 0), 49: ("crash", 0), 57: ("crash", 0), 55: ("splash", 0), 52: ("china", 0), 51: ("ride", 0),
    59: ("ride", 0), 53: ("bell", 0),
}  # fmt: skip


def strokes_of_midi(data: bytes) -> list[Stroke]:
    """Drum strokes of a Standard MIDI File; keys that are no drum set's are left out."""
    return [
        Stroke(seconds, *_KEYS[key], velocity / 127) for seconds, key, velocity in read_strokes(data) if key in _KEYS
    ]


class RecordedGrooves:
    """Performances of a zip of MIDI files; those kept for tests are not in it, whatever the zip holds."""

    def __init__(self, archive: Path) -> None:
        self.names: list[str] = []
        self._performances: list[list[Stroke]] = []
        with zipfile.ZipFile(archive) as files:
            for name in sorted(files.namelist()):
                if not name.lower().endswith((".mid", ".midi")):
                    continue
                try:
                    refuse_reserved_groove(name)
                except RequestRefused:
                    continue
                strokes = strokes_of_midi(files.read(name))
                if len(strokes) >= 8:
                    self.names.append(name)
                    self._performances.append(strokes)
        # Long performances hold more bars: choose in proportion to length, up to a minute.
        lengths = np.array([min(60.0, p[-1].seconds) for p in self._performances])
        self._chances = lengths / lengths.sum()

    def excerpt(self, rng: np.random.Generator, seconds: float) -> list[Stroke]:
        """Strokes of a random stretch of a random performance, from 0 to `seconds`, at up to ±15 % of its tempo."""
        strokes = self._performances[int(rng.choice(len(self._performances), p=self._chances))]
        stretch = float(rng.uniform(0.85, 1.18))
        start = float(rng.uniform(0, max(0.0, strokes[-1].seconds - seconds / stretch)))
        return [
            Stroke((s.seconds - start) * stretch, s.piece, s.height, s.velocity)
            for s in strokes
            if 0 <= (s.seconds - start) * stretch < seconds
        ]
