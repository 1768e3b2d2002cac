"""A tiny bank of synthetic one-shots and a tiny network, so that training is tested without any package of samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stem_pipeline.drums.network import NetworkShape
from stem_pipeline.drums.one_shots import RATE, OneShot, OneShotBank

KIT = "hydrogen/GMRockKit"
"""A name of the catalogue: training refuses any other. The sounds are not that kit's."""

SMALL = NetworkShape(
    window_samples=1024, hop_samples=256, narrow_bands=16, bands=32, channels=(4, 4, 8, 8, 8), context_channels=8
)


def synthetic_bank(folder: Path) -> OneShotBank:
    rng = np.random.default_rng(0)
    time = np.arange(RATE // 4, dtype=np.float32) / RATE
    noise = rng.standard_normal(len(time)).astype(np.float32)
    sounds = {
        "kick": np.sin(2 * np.pi * 55 * time) * np.exp(-time * 20),
        "snare": noise * np.exp(-time * 30) * 0.5 + np.sin(2 * np.pi * 190 * time) * np.exp(-time * 25),
        "tom": np.sin(2 * np.pi * 120 * time) * np.exp(-time * 10),
        "hat_closed": np.diff(noise, prepend=0) * np.exp(-time * 60),
        "hat_open": np.diff(noise, prepend=0) * np.exp(-time * 8),
        "crash": np.diff(noise[::-1], prepend=0) * np.exp(-time * 5),
    }
    shots = []
    for piece, sound in sounds.items():
        for strength in (0.5, 1.0):
            stereo = np.repeat((sound / np.abs(sound).max() * (0.9 + 0.1 * strength))[:, None], 2, 1)
            shots.append(OneShot(KIT, piece, "0", strength, stereo.astype(np.float32)))
    OneShotBank.write(folder, shots)
    return OneShotBank(folder)
