"""How well drums come apart, measured against known parts: every method, every kit, every part, and the onsets of real songs.

Belongs here: metrics, the reserved loops rendered from Debian packages, the table, the command. Does not belong here:
what is separated and how (`stem_pipeline.drums`). Material: folders with `kick`, `snare`, `cymbals`, `toms` as FLAC.

    python -m quality.drum_benchmark --material FOLDER… [--reserved-kits] [--onsets FOLDER --drums FOLDER] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.errors import RequestRefused, StemPipelineError
from stem_pipeline.separation.segment_model import Audio, SegmentModel
from stem_pipeline.stems import DRUM_PARTS

RATE = 44100
Parts = dict[str, Audio]
Method = Callable[[Audio], Parts]

INVERSE_DRUM_MACHINE: dict[str, dict[str, float]] = {
    "Colombo": {"kick": 10.4, "snare": 14.2, "toms": 14.2, "cymbals": 7.9},
    "Forzee": {"kick": 5.5, "snare": 1.8, "toms": 8.9, "cymbals": 3.5},
    "rockprog125_blackpearl": {"kick": 3.9, "snare": 3.0, "toms": 2.9, "cymbals": -0.8},
    "hiphop86_fluidpower": {"kick": 2.7, "snare": 3.3, "toms": 1.2, "cymbals": -6.3},
    "lmms_Thomasso-AxeFromThe80s": {"kick": 0.1, "snare": 0.0, "toms": -10.8, "cymbals": 0.1},
}
"""SDR in dB of Inverse Drum Machine's published code on the same audio (Torres et al., 2025; Apache-2.0), for comparison."""


def sdr_db(reference: Audio, estimate: Audio) -> float:
    """10·log10(‖s‖² / ‖s − ŝ‖²) over all channels and the whole clip, dB; NaN for a silent reference."""
    power = float(np.sum(np.square(reference, dtype=np.float64)))
    error = float(np.sum(np.square(reference.astype(np.float64) - estimate)))
    return math.nan if power == 0 else 10 * math.log10(power / max(error, 1e-20 * power))


def si_sdr_db(reference: Audio, estimate: Audio) -> float:
    """Scale-invariant SDR, dB (Le Roux et al., "SDR – half-baked or well done?", ICASSP 2019); NaN for a silent reference."""
    s, e = reference.astype(np.float64).ravel(), estimate.astype(np.float64).ravel()
    power = float(s @ s)
    if power == 0:
        return math.nan
    target = s * (float(e @ s) / power)
    kept, lost = float(target @ target), float(np.sum(np.square(e - target)))
    return 10 * math.log10(max(kept, 1e-20) / max(lost, 1e-20 * max(kept, 1e-20)))


def read_multitrack(folder: Path) -> Parts:
    """The four parts of a folder, float32 [channels, samples], of one length. Raises `RequestRefused` (`audio_not_found`)."""
    import soundfile

    parts: Parts = {}
    for part in DRUM_PARTS:
        path = folder / f"{part}.flac"
        if not path.is_file():
            raise RequestRefused("audio_not_found", f"{folder.name} has no {part}.flac: it is no drum multitrack.")
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
        if rate != RATE:
            raise RequestRefused("audio_rate_unsupported", f"{part}.flac of {folder.name} is not at {RATE} Hz.")
        parts[part] = np.ascontiguousarray(audio.T)
    length = min(x.shape[1] for x in parts.values())
    return {k: v[:, :length] for k, v in parts.items()}


def sum_of(parts: Parts) -> Audio:
    """The drums: all four parts together."""
    return np.stack([parts[p] for p in DRUM_PARTS]).sum(0, dtype=np.float32)


def mixture_itself(mixture: Audio) -> Parts:
    """The floor: nothing is separated."""
    return dict.fromkeys(DRUM_PARTS, mixture)


def band_splitting(mixture: Audio) -> Parts:
    """What an equaliser can do: kick below 100 Hz, toms to 250 Hz, snare to 5 kHz, cymbals above; they add up."""
    spectrum = np.fft.rfft(mixture)
    hertz = np.fft.rfftfreq(mixture.shape[1], 1 / RATE)
    edges = {"kick": (0, 100), "toms": (100, 250), "snare": (250, 5000), "cymbals": (5000, RATE)}
    out = {}
    for part, (low, high) in edges.items():
        band = np.where((hertz >= low) & (hertz < high), spectrum, 0)
        out[part] = np.fft.irfft(band, mixture.shape[1]).astype(np.float32)
    return out


