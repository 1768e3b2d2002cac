"""Fits `stem_pipeline/analysis/tempo_weights.json`: run by hand, not a test.

`python fit_tempo_scorer.py OUT.json [GROOVES.csv]`: generated songs 0…519, and rendered human grooves if there are any: the
table has a column `path` (audio) and a column `bpm`. Grooves that are reserved for judging must not be in it.
"""

from __future__ import annotations

import csv
import json
import sys

import numpy as np
import torch
from generated_songs import RATE, STYLES, generate

from stem_pipeline.analysis.onsets import onset_envelope
from stem_pipeline.analysis.tempogram import CANDIDATES, autocorrelation, describe, flatten

_SONGS, _HIDDEN, _EPOCHS, _BATCH = 520, 24, 60, 32


def examples(grooves: str | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features [n, candidates, features], the candidates within 1.8 % of the truth [n, candidates], weights [n]."""
    rng, rows = np.random.default_rng(0), []
    for seed in range(_SONGS):
        song = generate(seed, list(STYLES)[seed % len(STYLES)])
        envelope = onset_envelope(song.audio, RATE)
        frames = envelope.shape[1]
        start = int(rng.integers(0, frames // 2))
        rows.append((envelope, song.bpm, 1.0))
        rows.append((envelope[:, start : start + frames // 2], song.bpm, 0.5))
        rows.append((envelope * (rng.random((4, 1)) > 0.3), song.bpm, 0.3))  # a band may be silent
    if grooves:
        import soundfile

        with open(grooves, encoding="utf-8", newline="") as table:
            for line in csv.DictReader(table):
                audio, rate = soundfile.read(line["path"], dtype="float32", always_2d=True)
                rows.append((onset_envelope(audio.mean(axis=1), rate), float(line["bpm"]), 0.7))
    features = np.stack([describe(autocorrelation(flatten(e.astype(np.float32)))) for e, _, _ in rows])
    near = np.stack([np.abs(np.log2(CANDIDATES / bpm)) < 0.026 for _, bpm, _ in rows])
    return features, near, np.asarray([weight for _, _, weight in rows])


def fit(features: np.ndarray, near: np.ndarray, weights: np.ndarray) -> dict[str, list]:
    torch.manual_seed(0)
    flat = features.reshape(-1, features.shape[-1])
    mean, deviation = flat.mean(axis=0), flat.std(axis=0) + 1e-3
    x = torch.tensor((features - mean) / deviation, dtype=torch.float32)
    y, w = torch.tensor(near), torch.tensor(weights, dtype=torch.float32)
    first, last = torch.nn.Linear(x.shape[-1], _HIDDEN), torch.nn.Linear(_HIDDEN, 1, bias=False)
    network = torch.nn.Sequential(first, torch.nn.Tanh(), torch.nn.Dropout(0.15), last)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, _EPOCHS * (len(x) // _BATCH + 1))
    for _ in range(_EPOCHS):
        for batch in torch.randperm(len(x)).split(_BATCH):
            chances = torch.log_softmax(network(x[batch] + 0.05 * torch.randn_like(x[batch]))[..., 0], dim=1)
            loss = -(torch.logsumexp(chances.masked_fill(~y[batch], -99), dim=1) * w[batch]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    tensors = {"w1": first.weight.T, "b1": first.bias, "w2": last.weight[0]}
    fitted = {name: tensor.detach().numpy() for name, tensor in tensors.items()}
    return {
        n: np.round(v.astype(float), 4).tolist() for n, v in {"mean": mean, "deviation": deviation, **fitted}.items()
    }


if __name__ == "__main__":
    weights = fit(*examples(sys.argv[2] if len(sys.argv) > 2 else None))
    with open(sys.argv[1], "w", encoding="utf-8") as out:
        json.dump(weights, out)
