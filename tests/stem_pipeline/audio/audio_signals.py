"""Signals and files that the audio tests make for themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from stem_pipeline.audio import Cover, OutputFormat, StemEncoder

Audio = npt.NDArray[np.float32]


def music_like(sample_rate: int, channels: int, samples: int, seed: int = 0) -> Audio:
    """float32 [channels, samples]: noise up to about an eighth of the rate.

    Every channel has its own, so that lag and order of channels show.
    """
    noise = np.random.default_rng(seed).standard_normal((channels, samples + 15))
    kernel = np.hanning(18)[1:-1]
    smooth = np.stack([np.convolve(row, kernel / kernel.sum(), mode="valid") for row in noise])
    return (smooth / max(1e-9, np.abs(smooth).max()) * 0.5).astype(np.float32)


def as_integers(audio: Audio, bits: int) -> npt.NDArray[np.int32]:
    """float32 −1…1 as whole numbers of `bits` bits."""
    full = 2.0 ** (bits - 1)
    return np.clip(np.round(audio.astype(np.float64) * full), -full, full - 1).astype(np.int32)


def write_stem(
    path: Path,
    fmt: OutputFormat,
    sample_rate: int,
    audio: Audio,
    tags: dict[str, str] | None = None,
    cover: Cover | None = None,
) -> None:
    """Encodes `audio` in uneven pieces, as a pipeline would."""
    with StemEncoder(path, fmt, sample_rate, audio.shape[0], audio.shape[1], tags, cover) as encoder:
        for start in range(0, audio.shape[1], 10_007):
            piece = audio[:, start : start + 10_007]
            if fmt.integer:
                encoder.write_pcm(as_integers(piece, fmt.bits or 0))
            else:
                encoder.write(piece)


def lag_between(audio: Audio, reference: Audio) -> int:
    """Samples by which `audio` [n] comes after `reference` [n]: the peak of their cross-correlation."""
    size = len(audio) + len(reference)
    product = np.fft.rfft(audio, size) * np.conj(np.fft.rfft(reference, size))
    peak = int(np.argmax(np.fft.irfft(product, size)))
    return peak if peak < size // 2 else peak - size