def separated_by(model: SegmentModel, overlap: float = 0.25) -> Method:
    """`model` in the engine, as the product runs it: segments, overlap-add, exact sums."""
    from stem_pipeline.separation.engine import separate_stream
    from stem_pipeline.separation.reader import ArrayReader

    def method(mixture: Audio) -> Parts:
        blocks = list(separate_stream(model, ArrayReader(mixture, RATE), overlap=overlap))
        return dict(zip(model.sources, np.concatenate(blocks, axis=-1), strict=True))

    return method


@dataclass(frozen=True)
class Score:
    """One part of one clip by one method; `seconds` is what the method took for the whole clip."""

    material: str
    method: str
    part: str
    sdr_db: float
    si_sdr_db: float
    real_time_factor: float


def score_multitrack(name: str, parts: Parts, methods: dict[str, Method]) -> Iterator[Score]:
    """Every method on the sum of `parts`, part by part; silent parts are left out."""
    mixture = sum_of(parts)
    for method_name, method in methods.items():
        started = time.perf_counter()
        estimates = method(mixture)
        factor = (time.perf_counter() - started) / (mixture.shape[1] / RATE)
        for part in DRUM_PARTS:
            if parts[part].any():
                yield Score(
                    name,
                    method_name,
                    part,
                    sdr_db(parts[part], estimates[part]),
                    si_sdr_db(parts[part], estimates[part]),
                    factor,
                )


# --- Loops on kits that no model of ours has heard -------------------------------------------------------------------

_PIECES = {"kick": ("KD",), "snare": ("SD",), "toms": ("T1", "T2", "T3"), "cymbals": ("HC", "HO", "CR")}
_LEVEL = {"KD": 0.8, "SD": 0.7, "HC": 0.3, "HO": 0.3, "CR": 0.45, "T1": 0.6, "T2": 0.6, "T3": 0.6}
RESERVED_LOOPS: dict[str, dict[str, str]] = {
    "Colombo": {
        "KD": "ColomboAcousticDrumkit/bassdrum-4mics-br-stereo-normal3.flac",
        "SD": "ColomboAcousticDrumkit/snare-opaque-2mics_normal-shot1.flac",
        "HC": "ColomboAcousticDrumkit/hihat-closed-4.flac",
        "HO": "ColomboAcousticDrumkit/hihat-open-4.flac",
        "CR": "ColomboAcousticDrumkit/crash16i__crash1.flac",
        "T1": "ColomboAcousticDrumkit/tom-hi-1.flac",
        "T2": "ColomboAcousticDrumkit/tom-mid-1.flac",
        "T3": "ColomboAcousticDrumkit/tom-low-1.flac",
    },
    "Forzee": {
        "KD": "ForzeeStereo/Kick-4.wav",
        "SD": "ForzeeStereo/Snare-4.wav",
        "HC": "ForzeeStereo/HiHatClosed-3.wav",
        "HO": "ForzeeStereo/HiHatOpen-3.wav",
        "CR": "ForzeeStereo/Crash18-3.wav",
        # The loop's toms are the kit's files in the order of their names: first, middle, last.
        "T1": "ForzeeStereo/TomHigh-0.wav",
        "T2": "ForzeeStereo/TomLow-2.wav",
        "T3": "ForzeeStereo/TomMid-4.wav",
    },
}
"""Samples of hydrogen-drumkits (Debian) that the reserved loops are played on."""


def render_reserved_loop(kit: dict[str, str], drumkits: Path, bars: int = 4, seed: int = 0) -> Parts:
    """Four bars of rock at 110 BPM with a fill down the toms at the end, mono: float32 [1, samples] a part.

    Raises `RequestRefused` (`audio_not_found`) when the package is not installed.
    """
    import soundfile
    from scipy.signal import resample_poly

    eighth = 60 / 110 / 2
    rng = np.random.default_rng(seed)
    length = int((bars * 8 * eighth + 1.0) * RATE)
    sounds: dict[str, NDArray[np.float32]] = {}
    for piece, relative in kit.items():
        path = drumkits / relative
        if not path.is_file():
            raise RequestRefused(
                "audio_not_found", "The reserved kits are not here: apt-get install hydrogen-drumkits."
            )
        audio, rate = soundfile.read(path, always_2d=True)
        mono = audio.mean(1) if rate == RATE else resample_poly(audio.mean(1), RATE, rate)
        sounds[piece] = (mono / np.abs(mono).max() * _LEVEL[piece]).astype(np.float32)
    parts = {part: np.zeros((1, length), np.float32) for part in DRUM_PARTS}
    part_of = {piece: part for part, pieces in _PIECES.items() for piece in pieces}

    def hit(piece: str, position: float) -> None:
        start = int(position * eighth * RATE)
        sound = sounds[piece] * np.float32(rng.uniform(0.8, 1))
        end = min(length, start + len(sound))
        parts[part_of[piece]][0, start:end] += sound[: end - start]

    for bar in range(bars):
        first, is_last = bar * 8, bar == bars - 1
        if bar == 0:
            hit("CR", first)
        for step in range(8):
            if not (is_last and step >= 4):
                hit("HO" if step == 7 and bar % 2 else "HC", first + step)
        for step in (0, 3, 4) if bar % 2 else (0, 4, 5):
            hit("KD", first + step)
        for step in (2, 6):
            if not (is_last and step == 6):
                hit("SD", first + step)
        if is_last:
            for i, tom in enumerate(("T1", "T1", "T2", "T2", "T3", "T3", "T3", "T3")):
                hit(tom, first + 4 + i * 0.5)
    return parts


