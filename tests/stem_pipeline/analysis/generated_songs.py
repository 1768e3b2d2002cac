"""Songs of known tempo, beats and key, composed and synthesised from a seed with numpy alone.

Belongs here: a composer and a small synthesiser for judging the analysis. Nothing in it copies what the analysis expects:
timbres, tuning (±50 cents), swing, timing noise, room, balance and where the excerpt begins are all drawn at random, one song
in seven has no drums, progressions may begin off the tonic and borrow chords, half are excerpts from anywhere.

What counts as the tempo is what people tap: half-time hip-hop and reggae are slow (snare on 2 and 4, or on 3),
drum and bass is fast.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATE = 22_050
TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
STYLES: dict[str, tuple[float, float]] = {
    "four_on_floor": (112, 140),
    "rock": (92, 155),
    "pop": (84, 128),
    "ballad_without_drums": (60, 92),
    "swing": (112, 200),
    "waltz": (84, 170),
    "hip_hop": (66, 98),
    "half_time": (62, 80),
    "drum_and_bass": (158, 180),
    "reggae": (66, 94),
    "funk": (88, 118),
    "shuffle": (76, 132),
    "folk_without_drums": (88, 140),
}
_MAJOR = [0, 2, 4, 5, 7, 9, 11]
_MINOR = [0, 2, 3, 5, 7, 8, 10]
# Chords as (semitones above the tonic, quality); chances follow how common they are in songbooks.
_PROGRESSIONS = {
    "major": [
        [(0, "M"), (7, "M"), (9, "m"), (5, "M")],
        [(0, "M"), (9, "m"), (5, "M"), (7, "M")],
        [(0, "M"), (5, "M"), (7, "M"), (0, "M")],
        [(9, "m"), (5, "M"), (0, "M"), (7, "M")],
        [(2, "m"), (7, "7"), (0, "M"), (0, "M")],
        [(0, "M"), (10, "M"), (5, "M"), (0, "M")],
        [(0, "M"), (4, "m"), (5, "M"), (7, "M")],
        [(0, "M"), (5, "M"), (0, "M"), (7, "M")],
        [(5, "M"), (7, "M"), (0, "M"), (9, "m")],
        [(0, "M"), (2, "m"), (5, "M"), (7, "7")],
    ],
    "minor": [
        [(0, "m"), (8, "M"), (3, "M"), (10, "M")],
        [(0, "m"), (5, "m"), (7, "m"), (0, "m")],
        [(0, "m"), (5, "m"), (7, "7"), (0, "m")],
        [(0, "m"), (10, "M"), (8, "M"), (7, "M")],
        [(0, "m"), (10, "M"), (0, "m"), (10, "M")],
        [(0, "m"), (3, "M"), (10, "M"), (5, "m")],
        [(8, "M"), (10, "M"), (0, "m"), (0, "m")],
        [(0, "m"), (8, "M"), (5, "m"), (7, "7")],
        [(0, "m"), (7, "m"), (8, "M"), (10, "M")],
    ],
}
_QUALITIES = {"M": [0, 4, 7], "m": [0, 3, 7], "7": [0, 4, 7, 10], "M7": [0, 4, 7, 11], "m7": [0, 3, 7, 10], "5": [0, 7]}


@dataclass(frozen=True)
class GeneratedSong:
    audio: NDArray[np.float32]
    """float32 [samples] at `RATE`."""
    stems: dict[str, NDArray[np.float32]]
    """`drums`, `bass`, `other`: float32 [samples]; they add up to `audio` before its room and its limiter."""
    bpm: float
    beats: NDArray[np.float64]
    """Seconds."""
    key: str
    """For example `Eb minor`."""
    style: str


def generate(seed: int, style: str | None = None, seconds: float = 24.0) -> GeneratedSong:
    """The song of this seed; the same bytes each time."""
    rng = np.random.default_rng([20_240_229, seed])
    drawn = str(rng.choice(list(STYLES)))
    style = style or drawn
    bpm = float(np.round(rng.uniform(*STYLES[style]), rng.choice([0, 0, 1, 2])))
    tonic, mode = int(rng.integers(12)), str(rng.choice(["major", "minor"], p=[0.58, 0.42]))
    song = _Composer(rng, style, bpm, tonic, mode, seconds)
    stems = song.render()
    mixture = _master(rng, sum(stems.values()))
    beats = song.beat_times()
    return GeneratedSong(mixture, stems, bpm, beats[(beats >= 0) & (beats < seconds)], f"{TONICS[tonic]} {mode}", style)


class _Composer:
    def __init__(self, rng: np.random.Generator, style: str, bpm: float, tonic: int, mode: str, seconds: float) -> None:
        self.rng, self.style, self.bpm, self.tonic, self.mode, self.seconds = rng, style, bpm, tonic, mode, seconds
        self.n = round(seconds * RATE)
        self.meter = 3 if style == "waltz" else 4
        self.beat = 60 / bpm
        self.swing = {"swing": rng.uniform(0.6, 0.68), "shuffle": rng.uniform(0.62, 0.68)}.get(style, 0.5)
        if style in ("hip_hop", "funk") and rng.random() < 0.5:
            self.swing = rng.uniform(0.5, 0.58)
        self.jitter = (
            rng.choice([0.0, 0.004, 0.008])
            if style in ("four_on_floor", "drum_and_bass")
            else rng.uniform(0.002, 0.012)
        )
        self.whole = rng.random() < 0.5  # a song from its first chord to its last, else an excerpt from anywhere
        self.start = rng.uniform(0.0, 1.0) if self.whole else rng.uniform(-self.meter * self.beat, 1.0)
        self.tuning = 0.0 if rng.random() < 0.4 else rng.uniform(-50, 50)
        self.scale = _MAJOR if mode == "major" else _MINOR
        self.bars = int(seconds / (self.beat * self.meter)) + 3
        self.chords = self._harmony()

    def _harmony(self) -> list[tuple[int, str]]:
        pool = _PROGRESSIONS[self.mode]
        first, second = (pool[i] for i in self.rng.choice(len(pool), 2))
        rate = 2 if self.bpm > 150 or self.rng.random() < 0.2 else 1  # bars a chord lasts
        shift = 0 if self.whole else int(self.rng.integers(4))
        chords = []
        for bar in range(self.bars):
            part = second if (bar // (8 * rate)) % 2 else first
            root, quality = part[(bar // rate + shift) % 4]
            if self.style in ("swing", "funk", "ballad_without_drums") and self.rng.random() < 0.6:
                quality = {"M": "M7" if root in (0, 5) else "7", "m": "m7"}.get(quality, quality)
            if self.style == "rock" and self.rng.random() < 0.3:
                quality = "5"
            chords.append((root, quality))
        if self.whole:
            last = (self.seconds - self.start) / (self.beat * self.meter) - 0.5
            for bar in range(int(last), self.bars):
                chords[bar] = (0, "M" if self.mode == "major" else "m")
        return chords

    def beat_times(self) -> NDArray[np.float64]:
        return self.start + self.beat * np.arange(self.bars * self.meter)

    def time(self, bar: int, position: float) -> float:
        """Seconds of a place in a bar, in beats; off-beat eighths (sixteenths in hip-hop and funk) are swung."""
        grid = 0.5 if self.style in ("hip_hop", "funk") else 1.0
        whole, rest = divmod(position / grid, 1.0)
        rest = rest / 0.5 * self.swing if rest <= 0.5 else self.swing + (rest - 0.5) / 0.5 * (1 - self.swing)
        return self.start + self.beat * (bar * self.meter + (whole + rest) * grid) + self.rng.normal(0, self.jitter)

    def render(self) -> dict[str, NDArray[np.float32]]:
        rng = self.rng
        with_drums = not self.style.endswith("without_drums")
        drums = _Drummer(self).render() if with_drums else np.zeros(self.n)
        bass = self._bass() if with_drums or rng.random() < 0.4 else np.zeros(self.n)
        other = self._accompaniment() * rng.uniform(0.6, 1.3)
        if rng.random() < 0.8:
            other += self._melody() * rng.uniform(0.4, 1.2)
        if rng.random() < 0.35:
            other += self._pad() * rng.uniform(0.2, 0.8)
        gains = {"drums": rng.uniform(0.5, 1.4), "bass": rng.uniform(0.4, 1.1), "other": rng.uniform(0.5, 1.2)}
        parts = {"drums": drums, "bass": bass, "other": other}
        return {
            name: (0.1 * gains[name] * part / (np.sqrt(np.mean(part**2)) + 1e-9)).astype(np.float32)
            for name, part in parts.items()
        }

    def _note(
        self, out: NDArray[np.float64], patch: _Patch, at: float, length: float, pitch: float, gain: float
    ) -> None:
        patch.play(
            out, at, length, 440 * 2 ** ((pitch - 69 + self.tuning / 100) / 12), gain * self.rng.uniform(0.8, 1.1)
        )

    def _bass(self) -> NDArray[np.float64]:
        rng, out = self.rng, np.zeros(self.n)
        patch = _Patch(rng, "bass")
        kind = {
            "swing": "walk",
            "waltz": "waltz",
            "reggae": "reggae",
            "half_time": "long",
            "drum_and_bass": "long",
        }.get(self.style, str(rng.choice(["eighths", "roots", "octaves", "syncopated"])))
        for bar, (root, quality) in enumerate(self.chords):
            low = 28 + (self.tonic + root - 28) % 12
            low += 12 if low < 31 else 0
            tones = _QUALITIES[quality]
            fifth = low + 7
            plan = {
                "walk": [(i, 0.95, low + int(rng.choice([0, *tones, 12])) if i else low) for i in range(4)],
                "waltz": [(0, 1.8, low)] + ([(2, 0.9, fifth)] if rng.random() < 0.3 else []),
                "reggae": [(0.5, 0.4, low), (1.0, 0.8, low), (2.5, 0.5, low + tones[1]), (3, 0.8, fifth)],
                "long": [(0, 2.4, low), (2.5, 1.3, low if rng.random() < 0.7 else fifth)],
                "eighths": [(i / 2, 0.45, low) for i in range(8)],
                "roots": [(0, 1.9, low), (2, 1.9, low if rng.random() < 0.6 else fifth)],
                "octaves": [(i / 2, 0.4, low + 12 * (i % 2)) for i in range(8)],
                "syncopated": [
                    (0, 0.7, low),
                    (0.75, 0.4, low),
                    (1.5, 0.6, fifth),
                    (2.5, 0.5, low),
                    (3.25, 0.5, low + 12),
                ],
            }[kind]
            for position, length, pitch in plan:
                if position < self.meter:
                    self._note(out, patch, self.time(bar, position), length * self.beat, pitch, 1.0)
        return out

    def _voicing(self, root: int, quality: str, around: int) -> list[int]:
        return [around + (self.tonic + root + t - around) % 12 for t in _QUALITIES[quality]]

    def _accompaniment(self) -> NDArray[np.float64]:
        rng, out = self.rng, np.zeros(self.n)
        patch = _Patch(rng, str(rng.choice(["pluck", "keys", "organ"])))
        around = int(rng.integers(48, 62))
        kind = {"waltz": "waltz", "reggae": "skank", "swing": "comp"}.get(self.style) or str(
            rng.choice(
                ["block", "arpeggio", "strum", "arpeggio16"]
                if self.style.endswith("drums")
                else ["block", "arpeggio", "strum", "stabs"]
            )
        )
        for bar, (root, quality) in enumerate(self.chords):
            notes = self._voicing(root, quality, around)
            if kind in ("arpeggio", "arpeggio16"):
                step = 0.5 if kind == "arpeggio" or self.bpm > 100 else 0.25
                order = [0, 1, 2, 1] if len(notes) < 4 else [0, 1, 2, 3]
                for i in range(int(self.meter / step)):
                    pitch = notes[order[i % 4] % len(notes)] + (12 if i % 8 == 4 else 0)
                    self._note(
                        out, patch, self.time(bar, i * step), 1.2 * self.beat, pitch, 1.0 if i * step % 1 == 0 else 0.75
                    )
                self._note(out, patch, self.time(bar, 0), self.meter * self.beat, notes[0] - 12, 1.0)
                continue
            places = {
                "block": [(0, 1.9), (2, 1.9)],
                "waltz": [(1, 0.6), (2, 0.6)],
                "skank": [(i + 0.5, 0.22) for i in range(4)],
                "comp": [(x, 0.4) for x in (0, 1.5, 2.5, 3) if rng.random() < 0.6],
                "strum": [(x, 0.45) for x in (0, 1, 1.5, 2.5, 3, 3.5) if rng.random() < 0.9],
                "stabs": [(x, 0.3) for x in (0, 0.75, 1.5, 2.5, 3.25) if rng.random() < 0.8],
            }[kind]
            for position, length in places:
                at = self.time(bar, position)
                for i, pitch in enumerate(notes):
                    self._note(out, patch, at + (0.012 * i if kind == "strum" else 0), length * self.beat, pitch, 0.8)
        return out

    def _pad(self) -> NDArray[np.float64]:
        out, patch, around = np.zeros(self.n), _Patch(self.rng, "pad"), int(self.rng.integers(50, 64))
        for bar, (root, quality) in enumerate(self.chords):
            for pitch in self._voicing(root, quality, around):
                self._note(out, patch, self.time(bar, 0), self.meter * self.beat, pitch, 0.7)
        return out

    def _melody(self) -> NDArray[np.float64]:
        """Mostly stepwise in the scale, chord tones on strong beats, blue notes now and then."""
        rng, out = self.rng, np.zeros(self.n)
        patch = _Patch(rng, "lead")
        base, degree = 60 + self.tonic % 12 + (12 if rng.random() < 0.3 else 0), int(rng.integers(0, 7))
        pentatonic = rng.random() < 0.3
        for bar, (root, quality) in enumerate(self.chords):
            if rng.random() < 0.15:
                continue
            position = float(rng.choice([0, 0, 0.5, 1]))
            while position < self.meter - 0.25:
                length = float(rng.choice([0.5, 0.5, 1, 1, 1.5, 2, 0.25] if self.bpm < 110 else [0.5, 1, 1, 2]))
                degree += int(rng.choice([-2, -1, -1, 0, 1, 1, 2]))
                degree = max(-4, min(9, degree))
                pitch = base + self.scale[degree % 7] + 12 * (degree // 7)
                if position % 2 == 0 and rng.random() < 0.75:
                    tones = [(root + t) % 12 for t in _QUALITIES[quality]]
                    pitch += min((((self.tonic + t - pitch + 6) % 12) - 6 for t in tones), key=abs)
                elif pentatonic and (degree % 7) in ((3, 6) if self.mode == "major" else (1, 5)):
                    pitch += -1 if self.mode == "major" else 2
                elif rng.random() < 0.04:
                    pitch += 1
                if rng.random() < 0.85:
                    self._note(out, patch, self.time(bar, position), length * self.beat * 0.95, pitch, 1.0)
                position += length
        return out


class _Patch:
    """One timbre: a bright and a dark wave table, an envelope, detuned voices, vibrato."""

    _TABLE = 2048

    def __init__(self, rng: np.random.Generator, role: str) -> None:
        self.rng = rng
        slope = {"bass": rng.uniform(1.0, 2.4), "pad": rng.uniform(1.2, 2.2), "organ": rng.uniform(0.6, 1.4)}.get(
            role, rng.uniform(0.8, 2.2)
        )
        k = np.arange(1, 64)
        amplitude = k**-slope * rng.uniform(0.3, 1.0, 63)
        if rng.random() < 0.25:
            amplitude[1::2] *= 0.1  # clarinet, square
        if role == "organ":
            amplitude *= np.isin(k, [1, 2, 3, 4, 6, 8, 10, 12, 16])
        amplitude *= 1 + 2 * np.exp(-(((k - rng.uniform(2, 14)) / rng.uniform(1, 4)) ** 2))  # a formant
        phases = rng.uniform(0, 2 * np.pi, 63)
        self.bright, self.dark = (
            self._tables(amplitude * tilt, phases) for tilt in (np.ones(63), np.exp(-(k - 1) / rng.uniform(0.7, 4)))
        )
        self.attack = {"pad": rng.uniform(0.05, 0.4), "lead": rng.uniform(0.005, 0.06)}.get(
            role, rng.uniform(0.002, 0.012)
        )
        self.decay = {
            "pluck": rng.uniform(0.15, 0.8),
            "keys": rng.uniform(0.4, 2.0),
            "bass": rng.uniform(0.3, 2.5),
        }.get(role, 30.0)
        self.release = rng.uniform(0.02, 0.12) if role != "pad" else rng.uniform(0.2, 0.5)
        self.brightness_decay = rng.uniform(0.05, 0.6)
        self.detune = rng.uniform(0, 9) if rng.random() < 0.6 else 0.0
        self.vibrato = rng.uniform(5, 35) if role == "lead" and rng.random() < 0.6 else 0.0
        self.glide = rng.uniform(0, 60) if role == "lead" and rng.random() < 0.3 else 0.0

    def _tables(self, amplitude: NDArray[np.float64], phases: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """One table for each number of partials that fits under the Nyquist frequency."""
        tables = []
        for limit in (63, 31, 15, 7, 3, 1):
            spectrum = np.zeros(self._TABLE // 2 + 1, complex)
            spectrum[1 : limit + 1] = (amplitude * np.exp(1j * phases))[:limit]
            tables.append(np.fft.irfft(spectrum) * self._TABLE)
        return tables

    def play(self, out: NDArray[np.float64], at: float, length: float, hertz: float, gain: float) -> None:
        first = round(at * RATE)
        n = round((length + self.release) * RATE)
        if first < 0 or first + n // 8 >= len(out):
            return
        t = np.arange(n) / RATE
        level = min(5, next((i for i, limit in enumerate((63, 31, 15, 7, 3, 1)) if limit * hertz < 0.47 * RATE), 5))
        envelope = (
            np.minimum(1, t / self.attack)
            * np.exp(-t / self.decay)
            * np.clip((length + self.release - t) / self.release, 0, 1)
        )
        shine = np.exp(-t / self.brightness_decay)
        cents = self.vibrato * np.sin(2 * np.pi * 5.4 * t) * np.clip(t / 0.3 - 0.3, 0, 1) - self.glide * np.exp(
            -t / 0.04
        )
        wave = np.zeros(n)
        for offset in (0.0,) if not self.detune else (-self.detune, self.detune):
            increments = hertz * 2 ** ((cents + offset) / 1200) * (self._TABLE / RATE)
            index = (np.cumsum(increments) + self.rng.uniform(0, self._TABLE)).astype(np.int64) % self._TABLE
            wave += self.dark[level][index] + shine * (self.bright[level][index] - self.dark[level][index])
        end = min(len(out), first + n)
        out[first:end] += (gain * envelope * wave)[: end - first]


class _Drummer:
    """A kit and the patterns of each style: (part, place in beats, strength)."""

    def __init__(self, song: _Composer) -> None:
        self.song, rng = song, song.rng
        noise = lambda seconds: rng.standard_normal(round(seconds * RATE))  # noqa: E731
        t = lambda x: np.arange(len(x)) / RATE  # noqa: E731
        kick = noise(0.4)
        f0, sweep = rng.uniform(42, 68), rng.uniform(60, 300)
        body = np.sin(2 * np.pi * np.cumsum(f0 + sweep * np.exp(-t(kick) / rng.uniform(0.008, 0.04))) / RATE)
        kick = body * np.exp(-t(kick) / rng.uniform(0.06, 0.2)) + rng.uniform(0, 0.3) * kick * np.exp(-t(kick) / 0.004)
        snare = noise(0.35)
        tone = sum(np.sin(2 * np.pi * f * t(snare)) for f in rng.uniform(150, 340, 2))
        snare = _high_pass(snare, rng.uniform(200, 1500)) * np.exp(
            -t(snare) / rng.uniform(0.04, 0.14)
        ) + 0.5 * tone * np.exp(-t(snare) / 0.05)
        hat = _high_pass(noise(0.15), rng.uniform(4000, 7500))
        hat = hat * np.exp(-t(hat) / rng.uniform(0.01, 0.05))
        ride = (
            noise(1.0) * 0.3
            + sum(np.sin(2 * np.pi * f * np.arange(RATE) / RATE) for f in rng.uniform(2500, 9000, 8)) * 0.2
        )
        ride = _high_pass(ride, 2500) * np.exp(-t(ride) / rng.uniform(0.15, 0.4))
        tom = noise(0.4)
        tom = np.sin(2 * np.pi * np.cumsum(rng.uniform(90, 180) * (1 + 0.4 * np.exp(-t(tom) / 0.05))) / RATE) * np.exp(
            -t(tom) / 0.15
        )
        rim = _high_pass(noise(0.06), 1500) * np.exp(-np.arange(round(0.06 * RATE)) / RATE / 0.008)
        self.kit = {"k": kick, "s": snare, "h": 0.4 * hat, "r": 0.35 * ride, "t": tom, "x": rim}
        balance = {name: rng.uniform(0.5, 1.3) for name in self.kit}
        self.kit = {name: balance[name] * sound / np.abs(sound).max() for name, sound in self.kit.items()}

    def render(self) -> NDArray[np.float64]:
        song, rng, out = self.song, self.song.rng, np.zeros(self.song.n)
        variants = [self._pattern() for _ in range(2)]
        for bar in range(song.bars):
            pattern = variants[(bar // 4) % 2]
            if bar % 8 == 7 and rng.random() < 0.7:
                pattern = [hit for hit in pattern if hit[1] < song.meter - 1] + [
                    (str(rng.choice(["t", "s"])), song.meter - 1 + i / 4, 0.9) for i in range(4)
                ]
            for part, position, strength in pattern:
                at = round(song.time(bar, position) * RATE)
                if 0 <= at < song.n:
                    sound = self.kit[part][: song.n - at]
                    out[at : at + len(sound)] += strength * rng.uniform(0.75, 1.05) * sound
        return out

    def _pattern(self) -> list[tuple[str, float, float]]:
        rng, meter = self.song.rng, self.song.meter
        often = lambda chance: rng.random() < chance  # noqa: E731
        hats8 = [("h", i / 2, 1.0 if i % 2 == 0 else 0.6) for i in range(2 * meter)]
        hats16 = [("h", i / 4, 1.0 if i % 4 == 0 else 0.8 if i % 2 == 0 else 0.5) for i in range(4 * meter)]
        back = [("s", 1, 1.0), ("s", 3, 1.0)]
        match self.song.style:
            case "four_on_floor":
                hats = [("h", i + 0.5, 1.0) for i in range(4)] + (hats16 if often(0.4) else [])
                return [("k", i, 1.0) for i in range(4)] + hats + (back if often(0.8) else [])
            case "rock" | "pop":
                kicks = [("k", 0, 1.0), ("k", 2, 1.0)] + [("k", x, 0.9) for x in (0.5, 1.5, 2.5, 3.5) if often(0.25)]
                return kicks + back + ([("r", i, 0.9) for i in range(4)] if often(0.2) else hats8)
            case "swing":
                ride = [("r", 0, 0.9), ("r", 1, 1.0), ("r", 1.5, 0.7), ("r", 2, 0.9), ("r", 3, 1.0), ("r", 3.5, 0.7)]
                feather = [("k", i, 0.35) for i in range(4)] if often(0.5) else [("k", 0, 0.6)]
                return (
                    ride
                    + [("h", 1, 0.9), ("h", 3, 0.9)]
                    + feather
                    + [("s", x, 0.4) for x in (0.5, 1.5, 2.5, 3.5) if often(0.25)]
                )
            case "waltz":
                return [("k", 0, 1.0), ("s" if often(0.5) else "h", 1, 0.7), ("s" if often(0.5) else "h", 2, 0.7)] + (
                    hats8 if often(0.4) else []
                )
            case "hip_hop":
                kicks = [("k", 0, 1.0)] + [("k", x, 0.9) for x in (0.75, 1.75, 2.25, 2.5, 3.75) if often(0.4)]
                return kicks + back + (hats8 if often(0.6) else hats16)
            case "half_time":
                kicks = [("k", 0, 1.0)] + [("k", x, 0.9) for x in (0.75, 1.25, 1.75, 2.5, 2.75) if often(0.35)]
                rolls = [("h", x + i / 8, 0.5) for x in (1.75, 3.5) if often(0.5) for i in (1, 2, 3)]
                return kicks + back + (hats16 if often(0.6) else hats8) + rolls
            case "drum_and_bass":
                kicks = [("k", 0, 1.0), ("k", 2.5, 1.0)] + ([("k", 0.5, 0.7)] if often(0.2) else [])
                ghosts = [("s", x, 0.35) for x in (1.75, 2.25, 3.75) if often(0.5)]
                return kicks + back + ghosts + (hats8 if often(0.7) else hats16)
            case "reggae":
                drop = [("k", 2, 1.0), ("x" if often(0.5) else "s", 2, 1.0)]
                if often(0.4):
                    drop = [("k", i, 1.0) for i in range(4)] + [("x", 1, 0.9), ("x", 3, 0.9)]
                return drop + hats8
            case "funk":
                kicks = [("k", 0, 1.0)] + [("k", x, 0.9) for x in (0.5, 1.75, 2.5, 2.75, 3.5) if often(0.45)]
                ghosts = [("s", x, 0.3) for x in (0.75, 1.75, 2.25, 3.25) if often(0.4)]
                return kicks + back + ghosts + (hats16 if often(0.7) else hats8)
            case _:
                return [("k", 0, 1.0), ("k", 2, 1.0), ("k", 2.5, 0.7), *back, *hats8]


def _high_pass(x: NDArray[np.float64], hertz: float) -> NDArray[np.float64]:
    spectrum = np.fft.rfft(x)
    f = np.fft.rfftfreq(len(x), 1 / RATE)
    return np.fft.irfft(spectrum * (f**4 / (f**4 + hertz**4)), len(x))


def _master(rng: np.random.Generator, mixture: NDArray[np.float64]) -> NDArray[np.float32]:
    """A room, a little noise, a soft limiter, and a level between −26 and −8 dBFS."""
    n = round(rng.uniform(0.2, 1.2) * RATE)
    tail = rng.standard_normal(n) * np.exp(-np.arange(n) / (n / 5))
    size = 1 << (len(mixture) + n).bit_length()
    wet = np.fft.irfft(np.fft.rfft(mixture, size) * np.fft.rfft(tail / np.sqrt((tail**2).sum()), size), size)[
        : len(mixture)
    ]
    mixture = mixture + rng.uniform(0.0, 0.35) * wet + rng.standard_normal(len(mixture)) * 10 ** rng.uniform(-5, -3)
    drive = rng.uniform(0.5, 3.0)
    limited = np.tanh(drive * mixture) / drive
    return (limited / np.sqrt(np.mean(limited**2)) * 10 ** (rng.uniform(-26, -12) / 20)).astype(np.float32)
