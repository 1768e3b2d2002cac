"""A short song, a pipeline around models whose answers are known, and the run of one through the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import soundfile
from known_answer_model import KnownAnswerModel

from assets.run_song import SongRun, SongRunner
from assets.surroundings import Surroundings
from resources.storage import LocalStorage
from stem_pipeline.audio import Limits
from stem_pipeline.manifest import ModelRecord
from stem_pipeline.stems import DRUM_PARTS, MAIN_STEMS

RATE = 44_100


@dataclass
class KnownModels:
    """Plays `resources.separator.Models`: both levels answered by `KnownAnswerModel`."""

    main: KnownAnswerModel = field(default_factory=lambda: KnownAnswerModel(MAIN_STEMS, segment_samples=44_100))
    drums: KnownAnswerModel = field(default_factory=lambda: KnownAnswerModel(DRUM_PARTS, segment_samples=44_100))

    def check_allowed(self, name: str) -> None:
        return

    def load(self, name: str) -> KnownAnswerModel:
        return self.main if name == "htdemucs" else self.drums

    def record(self, stage: str, model: KnownAnswerModel) -> ModelRecord:
        return ModelRecord(stage, model.name, model.version, model.backend, None, "MIT", False)

    @property
    def calls(self) -> int:
        return self.main.calls + self.drums.calls


@dataclass
class Pipeline:
    """A home of its own with known models in it."""

    home: Path
    models: Any = field(default_factory=KnownModels)

    def __post_init__(self) -> None:
        self.storage = LocalStorage(self.home / "storage")
        self.instance = dg.DagsterInstance.ephemeral()
        self.around = Surroundings(self.storage, self.models, Limits())
        self.runner = SongRunner(self.instance, self.around)

    def run(self, song: Path, **request: Any) -> SongRun:
        return self.runner.run(song, request)

    def delivered(self, run: SongRun) -> dict[str, bytes]:
        """Bytes of the deliverables by file name."""
        names = [s.file for s in run.manifest.stems.values()]
        return {name: self.storage.read_bytes(f"{run.folder}/{name}") for name in (*names, "manifest.json")}


def write_song(file: Path, seconds: float = 1.5, seed: int = 1, rate: int = RATE) -> Path:
    """Two channels of beats over a chord, as 16-bit WAV: something to analyse and to separate."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    chord = sum(np.sin(2 * np.pi * f * time) for f in (220.0, 277.2, 329.6)) * 0.1
    beats = rng.standard_normal(time.size) * np.exp(-((time % 0.5) * 30)) * 0.3
    soundfile.write(file, np.stack([chord + beats, chord * 0.7 + beats], axis=1), rate, subtype="PCM_16")
    return file
