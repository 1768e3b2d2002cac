"""Training of the drum network, from the first step to weights that can be shipped: seeded, resumable, watched.

Belongs here: the loss, the schedule, checkpoints, the curves, the command `train-drums`. Does not belong here: what a clip
sounds like (`rendering`), what is learnt from it (`training_clips`), how well it does on music (`quality.drum_benchmark`).
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import multiprocessing
import os
import signal
import time
from dataclasses import asdict, dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn

from stem_pipeline.drums.grooves import RecordedGrooves
from stem_pipeline.drums.kits import KITS, refuse_reserved_groove, refuse_reserved_kit
from stem_pipeline.drums.network import DrumNetwork, NetworkShape
from stem_pipeline.drums.one_shots import OneShotBank, build_bank
from stem_pipeline.drums.training_clips import Remix, RenderingProcess, Round, Rounds, remix
from stem_pipeline.drums.training_curves import draw_curves, write_curve_row
from stem_pipeline.errors import RequestRefused
from stem_pipeline.progress import IsCancelled, OnProgress, ProgressMeter, ignore_progress, never_cancelled


@dataclass(frozen=True)
class TrainingConfig:
    """All that decides what the weights become, apart from the machine's rounding."""

    work_folder: str = "build/train-drums"
    """Where the bank of one-shots, rendered rounds, checkpoints and curves lie."""
    grooves: str | None = None
    """A zip of recorded performances (Groove MIDI); without it all grooves are invented."""
    seed: int = 1
    steps: int = 6000
    warmup_steps: int = 100
    decay_share: float = 0.45
    """The last part of the steps, over which the rate falls linearly to zero."""
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.01
    batch: int = 8
    frames: int = 172
    """Frames of a training stretch: 4 s."""
    clip_seconds: float = 8.0
    clips_a_round: int = 32
    steps_a_round: int = 40
    rounds_kept: int = 8
    averaging: float = 0.998
    """Decay a step of the running mean of the weights, which is what ships."""
    quiet_floor: float = 3e-4
    """Power, as a share of the mixture's, below which a part counts as silent (−35 dB)."""
    spectral_weight: float = 4.0
    share_weight: float = 6.0
    largest_gradient: float = 5.0
    """Norm above which a gradient is scaled down."""
    learners: int = 2
    """Processes that share a batch; on a busy machine they wait for each other once a step, threads at every layer."""
    threads: int = 1
    """Threads of each learner."""
    bfloat16: bool = True
    checkpoint_minutes: float = 4.0
    shape: NetworkShape = field(default_factory=NetworkShape)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainingConfig:
        """Raises `RequestRefused` (`option_invalid`) for a name that is no setting."""
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise RequestRefused("option_invalid", f"The training configuration has no setting {sorted(unknown)[0]!r}.")
        given = dict(values)
        if isinstance(given.get("shape"), dict):
            given["shape"] = NetworkShape.from_dict(given["shape"])
        return cls(**given)


def separation_loss(logits: Tensor, clip: Remix, config: TrainingConfig) -> tuple[Tensor, Tensor]:
    """The loss and, for the curves, the mean SDR of each part in dB over the clips where it sounds.

    First term: the error-to-signal ratio of each part of each clip in dB, as the benchmark measures it, so that a quiet
    part counts as much as a loud one; softened at −30 dB and at `quiet_floor` (Wisdom et al., "Unsupervised sound
    separation using mixture invariant training", NeurIPS 2020, for the soft threshold). Second term: the L1 norm of the
    error's magnitude, which also minds what little energy has. Third term: cross-entropy against the parts' shares of
    the power; alone of the three it does not fade where a mask has closed, and without it toms, absent from many clips,
    close for good within the first hundred steps.
    """
    log_masks = torch.log_softmax(logits, 1)
    masks = log_masks.exp()
    power = clip.power[:, None]
    error = (masks.square() * power - 2 * masks * clip.cross + clip.own).clamp_min(0)
    error_energy, own_energy = error.sum((2, 3)), clip.own.sum((2, 3))
    mixture_energy = clip.power.sum((1, 2))[:, None]
    floor = config.quiet_floor * mixture_energy + 1e-9
    ratio = (error_energy + 1e-3 * own_energy + 0.2 * floor) / (own_energy + floor)
    decibels = 10 * torch.log10(ratio)
    magnitude = (error + 1e-8).sqrt().sum((1, 2, 3)) / (clip.power + 1e-8).sqrt().sum((1, 2))
    shares = clip.own / (clip.own.sum(1, keepdim=True) + 1e-9)
    weights = clip.power.sqrt()
    weights = weights / weights.sum((1, 2), keepdim=True).clamp_min(1e-9)
    entropy = -((shares * log_masks).sum(1) * weights).sum((1, 2))
    with torch.no_grad():
        sounding = own_energy > 10 * floor
        sdr = 10 * torch.log10(own_energy / error_energy.clamp_min(1e-9))
        sdr = torch.where(sounding, sdr, torch.nan).nanmean(0)
    loss = decibels.mean() + config.spectral_weight * magnitude.mean() + config.share_weight * entropy.mean()
    return loss, sdr


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Rises over the warm-up, stays, falls linearly to zero at the last step."""
    decay_steps = max(1, round(config.decay_share * config.steps))
    rise = min(1.0, (step + 1) / max(1, config.warmup_steps))
    return config.learning_rate * rise * min(1.0, max(0.0, (config.steps - step) / decay_steps))


class _RunningMean:
    """Exponential mean of parameters and of the norms' statistics; follows closely at first (1/step), slowly later."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.decay = copy.deepcopy(network).eval(), decay
        for parameter in self.network.parameters():
            parameter.requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        keep = min(self.decay, (1 + step) / (10 + step))
        live = network.state_dict()
        for name, mean in self.network.state_dict().items():
            if mean.is_floating_point():
                mean.lerp_(live[name], 1 - keep)
            else:
                mean.copy_(live[name])


