"""Single strokes of every training kit, gathered once into a bank that rendering reads at memory speed.

Belongs here: reading Hydrogen kits, playing soundfonts stroke by stroke through fluidsynth, trimming, the bank's file.
Does not belong here: grooves and mixing. The bank is a cache: it lies where the caller says and is never shipped.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.drums.kits import KITS, Kit, refuse_reserved_kit
from stem_pipeline.drums.standard_midi import write_strokes
from stem_pipeline.errors import RunFailed

RATE = 44100

PIECES: dict[str, str] = {
    "kick": "kick",
    "snare": "snare",
    "rim": "snare",
    "clap": "snare",
    "tom": "toms",
    "hat_closed": "cymbals",
    "hat_pedal": "cymbals",
    "hat_open": "cymbals",
    "crash": "cymbals",
    "ride": "cymbals",
    "bell": "cymbals",
    "splash": "cymbals",
    "china": "cymbals",
}
"""Every piece that a kit can have, and the part it belongs to."""

# General MIDI percussion keys; toms from the floor up.
_GENERAL_MIDI = {
    35: "kick", 36: "kick", 37: "rim", 38: "snare", 39: "clap", 40: "snare", 41: "tom", 42: "hat_closed", 43: "tom",
    44: "hat_pedal", 45: "tom", 46: "hat_open", 47: "tom", 48: "tom", 49: "crash", 50: "tom", 51: "ride", 52: "china",
    53: "bell", 55: "splash", 57: "crash", 59: "ride",
}  # fmt: skip
# avldrums maps some keys otherwise (48 is a hat, 50 and 43 tom edges): only those that agree.
_AVLDRUMS = {
    36: "kick", 37: "rim", 38: "snare", 40: "snare", 41: "tom", 42: "hat_closed", 44: "hat_pedal", 45: "tom",
    46: "hat_open", 47: "tom", 49: "crash", 51: "ride", 53: "bell", 57: "crash",
}  # fmt: skip

_NAMES: tuple[tuple[str, str | None], ...] = (
    (r"roll|cowbell|click|whistle|conga|shaker|maraca|clave|zap|fx|tamb|(?<!bass )drum \d|^\W*$", None),
    (r"side o?hh|open|\bop\b|hat op|free|semi|swish|ohh", "hat_open"),
    (r"(pedal|\bpd\b|foot).*(hat|hh)|(hat|hh).*(pedal|pd\b|foot)", "hat_pedal"),
    (r"hat|hh", "hat_closed"),
    (r"kick|bass ?drum", "kick"),
    (r"stick|rim ?click", "rim"),
    (r"clap", "clap"),
    (r"snare|rimshot", "snare"),
    (r"tom", "tom"),
    (r"splash", "splash"),
    (r"china", "china"),
    (r"bell", "bell"),
    (r"crash", "crash"),
    (r"ride", "ride"),
    (r"cymbal", "crash"),
)


def piece_of(instrument: str) -> str | None:
    """The piece that an instrument's name means, or None if it is none of a drum set.

    >>> piece_of("Sabian Hat Semi-Open"), piece_of("Tom Low"), piece_of("Cowbell")
    ('hat_open', 'tom', None)
    """
    name = instrument.lower()
    if "main" in name:
        return None
    for pattern, piece in _NAMES:
        if re.search(pattern, name):
            return piece
    return None


@dataclass(frozen=True)
class OneShot:
    """One stroke. `voice` tells instruments of one kind apart (toms by number); `strength` 0…1 orders its layers."""

    kit: str
    piece: str
    voice: str
    strength: float
    samples: NDArray[np.float32]
    """[samples, 2], peak 1."""


def _trim(audio: NDArray[np.float32], piece: str) -> NDArray[np.float32] | None:
    """[samples, 2] from 1 ms before the stroke to where it has died away; None if there is no stroke."""
    level = np.abs(audio).max(1)
    peak = float(level.max(initial=0.0))
    if peak < 1e-4:
        return None
    start = max(0, int(np.argmax(level > 0.02 * peak)) - RATE // 1000)
    audible = np.nonzero(level > 0.0008 * peak)[0]
    longest = int(RATE * (4.0 if PIECES[piece] == "cymbals" else 2.0))
    shot = audio[start : min(int(audible[-1]) + 1, start + longest)] / peak
    fade = min(len(shot), RATE // 20)
    shot[len(shot) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)[:, None]
    return shot.astype(np.float32) if len(shot) > 64 else None


def _to_rate(audio: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    if rate != RATE:
        import soxr

        audio = soxr.resample(audio, rate, RATE)
    return np.repeat(audio[:, :1], 2, 1) if audio.shape[1] == 1 else audio[:, :2].copy()


def read_hydrogen_kit(kit: Kit) -> Iterator[OneShot]:
    """Strokes of a Hydrogen kit: a folder with `drumkit.xml` and samples. Layers are ordered by their own `min` velocity."""
    import soundfile

    folder = Path(kit.location)
    refuse_reserved_kit(kit.location)
    root = ElementTree.fromstring((folder / "drumkit.xml").read_bytes())
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    for instrument in root.iter("instrument"):
        piece = piece_of(instrument.findtext("name") or "")
        if piece is None:
            continue
        layers = [(float(x.findtext("min") or 0), x.findtext("filename") or "") for x in instrument.iter("layer")]
        if not layers:
            layers = [(0.0, instrument.findtext("filename") or "")]
        layers.sort()
        for rank, (_, filename) in enumerate(layers):
            path = folder / filename
            if not filename or not path.is_file() or filename.startswith("emptySample"):
                continue
            audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
            shot = _trim(_to_rate(audio, rate), piece)
            if shot is not None:
                voice = f"{instrument.findtext('id')} {instrument.findtext('name')}"
                yield OneShot(kit.name, piece, voice, (rank + 1) / len(layers), shot)


def play_soundfont_kit(kit: Kit, velocities: tuple[int, ...] = (28, 60, 92, 122)) -> Iterator[OneShot]:
    """Strokes of a soundfont's kit, each played alone by fluidsynth without reverb or chorus.

    Raises `RunFailed` (`internal`) when fluidsynth fails.
    """
    import soundfile

    assert kit.program is not None
    refuse_reserved_kit(kit.location, kit.program)
    keys = _AVLDRUMS if "avldrums" in kit.name else _GENERAL_MIDI
    order = [(key, velocity) for key in keys for velocity in velocities]
    spacing = 4.5  # seconds between strokes: the longest cymbal kept is 4 s
    with tempfile.TemporaryDirectory() as scratch:
        midi, wave = Path(scratch) / "strokes.mid", Path(scratch) / "strokes.wav"
        strokes = [(i * spacing, key, velocity, 3.9) for i, (key, velocity) in enumerate(order)]
        channel = 9 if kit.bank == 128 else 0
        write_strokes(midi, strokes, channel=channel, program=kit.program)
        done = subprocess.run(
            ["fluidsynth", "-ni", "-q", "-r", str(RATE), "-g", "0.5", "-o", "synth.reverb.active=0",
             "-o", "synth.chorus.active=0", "-O", "float", "-T", "wav", "-F", str(wave), kit.location, str(midi)],
            capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode or not wave.is_file():
            raise RunFailed("internal", f"fluidsynth could not play the kit {kit.name}: is the soundfont installed?")
        audio, _ = soundfile.read(wave, dtype="float32", always_2d=True)
    for i, (key, velocity) in enumerate(order):
        start = int(i * spacing * RATE)
        shot = _trim(audio[start : start + int(4.2 * RATE)].copy(), keys[key])
        if shot is not None:
            yield OneShot(kit.name, keys[key], str(key), velocity / 127, shot)


def read_kit(kit: Kit) -> Iterator[OneShot]:
    """Every stroke of one kit. Raises `RequestRefused` if it is kept for tests."""
    return read_hydrogen_kit(kit) if kit.program is None else play_soundfont_kit(kit)


class OneShotBank:
    """Strokes of many kits in one array: `bank.voices[piece]` → [(kit, voice)], `bank.layers[kit, piece, voice]` → strokes."""

    def __init__(self, folder: Path) -> None:
        self.index = json.loads((folder / "one_shots.json").read_text())
        self._samples = np.load(folder / "one_shots.npy", mmap_mode="r")
        self.kits: list[str] = sorted({e["kit"] for e in self.index})
        self.layers: dict[tuple[str, str, str], list[dict]] = {}
        for entry in self.index:
            self.layers.setdefault((entry["kit"], entry["piece"], entry["voice"]), []).append(entry)
        for layers in self.layers.values():
            layers.sort(key=lambda e: e["strength"])
        self.voices: dict[str, list[tuple[str, str]]] = {}
        self.kit_voices: dict[tuple[str, str], list[str]] = {}
        for kit, piece, voice in self.layers:
            self.voices.setdefault(piece, []).append((kit, voice))
            self.kit_voices.setdefault((kit, piece), []).append(voice)

    def samples(self, entry: dict) -> NDArray[np.float32]:
        """float32 [samples, 2], peak 1."""
        return self._samples[entry["start"] : entry["start"] + entry["length"]].astype(np.float32) / 32767

    @staticmethod
    def write(folder: Path, shots: Iterable[OneShot]) -> None:
        """Gathers strokes into `folder`; a stroke that is there already, bit for bit, is left out."""
        folder.mkdir(parents=True, exist_ok=True)
        index: list[dict] = []
        blocks: list[NDArray[np.int16]] = []
        start = 0
        known: set[bytes] = set()
        for shot in shots:
            block = np.round(shot.samples * 32767).astype(np.int16)
            digest = hashlib.sha256(block.tobytes()).digest()
            if digest in known:
                continue
            known.add(digest)
            index.append(
                {"kit": shot.kit, "piece": shot.piece, "voice": shot.voice, "strength": round(shot.strength, 4),
                 "start": start, "length": len(block)}
            )  # fmt: skip
            blocks.append(block)
            start += len(block)
        np.save(folder / "one_shots.npy", np.concatenate(blocks))
        (folder / "one_shots.json").write_text(json.dumps(index))


def installed_kits() -> list[Kit]:
    """Training kits whose package is on this machine."""
    return [k for k in KITS if Path(k.location).exists()]


def build_bank(folder: Path, kits: Iterable[Kit] | None = None) -> OneShotBank:
    """The bank at `folder`, gathered first if it is not there. Raises `RunFailed` when no kit is installed."""
    if not (folder / "one_shots.json").is_file():
        chosen = list(kits) if kits is not None else installed_kits()
        if not chosen:
            raise RunFailed(
                "internal", "No training kit is installed: apt-get install the packages docs/drum-model.md names."
            )
        OneShotBank.write(folder, (shot for kit in chosen for shot in read_kit(kit)))
    return OneShotBank(folder)
