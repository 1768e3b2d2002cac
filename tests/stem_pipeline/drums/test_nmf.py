"""The baseline drum separator: the protocol, exactness, level, and that kick, snare, cymbals and toms land where they belong."""

import os
from pathlib import Path

import numpy as np
import pytest

from stem_pipeline.drums.nmf import SAMPLE_RATE, NmfDrums
from stem_pipeline.separation.segment_model import SegmentModel
from stem_pipeline.stems import DRUM_PARTS

SECONDS = 4


def kit(seed: int = 0) -> np.ndarray:
    """float32 [4, 2, samples]: drums synthesised otherwise than the templates (struck modes, filtered noise, panned)."""
    rng = np.random.default_rng(seed)
    n = SECONDS * SAMPLE_RATE
    t = np.arange(n) / SAMPLE_RATE
    ring = lambda hertz, decay: np.sin(2 * np.pi * hertz * t) * np.exp(-t / decay)  # noqa: E731
    hiss = np.diff(rng.standard_normal(n + 2), 2)  # rises 12 dB an octave
    sounds = {
        "kick": ring(52, 0.12) + 0.5 * ring(70, 0.05),
        "snare": 0.5 * ring(190, 0.06) + 0.4 * np.diff(rng.standard_normal(n + 1)) * np.exp(-t / 0.09),
        "cymbals": 0.1 * hiss * np.exp(-t / 0.06),
        "toms": ring(115, 0.25) + 0.3 * ring(180, 0.1),
    }
    hits = {"kick": (0, 2), "snare": (1, 3), "cymbals": np.arange(0, 4, 0.5), "toms": (1.5, 3.5, 3.75)}
    parts = np.zeros((4, 2, n), np.float32)
    for i, name in enumerate(DRUM_PARTS):
        for at in hits[name]:
            start = round(float(at) * SAMPLE_RATE)
            parts[i, :, start:] += 0.3 * np.outer((0.6 + 0.1 * i, 0.9 - 0.1 * i), sounds[name][: n - start])
    return parts


def sdr(truth: np.ndarray, estimate: np.ndarray) -> float:
    return float(10 * np.log10((truth**2).sum() / ((truth - estimate) ** 2).sum()))


def test_it_plays_the_protocol() -> None:
    model = NmfDrums()
    assert isinstance(model, SegmentModel)
    assert model.sources == DRUM_PARTS


def test_parts_add_up_to_the_segment() -> None:
    mixture = kit().sum(axis=0)
    parts = NmfDrums().separate_segments(mixture[None])[0]
    residual = parts.sum(axis=0) - mixture
    assert 10 * np.log10(np.mean(residual**2)) < -120  # float32 rounding of an STFT and back is near −150 dBFS


def test_every_part_is_nearer_its_truth_than_the_mixture_is() -> None:
    truth = kit()
    mixture = truth.sum(axis=0)
    parts = NmfDrums().separate_segments(mixture[None])[0]
    for name, true, part in zip(DRUM_PARTS, truth, parts, strict=True):
        assert sdr(true, part) > sdr(true, mixture) + 3, name  # 3 dB: half the error gone at the least


@pytest.mark.parametrize("gain", [1e-3, 2.0])
def test_it_is_linear_in_level(gain: float) -> None:
    mixture = kit().sum(axis=0)[None]
    model = NmfDrums()
    plain, scaled = model.separate_segments(mixture), model.separate_segments(mixture * np.float32(gain))
    np.testing.assert_allclose(scaled / gain, plain, atol=2e-4)  # −74 dBFS: rounding that thirty iterations carry on


def test_a_segment_gives_the_same_bytes_whatever_else_is_in_the_batch() -> None:
    first, second = kit(1).sum(axis=0), kit(2).sum(axis=0)
    model = NmfDrums()
    alone = model.separate_segments(first[None])
    together = model.separate_segments(np.stack([second, first]))
    assert np.array_equal(alone[0], together[1])


def test_silence_and_very_short_segments_come_back_whole() -> None:
    model = NmfDrums()
    assert not model.separate_segments(np.zeros((1, 2, 4096), np.float32)).any()
    short = np.full((1, 2, 7), 0.25, np.float32)
    assert model.separate_segments(short).sum(axis=1) == pytest.approx(short, abs=1e-6)


@pytest.mark.slow
def test_rendered_human_grooves_score_above_band_splitting() -> None:
    """Fixed band-splitting scores 1.9, 1.5, 0.5, 6.2 dB on sampled kits; a silent part would score 0."""
    root = os.environ.get("STEM_PIPELINE_SHARED_AUDIO")
    if not root or not Path(root, "drums").is_dir():
        pytest.skip("STEM_PIPELINE_SHARED_AUDIO does not name a folder with drums/")
    import soundfile

    model, scores = NmfDrums(), []
    for folder in ("rockprog125_blackpearl", "hiphop86_fluidpower"):
        read = [soundfile.read(Path(root, "drums", folder, f"{p}.flac"), dtype="float32")[0].T for p in DRUM_PARTS]
        truth = np.stack(read)[:, :, : 3 * model.segment_samples]
        segments = np.split(truth.sum(axis=0), 3, axis=1)
        parts = np.concatenate([model.separate_segments(s[None])[0] for s in segments], axis=-1)
        scores.append([sdr(t, p) for t, p in zip(truth, parts, strict=True)])
    assert np.mean(scores, axis=0)[:3] == pytest.approx([7.8, 5.3, 3.0], abs=1.0)
    assert np.mean(scores) > 3.0