# --- Onsets of real recordings --------------------------------------------------------------------------------------

ONSET_CLASSES: dict[str, str] = {"KD": "kick", "SD": "snare", "HH": "cymbals", "CY": "cymbals", "TT": "toms"}
"""Classes of MDB Drums' annotations (Southall et al., ISMIR 2017, late-breaking); others (`OT`) are no drum set's."""


def read_onsets(path: Path) -> dict[str, list[float]]:
    """Seconds of every onset of each part, from lines `seconds <tab> class`."""
    out: dict[str, list[float]] = {}
    for line in path.read_text().splitlines():
        fields = line.split()
        if len(fields) >= 2 and fields[1] in ONSET_CLASSES:
            out.setdefault(ONSET_CLASSES[fields[1]], []).append(float(fields[0]))
    return out


@dataclass(frozen=True)
class Leakage:
    """Of one part, in dB: how much louder it is at its own onsets than at those of others alone; its share of the power."""

    part: str
    onsets: int
    own_over_others_db: float
    level_db: float


def onset_leakage(parts: Parts, onsets: dict[str, list[float]], span_s: float = 0.06) -> list[Leakage]:
    """Mean energy of a part in the `span_s` from its own onsets, against from others' onsets with none of its own in 80 ms."""
    span = int(span_s * RATE)
    whole = sum(float(np.sum(np.square(x, dtype=np.float64))) for x in parts.values())
    out = []
    for part, own in sorted(onsets.items()):
        audio = parts[part]
        others = [t for p, ts in onsets.items() if p != part for t in ts if min(abs(t - o) for o in own) > 0.08]

        def energy(times: list[float], audio: Audio = audio) -> float:
            starts = [max(0, int((t - 0.005) * RATE)) for t in times]
            return float(
                np.mean(
                    [np.mean(np.square(audio[:, s : s + span], dtype=np.float64)) for s in starts if s < audio.shape[1]]
                )
            )

        contrast = 10 * math.log10((energy(own) + 1e-14) / (energy(others) + 1e-14)) if others else math.nan
        level = 10 * math.log10(float(np.sum(np.square(audio, dtype=np.float64))) / whole + 1e-14)
        out.append(Leakage(part, len(own), contrast, level))
    return out


# --- The table ------------------------------------------------------------------------------------------------------


def as_table(scores: list[Score]) -> str:
    """SDR (and SI-SDR in brackets) as a Markdown table, one row a method and clip, mean last."""
    rows = [f"| material | method | {' | '.join(DRUM_PARTS)} | mean SDR | real-time factor |", "|---" * 8 + "|"]
    for material in dict.fromkeys(s.material for s in scores):
        chosen = [s for s in scores if s.material == material]
        for method in dict.fromkeys(s.method for s in chosen):
            by_part = {s.part: s for s in chosen if s.method == method}
            cells = [
                f"{by_part[p].sdr_db:.1f} ({by_part[p].si_sdr_db:.1f})" if p in by_part else "–" for p in DRUM_PARTS
            ]
            mean = np.mean([s.sdr_db for s in by_part.values()])
            factor = next(iter(by_part.values())).real_time_factor
            rows.append(f"| {material} | {method} | {' | '.join(cells)} | {mean:.2f} | {factor:.3f} |")
        known = INVERSE_DRUM_MACHINE.get(material)
        if known:
            cells = [f"{known[p]:.1f}" for p in DRUM_PARTS]
            rows.append(
                f"| {material} | Inverse Drum Machine (published) | {' | '.join(cells)} | {np.mean(list(known.values())):.2f} | |"
            )
    return "\n".join(rows)


