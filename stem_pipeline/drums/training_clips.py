"""What the network is shown: rendered clips folded into bands, kept so that they can be remixed without being rendered again.

Belongs here: folding, the rounds on disk, remixing. Does not belong here: sound (`rendering`), optimisation (`train`).

For masks that are real and constant within a band, all that training needs of a clip is, for each band and frame, the
inner products of its sources' spectra, G[p, q] = Re Σ S_p S_q* over the band's bins. With gains g_p of the sources the
mixture's power is Σ g_p g_q G[p, q], a mask m leaves the error m² A − 2 m B_p + C_p with A = Σ g_q g_r G[q, r],
B_p = g_p Σ g_q G[p, q] and C_p = g_p² G[p, p]: levels and equalisers of the parts change at no cost, and no inverse
transform is ever needed. Middle (L + R)/√2 and side (L − R)/√2 are kept apart for the panning.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stem_pipeline.drums.grooves import RecordedGrooves
from stem_pipeline.drums.network import BandFold, NetworkShape
from stem_pipeline.drums.one_shots import RATE, OneShotBank
from stem_pipeline.drums.rendering import Clip, Renderer
from stem_pipeline.errors import RunFailed
from stem_pipeline.stems import DRUM_PARTS

SOURCES = len(DRUM_PARTS) + 1
"""The parts and the residue."""
PAIRS: list[tuple[int, int]] = [(p, q) for p in range(SOURCES) for q in range(p, SOURCES)]


def folded(clip: Clip, fold: BandFold) -> NDArray[np.float16]:
    """float16 [2, pairs, bands, frames]: signed square roots of the inner products, middle and side.

    The clip's mean power a band and frame is 1, so float16 holds 90 dB below it and more.
    """
    sources = torch.from_numpy(np.concatenate((clip.parts, clip.residue[None])))
    spectra = fold.spectrum(sources)
    middle = (spectra[:, 0] + spectra[:, 1]) * 2**-0.5
    side = (spectra[:, 0] - spectra[:, 1]) * 2**-0.5
    out = torch.empty((2, len(PAIRS), fold.bands, spectra.shape[-1]))
    for channel, signal in enumerate((middle, side)):
        if float(signal.abs().max()) == 0:
            out[channel] = 0
            continue
        real, imaginary = signal.real.contiguous(), signal.imag.contiguous()
        for pair, (p, q) in enumerate(PAIRS):
            out[channel, pair] = fold(real[p] * real[q] + imaginary[p] * imaginary[q])
    weights = torch.tensor([1.0 if p == q else 2.0 for p, q in PAIRS])
    power = torch.einsum("cpbt,p->", out, weights) / (out.shape[-1] * out.shape[-2])
    out = out / power.clamp_min(1e-12)
    return (out.sign() * out.abs().sqrt()).half().numpy()


@dataclass(frozen=True)
class Round:
    """Which clips a round has: their number, length and the seed that they all follow from."""

    seed: int
    clips: int
    seconds: float


def _render_rounds(
    folder: str, bank: str, grooves: str | None, shape: dict, spec: Round, first: int, ahead: int
) -> None:
    """The renderer's process: writes `round-N.npy` from `first` on, never more than `ahead` beyond the one in use."""
    torch.set_num_threads(1)
    fold = BandFold(NetworkShape.from_dict(shape))
    renderer = Renderer(OneShotBank(Path(bank)), RecordedGrooves(Path(grooves)) if grooves else None)
    number, parent = first, os.getppid()
    while os.getppid() == parent:
        in_use = max((int(p.stem.split("-")[1]) for p in Path(folder).glob("use-*.mark")), default=0)
        target = Path(folder) / f"round-{number}.npy"
        if number > in_use + ahead:
            time.sleep(0.5)
            continue
        if not target.exists():
            clips = []
            for i in range(spec.clips):
                rng = np.random.default_rng((spec.seed, number, i))
                clips.append(folded(renderer.clip(rng, spec.seconds), fold))
                if os.getppid() != parent:
                    return
            scratch = target.with_suffix(f".{os.getpid()}.part")
            with scratch.open("wb") as file:
                np.save(file, np.stack(clips))
            scratch.replace(target)
        number += 1


