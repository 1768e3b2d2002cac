"""One clip of drums with the four parts apart: grooves played through one-shots, each clip with a sound of its own.

Belongs here: choosing voices, shaping each stroke, placing it, rooms, the bus. Does not belong here: what is played
(`grooves`), what the network is shown (`training_clips`). Everything is linear from stroke to mixture (a stroke's own
saturation and the gain that all parts share excepted), so the parts add up to the mixture exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.drums.grooves import RecordedGrooves, Stroke, invented_groove, more_toms
from stem_pipeline.drums.kits import KITS
from stem_pipeline.drums.one_shots import PIECES, RATE, OneShotBank
from stem_pipeline.stems import DRUM_PARTS

Rng = np.random.Generator
Samples = NDArray[np.float32]

# Usual peak level of a piece against the kick, in dB, and how far kits and mixes differ.
_LEVEL_DB = {
    "kick": (0, 3.5), "snare": (-1, 4), "rim": (-5, 4), "clap": (-4, 4), "tom": (-2, 4), "hat_closed": (-11, 6),
    "hat_pedal": (-14, 5), "hat_open": (-11, 6), "crash": (-7, 5), "ride": (-11, 6), "bell": (-10, 5),
    "splash": (-9, 5), "china": (-8, 5),
}  # fmt: skip
# What is played when a kit lacks the piece.
_INSTEAD = {
    "rim": "snare", "clap": "snare", "hat_pedal": "hat_closed", "bell": "ride", "splash": "crash", "china": "crash",
    "ride": "hat_closed", "crash": "hat_open", "hat_open": "hat_closed",
}  # fmt: skip


@dataclass(frozen=True)
class Clip:
    """float32 `parts` [parts, 2, samples] in the order of `stems.DRUM_PARTS`; `residue` [2, samples]: what is no drum.

    The mixture is their sum. The residue stands for what a first separation leaves in a drums stem.
    """

    parts: Samples
    residue: Samples

    @property
    def mixture(self) -> Samples:
        return self.parts.sum(0) + self.residue


class _Voice:
    """One instrument within one clip: its layers, shaped once and kept."""

    def __init__(self, renderer: Renderer, rng: Rng, layers: list[dict], piece: str, room: _Room) -> None:
        self._bank, self._layers, self._room = renderer.bank, layers, room
        self._shaped: dict[int, Samples] = {}
        cymbal = PIECES[piece] == "cymbals"
        self._speed = 2 ** (float(rng.normal(0, 1.2 if cymbal else 2.0)) / 12)
        self._decay = float(rng.uniform(0.08, 0.6)) if rng.random() < (0.25 if cymbal else 0.35) else 0.0
        self._drive = float(rng.uniform(1, 4)) if rng.random() < 0.15 else 0.0
        self._tilt_db = float(rng.normal(0, 1.2))  # an octave
        self._peaks = [
            (float(rng.uniform(np.log2(60), np.log2(14000))), float(rng.normal(0, 4)), float(rng.uniform(0.4, 1.2)))
            for _ in range(int(rng.integers(0, 3)))
        ]
        self._wet = room.amount * float(10 ** (rng.normal(0, 3) / 20))
        pan = float(np.clip(rng.normal(0, 0.12 if piece in ("kick", "snare", "rim", "clap") else 0.45), -1, 1))
        self._pan = (np.cos((pan + 1) * np.pi / 4) * 2**0.5, np.sin((pan + 1) * np.pi / 4) * 2**0.5)
        self._width = float(rng.choice([0, 1, rng.random()]))
        mean, spread = _LEVEL_DB[piece]
        self.gain = 10 ** ((mean + float(np.clip(rng.normal(0, spread), -2.5 * spread, 1.8 * spread))) / 20)

    def stroke(self, strength: float) -> Samples:
        """[samples, 2] at peak about 1: the layer nearest to `strength`, shaped."""
        strengths = [e["strength"] for e in self._layers]
        index = int(np.argmin([abs(s - strength) for s in strengths]))
        if index not in self._shaped:
            self._shaped[index] = self._shape(self._bank.samples(self._layers[index]))
        return self._shaped[index]

    def _shape(self, shot: Samples) -> Samples:
        if abs(self._speed - 1) > 0.003:
            at = np.arange(0, len(shot) - 1, self._speed)
            left = at.astype(np.int64)
            part = (at - left).astype(np.float32)[:, None]
            shot = shot[left] * (1 - part) + shot[left + 1] * part
        if self._decay:
            shot = shot * np.exp(-np.arange(len(shot), dtype=np.float32) / (self._decay * RATE))[:, None]
            alive = np.nonzero(np.abs(shot).max(1) > 5e-4)[0]
            shot = shot[: int(alive[-1]) + 1 if len(alive) else 64]
        if self._drive:
            shot = np.tanh(shot * self._drive) / np.tanh(self._drive)
        middle = shot.mean(1, keepdims=True)
        shot = (middle + (shot - middle) * self._width) * np.array(self._pan, np.float32)
        return self._filter(shot.astype(np.float32))

    def _filter(self, shot: Samples) -> Samples:
        """Equaliser and room in one multiplication of spectra."""
        import scipy.fft

        length = len(shot) + (self._room.length if self._wet > 0 else 2048)
        size = scipy.fft.next_fast_len(length, real=True)
        spectrum = scipy.fft.rfft(shot, size, axis=0)
        octave = np.log2(np.maximum(np.arange(len(spectrum)), 1) * (RATE / size)).astype(np.float32)
        gain_db = self._tilt_db * (octave - np.log2(1000))
        for centre, height, width in self._peaks:
            gain_db += height * np.exp(-0.5 * ((octave - centre) / width) ** 2)
        spectrum *= (10 ** (np.clip(gain_db, -18, 12) / 20)).astype(np.float32)[:, None]
        if self._wet > 0:
            spectrum *= 1 + self._wet * self._room.spectrum(size)
        return scipy.fft.irfft(spectrum, size, axis=0)[:length].astype(np.float32)


class _Room:
    """A generated impulse response: a few early reflections, then noise that dies away, faster at high frequencies."""

    def __init__(self, rng: Rng) -> None:
        self.amount = 0.0 if rng.random() < 0.4 else float(10 ** (rng.uniform(-30, -6) / 20))
        plate = rng.random() < 0.3
        seconds = float(rng.uniform(0.1, 0.9))
        self.length = length = int(RATE * min(0.7, seconds)) if self.amount else 0
        self._spectra: dict[int, NDArray[np.complex64]] = {}
        if not self.amount:
            return
        time = np.arange(length, dtype=np.float32) / RATE
        noise = rng.standard_normal((length, 2), dtype=np.float32) * (10 ** (-3 * time / seconds))[:, None]
        dull = rng.standard_normal((length, 2), dtype=np.float32)
        dull = np.cumsum(dull - dull.mean(0), 0)
        dull = np.diff(dull[:: int(rng.integers(2, 9))], axis=0, prepend=0).repeat(9, 0)[:length]
        if len(dull) == length:
            noise += 0.5 * dull.astype(np.float32) * (10 ** (-3 * time / (1.5 * seconds)))[:, None]
        noise[: int(RATE * (0.0005 if plate else rng.uniform(0.003, 0.02)))] = 0
        noise /= np.sqrt((noise**2).sum(0)) + 1e-9
        if not plate:
            for _ in range(int(rng.integers(1, 5))):
                noise[int(rng.uniform(0.001, 0.03) * RATE)] += rng.normal(0, 0.3, 2)
        self._impulse = noise.astype(np.float32)

    def spectrum(self, size: int) -> NDArray[np.complex64]:
        import scipy.fft

        if size not in self._spectra:
            self._spectra[size] = scipy.fft.rfft(self._impulse, size, axis=0)
        return self._spectra[size]


class Renderer:
    """Clips without end: `Renderer(bank).clip(np.random.default_rng(seed), seconds)`; the same state gives the same clip."""

    def __init__(self, bank: OneShotBank, recorded: RecordedGrooves | None = None) -> None:
        self.bank, self.recorded = bank, recorded
        families: dict[str, list[str]] = {}
        for kit in bank.kits:
            family = kit.partition("/")[0]
            families.setdefault(kit if family == "hydrogen" else family, []).append(kit)
        # A soundfont's kits share most of their samples: together they count as three kits, not as one each.
        self._kit_chances = [
            (kit, min(3.0, float(len(kits))) / len(kits)) for kits in families.values() for kit in kits
        ]
        electronic = {k.name for k in KITS if k.electronic}
        self._kit_chances = [(k, c * (0.5 if k in electronic else 1)) for k, c in self._kit_chances]
        total = sum(c for _, c in self._kit_chances)
        self._kits = [k for k, _ in self._kit_chances]
        self._chances = np.array([c / total for _, c in self._kit_chances])

    def _kit(self, rng: Rng) -> str:
        return self._kits[int(rng.choice(len(self._kits), p=self._chances))]

    def _choose(self, rng: Rng, piece: str, main_kit: str, mixed: float) -> list[tuple[str, str]]:
        """(kit, voice) of every instrument of a kind: one, or all toms of a kit."""
        kit = self._kit(rng) if rng.random() < mixed else main_kit
        for _ in range(60):
            wanted: str | None = piece
            while wanted is not None:
                voices = self.bank.kit_voices.get((kit, wanted))
                if voices:
                    if wanted == "tom":
                        return [(kit, v) for v in voices]
                    return [(f"{kit}\n{wanted}", voices[int(rng.integers(len(voices)))])]
                wanted = _INSTEAD.get(wanted)
            kit = self._kit(rng)
        return []

    def _strokes(self, rng: Rng, seconds: float) -> list[Stroke]:
        lead = 1.5  # what rang before the clip began still rings in it
        if self.recorded is not None and rng.random() < 0.45:
            strokes = self.recorded.excerpt(rng, seconds + lead)
        else:
            skip = float(rng.uniform(0, 6))
            strokes = [
                Stroke(s.seconds - skip, s.piece, s.height, s.velocity)
                for s in invented_groove(rng, seconds + lead + skip)
                if s.seconds >= skip
            ]
        if rng.random() < 0.3:
            strokes = more_toms(rng, strokes)
        return [Stroke(s.seconds - lead, s.piece, s.height, s.velocity) for s in strokes]

    def clip(self, rng: Rng, seconds: float) -> Clip:
        """A clip of `seconds` at 44.1 kHz, its mixture's RMS near 0.1."""
        length = int(seconds * RATE)
        strokes = self._strokes(rng, seconds)
        main_kit, mixed = self._kit(rng), float(rng.choice([0.0, 0.2, 1.0]))
        room = _Room(rng)
        voices: dict[str, list[_Voice]] = {}
        for piece in sorted({s.piece for s in strokes}):
            if rng.random() < (0.02 if piece in ("kick", "snare") else 0.04):
                continue  # this piece is missing today
            chosen = self._choose(rng, piece, main_kit, mixed)
            made = []
            for kit, voice in chosen:
                kit_name, _, other = kit.partition("\n")
                made.append(_Voice(self, rng, self.bank.layers[kit_name, other or piece, voice], piece, room))
            if piece == "tom" and len(made) > 4 and rng.random() < 0.7:
                made = made[:: int(np.ceil(len(made) / 4))]
            for voice_ in made:
                voice_.gain = made[0].gain  # toms are mixed as one
            voices[piece] = made
        range_db = float(rng.uniform(12, 38))
        parts = np.zeros((len(DRUM_PARTS), length, 2), np.float32)
        chokes = np.array(sorted(s.seconds for s in strokes if s.piece in ("hat_closed", "hat_pedal", "hat_open")))
        for stroke in strokes:
            instruments = voices.get(stroke.piece)
            if not instruments:
                continue
            # Toms of soundfonts and kits stand in no common order: a height is one drum of the clip, whichever.
            voice_ = instruments[min(len(instruments) - 1, int(stroke.height * len(instruments)))]
            strength = float(np.clip(stroke.velocity + rng.normal(0, 0.04), 0.02, 1))
            shot = voice_.stroke(strength)
            gain = voice_.gain * 10 ** ((strength - 1) * range_db / 20) * float(rng.uniform(0.9, 1))
            start = int(stroke.seconds * RATE)
            if stroke.piece == "hat_open":
                later = chokes[chokes > stroke.seconds + 0.02]
                if len(later):
                    ring = min(len(shot), int((later[0] - stroke.seconds + 0.03) * RATE))
                    shot = shot[:ring].copy()
                    fade = min(ring, int(0.03 * RATE))
                    shot[ring - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)[:, None]
            first, end = max(0, start), min(length, start + len(shot))
            if end > first:
                parts[DRUM_PARTS.index(PIECES[stroke.piece]), first:end] += shot[
                    first - start : end - start
                ] * np.float32(gain)
        mixture = parts.sum(0)
        scale = 0.1 / max(1e-4, float(np.sqrt(np.mean(mixture**2))))
        parts *= np.float32(scale)
        residue = _residue(rng, length)
        if rng.random() < 0.3:
            gain_curve = _bus_gain(rng, mixture * scale)
            parts *= gain_curve[None, :, None]
        if rng.random() < 0.35:
            parts = np.repeat(parts.mean(2, keepdims=True), 2, 2)
            residue = np.repeat(residue.mean(1, keepdims=True), 2, 1)
        return Clip(np.ascontiguousarray(parts.transpose(0, 2, 1)), np.ascontiguousarray(residue.T))


