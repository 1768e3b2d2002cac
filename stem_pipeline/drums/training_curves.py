"""The curves of a training run: a row every twenty steps in a CSV, and the picture of them.

Belongs here: writing and drawing. Does not belong here: what is measured (`train`).
"""

from __future__ import annotations

import csv
from pathlib import Path

import torch
from torch import Tensor

from stem_pipeline.stems import DRUM_PARTS


def write_curve_row(path: Path, step: int, window: list[tuple[float, Tensor]], rate: float, cpu_seconds: float) -> None:
    """Appends the mean loss and SDR a part (dB, NaN where the part never sounded) of the steps in `window`."""
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        rows = csv.writer(file)
        if fresh:
            rows.writerow(["step", "loss", *(f"sdr_{p}_db" for p in DRUM_PARTS), "learning_rate", "cpu_seconds"])
        sdr = torch.stack([s for _, s in window]).nanmean(0)
        loss = sum(x for x, _ in window) / len(window)
        rows.writerow([step, f"{loss:.3f}", *(f"{float(x):.2f}" for x in sdr), f"{rate:.2e}", f"{cpu_seconds:.0f}"])


def draw_curves(path: Path, picture: Path, smooth: int = 5) -> None:
    """SDR a part on the training clips and the learning rate over steps, from the CSV at `path`, as PNG."""
    import numpy as np
    from matplotlib.figure import Figure

    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    steps = np.array([int(r["step"]) for r in rows])
    width = min(smooth, len(rows))
    figure = Figure(figsize=(8, 4), layout="constrained")
    axis = figure.subplots()
    for part in DRUM_PARTS:
        values = np.array([float(r[f"sdr_{part}_db"]) for r in rows])
        mean = np.convolve(np.nan_to_num(values), np.ones(width) / width, mode="valid")
        axis.plot(steps[width - 1 :], mean, label=part)
    axis.set_xlabel("step")
    axis.set_ylabel("SDR on training clips, dB")
    axis.legend(loc="lower right")
    rates = axis.twinx()
    rates.plot(steps, [float(r["learning_rate"]) for r in rows], color="0.7", linewidth=1)
    rates.set_ylabel("learning rate", color="0.5")
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=80)