def _proof_of_data(bank: OneShotBank, rounds_grooves: list[str]) -> dict[str, Any]:
    """What training used, each name checked against what is kept for tests."""
    catalogue = {kit.name: kit for kit in KITS}
    for name in bank.kits:
        if name not in catalogue:
            raise RequestRefused(
                "option_invalid", f"The kit {name!r} of the one-shot bank is not in the catalogue of kits."
            )
        refuse_reserved_kit(catalogue[name].location, catalogue[name].program)
    for groove in rounds_grooves:
        refuse_reserved_groove(groove)
    return {"kits": bank.kits, "grooves": rounds_grooves, "one_shots": len(bank.index)}


def _save(path: Path, payload: dict[str, Any]) -> None:
    scratch = path.with_suffix(".part")
    torch.save(payload, scratch)
    scratch.replace(path)


class _Learner:
    """One process's copy of network and optimiser. All learners take the same step: their gradients are averaged."""

    def __init__(self, config: TrainingConfig, rank: int) -> None:
        torch.set_num_threads(config.threads)
        self.config, self.rank, self.folder = config, rank, Path(config.work_folder)
        torch.manual_seed(config.seed)
        self.network = DrumNetwork(config.shape).to(memory_format=torch.channels_last)
        parameters = list(self.network.parameters())
        self.optimiser = torch.optim.AdamW(
            [
                {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
                {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
            betas=(0.9, 0.98),
        )
        self.saved: dict[str, Any] | None = None
        if (self.folder / "checkpoint.pt").is_file():
            self.saved = saved = torch.load(self.folder / "checkpoint.pt", weights_only=False)
            self.network.load_state_dict(saved["network"])
            self.optimiser.load_state_dict(saved["optimiser"])
        self.first_step = int(self.saved["step"]) if self.saved else 0
        if config.learners > 1:
            distributed.init_process_group(
                "gloo",
                init_method=(self.folder / "learners.sync").absolute().as_uri(),
                rank=rank,
                world_size=config.learners,
                timeout=timedelta(hours=2),  # a machine may be put to sleep over a long job elsewhere
            )

    def learn(self, rounds: Rounds, step: int) -> tuple[float, Tensor]:
        """One step; the loss and SDR of this learner's share of the batch."""
        config = self.config
        rounds.advance(step // config.steps_a_round)
        rng = np.random.default_rng((config.seed, 1, step, self.rank))
        clip = remix(rounds.sample(rng, config.batch // config.learners, config.frames), rng)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(config, step)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bfloat16):
            logits = self.network.logits(clip.power, clip.side)
        loss, sdr = separation_loss(logits, clip, config)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._average_gradients()
        norm = float(nn.utils.clip_grad_norm_(self.network.parameters(), config.largest_gradient))
        if math.isfinite(norm):  # one broken clip must not break the run
            self.optimiser.step()
        return float(loss.detach()), sdr

    def _average_gradients(self) -> None:
        if self.config.learners == 1:
            return
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        distributed.all_reduce(flat)
        flat /= self.config.learners
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def close(self) -> None:
        if self.config.learners > 1:
            distributed.destroy_process_group()


def _other_learner(config: TrainingConfig, rank: int) -> None:
    """The process of every learner but the first. It ends with the first one, by signal."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    learner = _Learner(config, rank)
    parent = os.getppid()
    rounds = Rounds(learner.folder / "rounds", config.rounds_kept, lambda: os.getppid() == parent)
    for step in range(learner.first_step, config.steps):
        learner.learn(rounds, step)
    learner.close()


def train(
    config: TrainingConfig,
    on_progress: OnProgress = ignore_progress,
    is_cancelled: IsCancelled = never_cancelled,
) -> DrumNetwork:
    """Trains, or goes on where the work folder's last checkpoint stands; returns the averaged network.

    Leaves `checkpoint.pt`, `curves.csv` and `data.json` (kits, grooves) in the work folder. Cancelling saves first. The
    same configuration gives the same weights on the same machine, however often it was interrupted.
    """
    folder = Path(config.work_folder)
    folder.mkdir(parents=True, exist_ok=True)
    bank = build_bank(folder / "bank")
    names = RecordedGrooves(Path(config.grooves)).names if config.grooves else []
    (folder / "data.json").write_text(json.dumps(_proof_of_data(bank, names), indent=1))
    (folder / "learners.sync").unlink(missing_ok=True)

    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=_other_learner, args=(config, r), daemon=True) for r in range(1, config.learners)]
    for process in others:
        process.start()
    learner = _Learner(config, 0)
    mean = _RunningMean(learner.network, config.averaging)
    cpu_before = 0.0
    if learner.saved:
        mean.network.load_state_dict(learner.saved["mean"])
        cpu_before = learner.saved["cpu_seconds"]
    first = learner.first_step
    rendering = RenderingProcess(
        folder / "rounds",
        folder / "bank",
        Path(config.grooves) if config.grooves else None,
        config.shape,
        Round(config.seed, config.clips_a_round, config.clip_seconds),
        config.rounds_kept,
        first // config.steps_a_round,
    )
    rounds = Rounds(folder / "rounds", config.rounds_kept, rendering.is_alive)
    started_cpu, saved_at = time.process_time(), time.monotonic()

    def cpu_seconds() -> float:
        return cpu_before + config.learners * (time.process_time() - started_cpu)

    def save(step: int) -> None:
        state = {"network": learner.network.state_dict(), "mean": mean.network.state_dict()}
        state |= {"optimiser": learner.optimiser.state_dict(), "step": step, "cpu_seconds": cpu_seconds()}
        _save(folder / "checkpoint.pt", {**state, "config": asdict(config)})

    done = first
    window: list[tuple[float, Tensor]] = []
    try:
        meter = ProgressMeter("train drums", config.steps - first, on_progress, is_cancelled)
        while done < config.steps:
            if done % config.steps_a_round == 0:
                rendering.in_use(done // config.steps_a_round)
            window.append(learner.learn(rounds, done))
            mean.update(learner.network, done)
            done += 1
            if done % 20 == 0 or done == config.steps:
                write_curve_row(folder / "curves.csv", done, window, learning_rate(config, done), cpu_seconds())
                window = []
            if time.monotonic() - saved_at > 60 * config.checkpoint_minutes:
                save(done)
                saved_at = time.monotonic()
            meter.advance()
    finally:
        save(done)
        rendering.close()
        for process in others:
            process.terminate() if done < config.steps else process.join(60)
    learner.close()
    return mean.network


def main(argv: list[str] | None = None) -> int:
    """`train-drums`: exit status 0, or 130 when interrupted (a checkpoint is left; the same command goes on)."""
    from stem_pipeline.errors import Cancelled

    parser = argparse.ArgumentParser(prog="stem-pipeline train-drums", description="Train the drum separator.")
    parser.add_argument("--config", type=Path, help="JSON file of settings; the shipped one if left out")
    parser.add_argument("--work-folder", help="where checkpoints and rendered clips lie")
    parser.add_argument("--grooves", help="zip of recorded performances (Groove MIDI)")
    parser.add_argument("--steps", type=int, help="length of the schedule")
    parser.add_argument(
        "--export", type=Path, help="where to write the weights (.safetensors) and their card at the end"
    )
    options = parser.parse_args(argv)
    path = options.config or Path(__file__).with_name("training.json")
    values = json.loads(path.read_text())
    for name in ("work_folder", "grooves", "steps"):
        if getattr(options, name) is not None:
            values[name] = getattr(options, name)
    config = TrainingConfig.from_dict(values)
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)

    def show(progress: Any) -> None:
        if progress.done % 20 == 0:
            left = f"{progress.seconds_left / 60:.0f} min left" if progress.seconds_left is not None else ""
            print(f"{progress.stage}: step {progress.done} of {progress.total} {left}", flush=True)  # noqa: T201

    try:
        network = train(config, show, lambda: stopping)
    except Cancelled:
        return 130
    draw_curves(Path(config.work_folder) / "curves.csv", Path(config.work_folder) / "curves.png")
    if options.export:
        from stem_pipeline.drums.weights_file import export_weights

        export_weights(network, options.export, Path(config.work_folder))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