def _bus_gain(rng: Rng, mixture: Samples) -> Samples:
    """The gain of a compressor over the sum: common to all parts, so they still add up. [samples]"""
    block = RATE // 200
    blocks = len(mixture) // block + 1
    padded = np.zeros((blocks * block,), np.float32)
    padded[: len(mixture)] = np.abs(mixture).max(1)
    level = padded.reshape(blocks, block).max(1)
    release = float(np.exp(-1 / (200 * rng.uniform(0.03, 0.3))))
    held = 0.0
    envelope = np.empty(blocks, np.float32)
    for i, value in enumerate(level):
        held = max(float(value), held * release)
        envelope[i] = held
    threshold, ratio = float(rng.uniform(0.1, 0.4)), float(rng.uniform(1.5, 6))
    gain = np.minimum(1, (np.maximum(envelope, 1e-6) / threshold) ** (1 / ratio - 1))
    return np.interp(np.arange(len(mixture)), np.arange(blocks) * block, gain).astype(np.float32)


def _residue(rng: Rng, length: int) -> Samples:
    """What a first separation lets through: scraps of a bass line and of a voice. [samples, 2], silent in most clips."""
    out = np.zeros((length, 2), np.float32)
    if rng.random() < 0.6:
        return out
    time = np.arange(length, dtype=np.float32) / RATE
    for low, high, harmonics in ((40, 110, 6), (150, 500, 12)):
        if rng.random() < 0.4:
            continue
        note = int(RATE * rng.uniform(0.15, 0.6))
        for start in range(0, length, note):
            if rng.random() < 0.5:
                continue
            stretch = time[: min(note, length - start)]
            pitch = float(np.exp(rng.uniform(np.log(low), np.log(high))))
            vibrato = float(rng.uniform(0, 0.4)) * np.sin(2 * np.pi * 5.5 * stretch)
            phase = 2 * np.pi * pitch * stretch + vibrato
            wave = sum(np.sin(h * phase) * float(rng.uniform(0.2, 1)) / h for h in range(1, harmonics))
            wave = wave * np.minimum(1, stretch / 0.02) * np.minimum(1, (stretch[-1] - stretch) / 0.03 + 1e-3)
            out[start : start + len(stretch)] += (wave * rng.uniform(0.2, 1))[:, None].astype(np.float32)
    level = float(np.sqrt(np.mean(out**2)))
    return out * np.float32(0.1 * 10 ** (rng.uniform(-38, -14) / 20) / level) if level > 0 else out
