"""Result folders made with a model of known answer, whole or damaged on purpose."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
from known_answer_model import KnownAnswerModel
from numpy.typing import NDArray

from quality.checks import verdict
from quality.deliverables import check_deliverables
from stem_pipeline.audio import OutputFormat, StemEncoder, parse_format
from stem_pipeline.delivery import write_deliverables
from stem_pipeline.manifest import FILE_NAME, CheckRecord, Manifest, StemRecord
from stem_pipeline.rounding import shared_gain
from stem_pipeline.separation.reader import ArrayReader
from stem_pipeline.separation.separator import Separator
from stem_pipeline.stems import ALL_STEMS, DRUM_PARTS

RATE = 44_100
Audio = NDArray[np.float32]


def smooth_noise(channels: int, samples: int, seed: int = 0) -> Audio:
    """Noise below some 3 kHz, which every codec keeps; each channel has its own."""
    rows = np.random.default_rng(seed).normal(0, 0.05, (channels, samples))
    return np.stack([np.convolve(row, np.hanning(18), mode="same") for row in rows]).astype(np.float32)


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


class ResultFolder:
    """A source, its eight stems and their manifest under `place`; `damage…` methods change one thing each."""

    def __init__(
        self,
        place: Path,
        fmt: OutputFormat | None = None,
        stems: Iterable[str] = ALL_STEMS,
        samples: int = 60_000,
        level: float = 1.0,
    ) -> None:
        self.fmt = fmt or parse_format("wav", "24")
        self.source, self.folder = place / "song.wav", place / "song"
        self.folder.mkdir()
        audio = smooth_noise(2, samples) * np.float32(level)
        sf.write(self.source, audio.T, RATE, subtype="FLOAT")
        self.audio = audio
        main = Separator(KnownAnswerModel()).separate(audio, RATE)
        self.stems = main | Separator(KnownAnswerModel(DRUM_PARTS)).separate(main["drums"], RATE)
        self.wanted = tuple(stems)
        peak = max(float(np.abs(s).max()) for s in self.stems.values())
        self.gain = shared_gain(peak, self.fmt.bits if self.fmt.integer else None)
        self.files = write_deliverables(
            ArrayReader(audio, RATE),
            {s: ArrayReader(stem, RATE) for s, stem in self.stems.items()},
            self.wanted, self.fmt, self.gain, self.folder, {s: {"title": s} for s in self.wanted},
        )  # fmt: skip
        self.write_manifest()

    def checks(self) -> list[CheckRecord]:
        """As a run proves its files: with the masters at hand."""
        return check_deliverables(
            lambda: [self.audio],
            {s: (lambda k=s: [self.stems[k]]) for s in self.wanted},
            self.files, self.fmt, RATE, 2, self.audio.shape[1], self.gain,
        )  # fmt: skip

    def write_manifest(self, **changes: Any) -> None:
        """The manifest of what lies in the folder now: its hashes are right whatever was done to the files."""
        document = asdict(self.manifest()) | changes
        (self.folder / FILE_NAME).write_text(json.dumps(document))

    def manifest(self) -> Manifest:
        channels, samples = self.audio.shape
        return Manifest(
            song={"id": sha256(self.source), "title": "song"},
            source={"sample_rate": RATE},
            models=[],
            settings={},
            format={"name": self.fmt.name, "bit_depth": self.fmt.bit_depth, "lossless": self.fmt.lossless},
            gain=self.gain,
            stems={
                stem: StemRecord(
                    f.name, sha256(f), f.stat().st_size, RATE, channels, samples, None, None, None, silent=False
                )
                for stem, f in self.files.items()
            },
            analysis={},
            checks=[],
            verdict="passed",
            code_version="test",
        )

    def rewrite(self, changed: Mapping[str, Audio], rate: int = RATE) -> None:
        """Encodes other samples in place of some stems, and has the manifest say their hashes: no hash betrays it."""
        for stem, audio in changed.items():
            with StemEncoder(self.files[stem], self.fmt, rate, audio.shape[0], audio.shape[1]) as encoder:
                if self.fmt.integer:
                    steps = 2.0 ** ((self.fmt.bits or 0) - 1)
                    encoder.write_pcm(np.rint(audio.astype(np.float64) * self.gain * steps).astype(np.int32))
                else:
                    encoder.write(audio)
        self.write_manifest()


def failed(checks: Iterable[CheckRecord]) -> set[str]:
    """The names of the checks that did not hold."""
    return {check.name for check in checks if not check.passed}


def assert_only(checks: list[CheckRecord], names: set[str]) -> None:
    """Exactly these checks failed, and the verdict says so."""
    assert failed(checks) == names, [c.sentence for c in checks if not c.passed]
    assert verdict(checks) == ("failed" if names else "passed")


def late(audio: Audio, samples: int) -> Audio:
    """Shifted to the right, same length."""
    return np.pad(audio, ((0, 0), (samples, 0)))[:, : audio.shape[1]]
