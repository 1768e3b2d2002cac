"""What stands around the drum network where torch does not: spectra of a segment, their bands, features, masks applied.

Belongs here: numpy and scipy's FFT, the same functions as of `network` (`BandFold`, `band_features`, the masking), on
arrays with frames before bins. Does not belong here: the network between features and logits.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

_TINY = 1e-20
"""As in training: keeps silence from being divided by nothing."""
_FLOOR = 1e-6
"""Of the segment's mean power a bin: −60 dB."""


def band_edges(bins: int, narrow: int, bands: int) -> list[int]:
    """First bin of every band and, last, the number of bins: `narrow` of one bin, then geometrically wider.

    The growth is found by bisection, so that the wide bands fill the spectrum.
    """
    wide = bands - narrow
    low, high = 1.0, 2.0
    for _ in range(80):
        growth = (low + high) / 2
        total = sum(growth**i for i in range(1, wide + 1))
        low, high = (growth, high) if total < bins - narrow else (low, growth)
    edges = list(range(narrow + 1))
    position = float(narrow)
    for i in range(1, wide + 1):
        position += low**i
        edges.append(max(edges[-1] + 1, round(position)))
    edges[-1] = bins
    return edges


class BandSpectrum:
    """Spectra of segments of one length, stereo, folded into bands.

    `samples` is a whole number of `hop`, which divides `window`. `edges` as of `band_edges`.
    """

    def __init__(self, samples: int, window: int, hop: int, edges: list[int], threads: int) -> None:
        self._samples, self._window_samples, self._hop, self._threads = samples, window, hop, threads
        self.frames = samples // hop + 1
        n = np.arange(window, dtype=np.float64)
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / window)
        scale = np.sqrt(window)
        self._analysis = (hann / scale).astype(np.float32)
        self._synthesis = (hann * scale).astype(np.float32)
        # Real and imaginary parts lie side by side: of both, every edge is at twice its bin.
        self._edges = 2 * np.array(edges[:-1])
        self._widths = 2 * np.diff(edges)
        overlapping = self._overlap_add(np.broadcast_to(hann**2, (self.frames, window)))
        self._gain = (1 / overlapping).astype(np.float32)

    def spectrum(self, segment: NDArray[np.float32]) -> NDArray[np.complex64]:
        """float32 [2, samples] → complex64 [2, frames, bins], frames around every hop, the ends reflected."""
        from scipy import fft

        half = self._window_samples // 2
        extended = np.pad(segment, ((0, 0), (half, half)), mode="reflect")
        framed = np.lib.stride_tricks.sliding_window_view(extended, self._window_samples, axis=1)[:, :: self._hop]
        found: NDArray[np.complex64] = fft.rfft(framed * self._analysis, workers=self._threads)
        return found

    def features(self, spectrum: NDArray[np.complex64]) -> NDArray[np.float32]:
        """complex64 [2, frames, bins] → float32 [1, frames, bands, 3]: level, onset and width, as in training."""
        values = spectrum.view(np.float32)
        power = self._fold(values[0]) + self._fold(values[1])
        side = self._fold(values[0] - values[1]) / 2
        loudness = max(np.float32(power.mean(dtype=np.float64)), np.float32(_TINY))
        out = np.zeros((1, *power.shape, 3), np.float32)
        level = np.log10(power / loudness + np.float32(_FLOOR))
        out[0, ..., 0] = (level + np.float32(2.5)) / np.float32(1.5)
        out[0, 1:, :, 1] = level[1:] - level[:-1]
        out[0, ..., 2] = side / (power + np.float32(_FLOOR) * loudness)
        return out

    def parts(self, spectrum: NDArray[np.complex64], logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """complex64 [2, frames, bins] and float32 [1, frames, bands, parts] → float32 [parts, 2, samples].

        Softmax over the parts gives masks that add up to one; each multiplies the spectra of both channels.
        """
        from scipy import fft

        shares = np.moveaxis(logits[0], -1, 0)
        shares = np.exp(shares - shares.max(0))
        shares /= shares.sum(0)
        out = np.empty((len(shares), 2, self._samples), np.float32)
        values = spectrum.view(np.float32)

        def separate(part: int) -> None:
            mask = np.repeat(shares[part], self._widths, axis=1)
            for channel in range(2):
                masked = (values[channel] * mask).view(np.complex64)
                framed = fft.irfft(masked, n=self._window_samples, overwrite_x=True)
                framed *= self._synthesis
                np.multiply(self._overlap_add(framed), self._gain, out=out[part, channel])

        # One thread a part: masks, transforms and sums of one part stay in that thread's cache.
        with ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(separate, range(len(shares))))
        return out

    def _fold(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Real and imaginary parts [frames, 2 · bins] → power summed over each band, [frames, bands]."""
        found: NDArray[np.float32] = np.add.reduceat(np.square(values), self._edges, axis=-1)
        return found

    def _overlap_add(self, framed: NDArray[np.floating]) -> NDArray[np.floating]:
        """[frames, window] → [samples]: frames a hop apart summed, half a window cut off at both ends."""
        pieces = self._window_samples // self._hop
        hops = np.zeros((self.frames + pieces - 1, self._hop), framed.dtype)
        for k in range(pieces):
            hops[k : k + self.frames] += framed[:, k * self._hop : (k + 1) * self._hop]
        half = self._window_samples // 2
        return hops.reshape(-1)[half : half + self._samples]
