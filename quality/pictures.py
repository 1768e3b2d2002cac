"""Pictures a person reads faster than numbers: waveforms and spectrograms of a signal and its stems.

Belongs here: drawing, from files of any length in bounded memory. matplotlib is imported where it is used.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.separation.reader import SampleReader

COLOURS: dict[str, str] = {
    "mixture": "#5b6472",
    "drums": "#d1495b",
    "bass": "#2e6f95",
    "vocals": "#e09f3e",
    "other": "#4f7942",
    "kick": "#9e2a2b",
    "snare": "#c8553d",
    "cymbals": "#d4a373",
    "toms": "#7f4f24",
}
"""One colour a stem, the same in every picture of the product."""

_COLUMNS = 900
_WINDOW = 2048


def envelope(signal: SampleReader, columns: int = _COLUMNS) -> NDArray[np.float32]:
    """Lowest and highest sample (over channels) of each of `columns` equal spans: float32 [2, columns]."""
    edges = np.linspace(0, signal.samples, min(columns, max(1, signal.samples)) + 1).astype(int)
    out = np.zeros((2, len(edges) - 1), dtype=np.float32)
    for k, (start, stop) in enumerate(itertools.pairwise(edges)):
        block = signal.read(int(start), int(stop))
        if block.size:
            out[:, k] = block.min(), block.max()
    return out


def spectrogram(signal: SampleReader, columns: int = _COLUMNS) -> NDArray[np.float32]:
    """Level in dBFS of a Hann-windowed frame in the middle of each span: float32 [_WINDOW/2 + 1, columns], mono."""
    window = np.hanning(_WINDOW).astype(np.float32)
    count = max(1, min(columns, signal.samples // (_WINDOW // 4)))
    out = np.full((_WINDOW // 2 + 1, count), -120, dtype=np.float32)
    for k in range(count):
        middle = int((k + 0.5) * signal.samples / count)
        start = max(0, min(middle - _WINDOW // 2, signal.samples - _WINDOW))
        frame = signal.read(start, min(start + _WINDOW, signal.samples)).mean(axis=0)
        frame = np.pad(frame, (0, _WINDOW - len(frame)))
        magnitude = np.abs(np.fft.rfft(frame * window)) * (2 / window.sum())
        out[:, k] = 20 * np.log10(np.maximum(magnitude, 1e-6))
    return out


def draw(signals: Mapping[str, SampleReader], kind: str = "waveform", width: float = 9.0, row: float = 0.8) -> bytes:
    """A PNG with one row a signal, top to bottom in the mapping's order; `kind` is `waveform` or `spectrogram`.

    All rows share time (seconds) and level, so that what is loud looks loud.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, row * len(signals) + 0.5), layout="constrained")
    axes = figure.subplots(len(signals), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (name, signal) in zip(axes, signals.items(), strict=True):
        seconds = signal.samples / signal.sample_rate
        if kind == "waveform":
            low, high = envelope(signal)
            time = np.linspace(0, seconds, len(low))
            axis.fill_between(time, low, high, color=COLOURS.get(name, "#333333"), linewidth=0.3)
            axis.set_ylim(-1, 1)
        else:
            axis.imshow(
                spectrogram(signal, _COLUMNS // 3),
                origin="lower",
                aspect="auto",
                cmap="magma",
                interpolation="nearest",
                vmin=-110,
                vmax=-20,
                extent=(0, seconds, 0, signal.sample_rate / 2000),
            )
            axis.set_ylim(0, min(16, signal.sample_rate / 2000))
        axis.set_yticks([])
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(labelsize=7)
        axis.margins(x=0)
    axes[-1].set_xlabel("seconds", fontsize=8)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=90)
    return _small(drawn)


def _small(drawn: io.BytesIO) -> bytes:
    """The picture in 48 colours: Dagster keeps pictures in its database, and a full-colour spectrogram is 700 kB."""
    from PIL import Image

    png = io.BytesIO()
    # No software version, no date: the same signals give the same bytes.
    Image.open(drawn).convert("RGB").quantize(48, dither=Image.Dither.NONE).save(png, format="png", optimize=True)
    return png.getvalue()
