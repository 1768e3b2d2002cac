"""Real music for tests: the six seconds that PyPI's `stempeg` carries, and the shared songs where they are present."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stem_pipeline.audio import read_audio


def falcon() -> tuple[NDArray[np.float32], int]:
    """The Easton Ellises, Falcon 69: the mixture, float32 [2, samples], and its rate in Hz."""
    spec = importlib.util.find_spec("stempeg")
    if spec is None or spec.origin is None:
        pytest.skip("the real song is in PyPI's stempeg, which is not installed: install the extra `demo`")
    song = next((Path(spec.origin).parent / "data").glob("*Falcon 69.stem.mp4"))
    audio, facts = read_audio(song)
    return audio, facts.sample_rate


def shared_song(name: str) -> Path:
    """A folder with the true stems of a shared song; skips where there is none."""
    root = os.environ.get("STEM_PIPELINE_SHARED_AUDIO")
    if not root:
        pytest.skip("STEM_PIPELINE_SHARED_AUDIO does not say where the songs with true stems are")
    folder = Path(root) / "songs" / name
    if not folder.is_dir():
        pytest.skip(f"there is no song {name} under STEM_PIPELINE_SHARED_AUDIO")
    return folder
