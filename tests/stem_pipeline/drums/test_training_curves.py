"""The curves: what was measured is what is written and drawn."""

from __future__ import annotations

import csv
from pathlib import Path

import torch

from stem_pipeline.drums.training_curves import draw_curves, write_curve_row


def test_a_row_is_the_mean_of_its_steps_and_silence_does_not_spoil_it(tmp_path: Path) -> None:
    path = tmp_path / "curves.csv"
    steps = [(1.0, torch.tensor([2.0, 4.0, float("nan"), 8.0])), (3.0, torch.tensor([4.0, 6.0, 1.0, 8.0]))]
    write_curve_row(path, 20, steps, 1e-3, 5.0)
    write_curve_row(path, 40, steps, 5e-4, 9.0)
    first, second = csv.DictReader(path.open(newline=""))
    assert (first["step"], second["step"]) == ("20", "40")
    assert [float(first[f"sdr_{p}_db"]) for p in ("kick", "snare", "cymbals", "toms")] == [3, 5, 1, 8]
    assert float(first["loss"]) == 2.0
    draw_curves(path, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000