def draw_parts(mixture: Audio, parts: Parts, path: Path) -> None:
    """Spectrograms of the mixture and its four parts, one above the other, on one colour scale, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 10), layout="constrained")
    window = np.hanning(2048).astype(np.float32)
    top = 0.0
    axes = figure.subplots(5, 1, sharex=True)
    for axis, (name, audio) in zip(axes, {"drums": mixture, **parts}.items(), strict=True):
        mono = audio.mean(0)
        frames = np.lib.stride_tricks.sliding_window_view(mono, 2048)[::256] * window
        level = 20 * np.log10(np.abs(np.fft.rfft(frames)).T + 1e-6)
        top = top or float(level.max())
        extent = (0, len(mono) / RATE, 0, RATE / 2000)
        axis.imshow(level, origin="lower", aspect="auto", extent=extent, vmin=top - 80, vmax=top, cmap="magma")
        axis.set_yscale("symlog", linthresh=0.5)
        axis.set_ylim(0, 20)
        axis.set_ylabel(f"{name}, kHz")
    axes[-1].set_xlabel("seconds")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def standard_methods() -> dict[str, Method]:
    """The mixture, band-splitting, the factorisation baseline and the shipped network."""
    from stem_pipeline.drums.model import DrumNet
    from stem_pipeline.drums.nmf import NmfDrums

    drum_net = DrumNet()
    return {
        "mixture": mixture_itself,
        "band-splitting": band_splitting,
        "nmf-drums": separated_by(NmfDrums()),
        drum_net.name: separated_by(drum_net),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure drum separation.")
    parser.add_argument("--material", type=Path, nargs="*", default=[], help="folders of drum multitracks")
    parser.add_argument(
        "--reserved-kits", type=Path, help="the drumkits folder of hydrogen-drumkits: render the reserved loops"
    )
    parser.add_argument("--onsets", type=Path, help="folder of MusicDelta_NAME_class.txt onset annotations")
    parser.add_argument("--drums", type=Path, help="folder of mdb_NAME/drums.flac for --onsets")
    parser.add_argument("--out", type=Path, help="JSON file for all figures")
    parser.add_argument("--picture", type=Path, help="PNG of the last bar of the first material, taken apart")
    options = parser.parse_args(argv)
    say = sys.stdout.write
    try:
        material = {folder.name: read_multitrack(folder) for folder in options.material}
        if options.reserved_kits:
            for name, kit in RESERVED_LOOPS.items():
                material[name] = render_reserved_loop(kit, options.reserved_kits)
        methods = standard_methods()
        scores = [s for name, parts in material.items() for s in score_multitrack(name, parts, methods)]
        if scores:
            say(as_table(scores) + "\n")
        if options.picture and material:
            mixture = sum_of(next(iter(material.values())))
            bar = slice(int(6.4 * RATE), int(8.9 * RATE))
            parts = list(methods.values())[-1](mixture)
            draw_parts(mixture[:, bar], {p: parts[p][:, bar] for p in DRUM_PARTS}, options.picture)
        leakages = {}
        if options.onsets and options.drums:
            for name, part_leakages in _onset_runs(options.onsets, options.drums, methods):
                leakages[name] = [vars(x) for x in part_leakages]
                for x in part_leakages:
                    figures = f"{x.own_over_others_db:.1f} dB own over others, {x.level_db:.1f} dB of the drums"
                    say(f"{name} {x.part}: {figures}, {x.onsets} onsets\n")
    except StemPipelineError as error:
        say(f"{error.message}\n")
        return error.exit_status
    if options.out:
        options.out.write_text(json.dumps({"scores": [vars(s) for s in scores], "onsets": leakages}, indent=1))
    return 0


def _onset_runs(onsets: Path, drums: Path, methods: dict[str, Method]) -> Iterator[tuple[str, list[Leakage]]]:
    import soundfile

    for annotation in sorted(onsets.glob("MusicDelta_*_class.txt")):
        song = annotation.name.split("_")[1]
        audio, _ = soundfile.read(drums / f"mdb_{song}" / "drums.flac", dtype="float32", always_2d=True)
        times = read_onsets(annotation)
        for name, method in methods.items():
            yield f"mdb_{song} {name}", onset_leakage(method(np.ascontiguousarray(audio.T)), times)


if __name__ == "__main__":
    raise SystemExit(main())