class RenderingProcess:
    """Renders rounds ahead of need, in a process of its own, and removes those that no one needs any more."""

    def __init__(
        self, folder: Path, bank: Path, grooves: Path | None, shape: NetworkShape, spec: Round, kept: int, first: int
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.kept = folder, kept
        self.in_use(first)
        self._process = multiprocessing.get_context("spawn").Process(
            target=_render_rounds,
            args=(
                str(folder),
                str(bank),
                str(grooves) if grooves else None,
                shape.as_dict(),
                spec,
                max(0, first - kept + 1),
                2,
            ),
            daemon=True,
        )
        self._process.start()

    def in_use(self, number: int) -> None:
        """Says that training stands at round `number`."""
        (self.folder / f"use-{number}.mark").touch()
        for path in self.folder.glob("use-*.mark"):
            if int(path.stem.split("-")[1]) != number:
                path.unlink(missing_ok=True)
        for path in self.folder.glob("round-*.npy"):  # a learner that still reads one keeps it until it closes it
            if int(path.stem.split("-")[1]) <= number - self.kept:
                path.unlink(missing_ok=True)

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def close(self) -> None:
        self._process.terminate()
        self._process.join(5)


class Rounds:
    """The clips in use: the newest `kept` rounds.

    Which clips a training step sees depends on the seed and the step alone, never on how fast rendering was.
    """

    def __init__(self, folder: Path, kept: int, is_rendering: Callable[[], bool]) -> None:
        self.folder, self.kept, self._is_rendering = folder, kept, is_rendering
        self._rounds: dict[int, NDArray[np.float16]] = {}

    def advance(self, number: int) -> None:
        """Opens the rounds up to `number`, waiting for rendering. Raises `RunFailed` (`internal`) when rendering has died."""
        for wanted in range(max(0, number - self.kept + 1), number + 1):
            path = self.folder / f"round-{wanted}.npy"
            while wanted not in self._rounds:
                if path.exists():
                    self._rounds[wanted] = np.load(path, mmap_mode="r")
                elif not self._is_rendering():
                    raise RunFailed("internal", "Rendering of training clips stopped; its reason stands above.")
                else:
                    time.sleep(0.2)
        for old in [n for n in self._rounds if n <= number - self.kept]:
            del self._rounds[old]

    def sample(self, rng: np.random.Generator, batch: int, frames: int) -> Tensor:
        """float32 [batch, 2, pairs, bands, frames]: stretches of clips of the rounds in use, the inner products themselves."""
        numbers = sorted(self._rounds)
        out = []
        for _ in range(batch):
            clips = self._rounds[numbers[int(rng.integers(len(numbers)))]]
            start = int(rng.integers(0, clips.shape[-1] - frames + 1))
            out.append(clips[int(rng.integers(len(clips))), ..., start : start + frames])
        stacked = torch.from_numpy(np.stack(out)).float()
        return stacked * stacked.abs()


@dataclass(frozen=True)
class Remix:
    """A batch as the network sees it: `power`, `side` [batch, bands, frames]; `cross`, `own` [batch, parts, bands, frames]."""

    power: Tensor
    side: Tensor
    cross: Tensor
    own: Tensor


def remix(products: Tensor, rng: np.random.Generator, gain_db: float = 3.5, plain: bool = False) -> Remix:
    """New levels and equalisers of the parts, missing parts, holes as a first separation tears them.

    `products`: as `Rounds.sample` gives them. With `plain` the clip stays as it was rendered.
    """
    batch, _, _, bands, frames = products.shape
    gains = torch.ones(batch, SOURCES, bands)
    common = torch.ones(batch, bands, frames)
    if not plain:
        position = np.linspace(-1, 1, bands)
        for b in range(batch):
            for p in range(SOURCES):
                db = float(np.clip(rng.normal(0, gain_db), -9, 9)) + float(rng.normal(0, 2)) * position
                db = db + float(rng.normal(0, 3)) * np.exp(
                    -0.5 * ((position - rng.uniform(-1, 1)) / rng.uniform(0.1, 0.5)) ** 2
                )
                gains[b, p] = torch.from_numpy(10 ** (np.clip(db, -15, 15) / 20)).float()
            if rng.random() < 0.12:
                gains[b, int(rng.integers(SOURCES - 1))] = 0
            if rng.random() < 0.4:
                gains[b, -1] = 0
            if rng.random() < 0.2:
                coarse = rng.normal(-1.5, 3.5, (1, 1, max(2, bands // 16), max(2, frames // 4)))
                smooth = torch.nn.functional.interpolate(
                    torch.from_numpy(np.clip(coarse, -14, 2)).float(), (bands, frames), mode="bilinear"
                )
                common[b] = 10 ** (smooth[0, 0] / 20)
            if rng.random() < 0.12:
                common[b, int(bands * rng.uniform(0.9, 0.98)) :] *= 0.02
    index = torch.empty(SOURCES, SOURCES, dtype=torch.long)
    for pair, (p, q) in enumerate(PAIRS):
        index[p, q] = index[q, p] = pair
    common = common.square()
    both = []
    for channel in (0, 1):
        channel_products = products[:, channel]
        cross = []
        for p in range(SOURCES):
            row = (channel_products[:, index[p]] * gains[..., None]).sum(1) * gains[:, p, :, None]
            cross.append(row * common)
        both.append(torch.stack(cross, 1))
    cross_all = both[0] + both[1]
    diagonal = torch.stack([products[:, :, index[p, p]].sum(1) for p in range(SOURCES - 1)], 1)
    own = diagonal * gains[:, :-1, :, None].square() * common[:, None]
    return Remix(cross_all.sum(1).clamp_min(0), both[1].sum(1).clamp_min(0), cross_all[:, :-1], own)


def rendered_seconds(spec: Round, rounds: int) -> float:
    """How much audio `rounds` rounds hold."""
    return rounds * spec.clips * int(spec.seconds * RATE) / RATE
