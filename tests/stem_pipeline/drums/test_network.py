"""The network: shapes, exact sums, the level that comes in goes out, the same in gives the same out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from drum_sounds import SMALL

from stem_pipeline.drums.network import BandFold, DrumNetwork, NetworkShape


@pytest.fixture(scope="module")
def network() -> DrumNetwork:
    torch.manual_seed(0)
    return DrumNetwork(SMALL).eval()


def _drums(samples: int = 16384) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1, 2, samples, generator=generator) * torch.linspace(1, 0.01, samples)


def test_bands_cover_every_bin_once() -> None:
    for shape in (NetworkShape(), SMALL):
        edges = shape.band_edges
        assert edges[0] == 0
        assert edges[-1] == shape.window_samples // 2 + 1
        assert len(edges) == shape.bands + 1
        assert all(a < b for a, b in itertools.pairwise(edges))


def test_parts_add_up_to_the_input(network: DrumNetwork) -> None:
    audio = _drums()
    with torch.no_grad():
        parts = network(audio)
    assert parts.shape == (1, 4, 2, audio.shape[-1])
    # masks add up to 1 and the transform inverts itself: float32 rounding remains
    assert (parts.sum(1) - audio).abs().max() < 2e-5


@pytest.mark.parametrize("gain", [1e-3, 30.0])
def test_a_louder_segment_gives_louder_parts_and_nothing_else(network: DrumNetwork, gain: float) -> None:
    audio = _drums()
    with torch.no_grad():
        plain, loud = network(audio), network(audio * gain)
    assert (loud / gain - plain).abs().max() < 1e-4 * plain.abs().max()


def test_swapping_channels_swaps_the_parts_channels(network: DrumNetwork) -> None:
    audio = _drums()
    with torch.no_grad():
        plain, swapped = network(audio), network(audio.flip(1))
    assert (swapped.flip(2) - plain).abs().max() < 1e-5


def test_silence_gives_silence(network: DrumNetwork) -> None:
    with torch.no_grad():
        parts = network(torch.zeros(1, 2, 8192))
    assert torch.isfinite(parts).all()
    assert float(parts.abs().max()) == 0


def test_the_error_of_a_banded_mask_is_the_error_of_the_spectra() -> None:
    """What training minimises from folded products is what masking the full spectra would leave."""
    from stem_pipeline.drums.rendering import Clip
    from stem_pipeline.drums.training_clips import folded, remix

    rng = np.random.default_rng(0)
    envelopes = np.abs(np.sin(np.arange(8192) * 0.002 * np.arange(1, 5)[:, None]))[:, None]
    parts = (rng.standard_normal((4, 2, 8192)) * envelopes).astype(np.float32)
    clip = Clip(parts, rng.standard_normal((2, 8192)).astype(np.float32) * 0.1)
    fold = BandFold(SMALL)
    products = torch.from_numpy(folded(clip, fold)[None]).float()
    seen = remix(products * products.abs(), np.random.default_rng(0), plain=True)
    masks = torch.rand(1, 4, SMALL.bands, seen.power.shape[-1])
    error = (masks**2 * seen.power[:, None] - 2 * masks * seen.cross + seen.own).sum((2, 3))[0]
    mixture = fold.spectrum(torch.from_numpy(clip.mixture))
    truth = fold.spectrum(torch.from_numpy(clip.parts))
    direct = (fold.unfold(masks[0])[:, None] * mixture - truth).abs().square().sum((1, 2, 3))
    scale = mixture.abs().square().sum() / seen.power.sum()
    # products are kept as float16: 11 bits of their square roots
    assert torch.allclose(error * scale, direct, rtol=5e-3)
