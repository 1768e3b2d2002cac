"""One run of the benchmark, in a process of its own: `python -m quality.speed_contender PLAN ANSWER`.

Belongs here: the two that race: stock Demucs (its own `apply_model`) and our stage 1.
PLAN is JSON, the answer is written as JSON to the file ANSWER.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.audio import MasterReader, MasterWriter, open_source, read_audio
from stem_pipeline.errors import StemPipelineError
from stem_pipeline.models.catalogue import find_model
from stem_pipeline.models.store import ensure_weights

STOCK_OVERLAP = 0.25
"""Demucs' default."""


def sdr(reference: NDArray[np.floating], estimate: NDArray[np.floating]) -> float:
    """Signal-to-distortion ratio in dB over the whole signal: 10·log10(Σ reference² / Σ (reference − estimate)²).

    The definition of the Music Demixing Challenge (Mitsufuji et al. 2022), on one song. Both [channels, samples].
    """
    signal = float(np.square(reference, dtype=np.float64).sum())
    distortion = float(np.square(reference.astype(np.float64) - estimate).sum())
    return 10 * math.log10(max(signal, 1e-12) / max(distortion, 1e-12))


def write_song(file: Path, target: Path, seconds: float | None) -> None:
    """Decodes `file` into a master at `target`, cut or repeated to `seconds`; None leaves its length."""
    with open_source(file) as decoder:
        facts = decoder.facts
    wanted = round(seconds * facts.sample_rate) if seconds else None
    with MasterWriter(target, facts.sample_rate, facts.channels) as master:
        while True:
            with open_source(file) as decoder:
                for block in decoder:
                    master.write(block if wanted is None else block[:, : wanted - master.samples])
                    if wanted is not None and master.samples >= wanted:
                        return
            if wanted is None:
                return


@contextlib.contextmanager
def _master(plan: dict[str, Any]) -> Iterator[MasterReader]:
    with tempfile.TemporaryDirectory() as folder:
        write_song(Path(plan["file"]), Path(folder) / "song.wav", plan["seconds"])
        yield MasterReader(Path(folder) / "song.wav")


def _truth(plan: dict[str, Any], sources: tuple[str, ...]) -> dict[str, NDArray[np.float32]]:
    if not plan["truth"]:
        return {}
    found = {}
    for stem in sources:
        files = sorted(Path(plan["truth"]).glob(f"{stem}.*"))
        if not files:
            raise StemPipelineError(
                "audio_not_found", f"There is no true {stem} stem in the folder given with --truth."
            )
        found[stem], _ = read_audio(files[0])
    return found


class _Clock:
    """Wall and processor seconds since it was made, children of this process not counted."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        return time.perf_counter() - self._wall, time.process_time() - self._cpu


def _peak_mib() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)


def run_stock(plan: dict[str, Any]) -> dict[str, Any]:
    """Demucs as its own command runs it: whole song in memory, `apply_model` with shifts 0, overlap 0.25, float32."""
    import soxr
    import torch
    from demucs.apply import apply_model

    from stem_pipeline.models.htdemucs import load_htdemucs

    started = _Clock()
    card = find_model("htdemucs")
    model = load_htdemucs(ensure_weights(card))
    if plan["device"] == "cuda":
        model.to("cuda")
    loaded, _ = started.read()
    with _master(plan) as song:
        audio = song.read(0, song.samples)
        seconds = song.samples / song.sample_rate
        rate = song.sample_rate
    if rate != card.sample_rate:
        audio = soxr.resample(audio.T, rate, card.sample_rate, quality="VHQ").T
    mixture = torch.from_numpy(np.ascontiguousarray(np.repeat(audio, 2, axis=0) if len(audio) == 1 else audio))
    clock = _Clock()
    reference = mixture.mean(0)
    mean, deviation = reference.mean(), reference.std() + 1e-8
    stems = apply_model(
        model,
        ((mixture - mean) / deviation)[None],
        shifts=0,
        split=True,
        overlap=STOCK_OVERLAP,
        device="cuda" if plan["device"] == "cuda" else "cpu",
    )[0]
    estimate = (stems * deviation + mean).cpu().numpy()
    wall, cpu = clock.read()
    truth = _truth(plan, card.sources)
    residual = float(np.sqrt(np.square(mixture.numpy() - estimate.sum(axis=0)).mean(axis=1)).max())
    return {
        "backend": f"torch-{plan['device']}-float32 (stock)",
        "duration_seconds": seconds,
        "load_seconds": loaded,
        "seconds": wall,
        "cpu_seconds": cpu,
        "peak_memory_mib": _peak_mib(),
        "residual_dbfs": round(20 * math.log10(max(residual, 1e-12)), 1),
        "sdr_db": {s: round(sdr(truth[s], estimate[k]), 3) for k, s in enumerate(card.sources) if s in truth},
    }


def run_ours(plan: dict[str, Any]) -> dict[str, Any]:
    """Our stage 1, streamed from disk as in the pipeline: rates, segments, consistency and all."""
    from stem_pipeline.separation.load import load_model
    from stem_pipeline.separation.separator import Separator

    started = _Clock()
    model = load_model("htdemucs", device=plan["device"])
    loaded, _ = started.read()
    truth = _truth(plan, model.sources)
    kept: list[NDArray[np.float32]] = []
    squares, position = 0.0, 0
    with _master(plan) as song:
        seconds = song.samples / song.sample_rate
        clock = _Clock()
        for block in Separator(model, quality=plan["quality"]).stream(song):
            n = block.shape[-1]
            squares = squares + np.square(song.read(position, position + n) - block.sum(axis=0)).sum(axis=1)
            position += n
            if truth:
                kept.append(block)
        wall, cpu = clock.read()
        residual = float(np.sqrt(np.max(squares) / max(1, song.samples)))
    estimate = np.concatenate(kept, axis=-1) if kept else None
    return {
        "backend": model.backend,
        "duration_seconds": seconds,
        "load_seconds": loaded,
        "seconds": wall,
        "cpu_seconds": cpu,
        "peak_memory_mib": _peak_mib(),
        "residual_dbfs": round(20 * math.log10(max(residual, 1e-12)), 1),
        "sdr_db": {
            s: round(sdr(truth[s], estimate[k]), 3) for k, s in enumerate(model.sources) if estimate is not None
        },
    }


def main(arguments: list[str]) -> int:
    plan, answer = json.loads(arguments[0]), Path(arguments[1])
    runs = {"stock": run_stock, "ours": run_ours}
    try:
        found = runs[plan["contender"]](plan)
    except StemPipelineError as refusal:
        found = {"error": refusal.as_dict()}
    partial = answer.with_suffix(".partial")
    partial.write_text(json.dumps(found))
    os.replace(partial, answer)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
