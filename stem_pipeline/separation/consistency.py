"""Makes stems add up to their mixture, exactly.

Belongs here: who gets the residual (mixture − Σ estimates). Does not belong here: rounding to a format's depth
(delivery does that, and keeps the sum too).

A model's estimates miss the mixture by some −25 to −37 dB. Giving all of that to one stem makes that one worse. Here
the residual is shared per time and frequency by each estimate's magnitude there: a projection onto the
stems that add up (Wisdom et al., "Differentiable consistency constraints for improved deep speech enhancement",
ICASSP 2019), with weights that differ by time and frequency. docs/BENCHMARKS.md has what it gains and costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from stem_pipeline.separation.segment_model import Audio
from stem_pipeline.stems import PARENT, REMAINDER

_FRAME_SECONDS = 0.09
"""Near Demucs' own 4096 samples at 44.1 kHz; a power of two at every rate."""
_LOWEST_HZ = 20.0
"""Below hearing (and at 0 Hz, an offset) no estimate says anything: that residual is the remainder's."""
_HIGHEST_OF_BAND = 0.98
"""Share of the model's Nyquist frequency up to which its estimates say something."""
_POWER = 0.25
_SHARE = {"bass": 0.25, "other": 0.25}
"""A stem's share goes with magnitude^_POWER × its factor. Measured on seven songs against Demucs: at power 1, and with full
shares for bass and other, single stems lost up to 0.3 dB; so, the most that any loses is 0.02 dB, but for the drums of
one song whose offset was theirs (−0.23 dB, nearly all of it the offset).
"""


class Consistency:
    """Shares the residual block by block; blocks come out later than they went in, none is lost.

    `sources`: children of one parent. `offset`: one value a channel that no estimate holds (the mean that normalisation
    took away). `sample_rate`: of the blocks, Hz; `model_rate`: of the model, Hz. The offset and what lies above the
    model's band are the remainder's (`stems.REMAINDER`).
    """

    def __init__(self, sources: tuple[str, ...], offset: Sequence[float], sample_rate: int, model_rate: int) -> None:
        parents = {PARENT[s] for s in sources}
        if len(parents) != 1:
            raise ValueError(f"the sources {sources} are not parts of one signal")
        self._remainder = sources.index(REMAINDER[parents.pop()])
        self._others = [k for k in range(len(sources)) if k != self._remainder]
        self._size = max(16, 1 << round(np.log2(sample_rate * _FRAME_SECONDS)))
        self._hop = self._size // 2
        # A root-Hann window before and after: its squares, half a frame apart, add up to one.
        self._window = np.sin(np.pi * (np.arange(self._size) + 0.5) / self._size).astype(np.float32)
        frequencies = np.fft.rfftfreq(self._size, 1 / sample_rate)
        heard = (frequencies >= _LOWEST_HZ) & (frequencies <= _HIGHEST_OF_BAND * model_rate / 2)
        self._share = np.array([_SHARE.get(s, 1.0) for s in sources], dtype=np.float32)[:, None, None, None]
        self._heard = heard.astype(np.float32)
        # Half a frame of silence before the song: its first samples lie in two frames like all others.
        channels = len(offset)
        self._offset = np.asarray(offset, dtype=np.float32)[:, None]
        shape = (len(sources), channels, self._hop)
        self._estimates = np.zeros(shape, dtype=np.float32)
        self._mixture = np.zeros(shape[1:], dtype=np.float32)
        self._residual = np.zeros(shape[1:], dtype=np.float32)
        self._tail = np.zeros((len(self._others), channels, self._hop), dtype=np.float32)
        self._skip = self._hop
        self._left = 0

    def push(self, mixture: Audio, estimates: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """`mixture` float32 [channels, n], `estimates` float32 [sources, channels, n] → what is final, the same shape."""
        self._left += mixture.shape[-1]
        residual = mixture - self._offset - estimates.sum(axis=0)
        self._mixture = np.concatenate([self._mixture, mixture], axis=-1)
        self._residual = np.concatenate([self._residual, residual], axis=-1)
        self._estimates = np.concatenate([self._estimates, estimates], axis=-1)
        yield from self._settle()

    def finish(self) -> Iterator[NDArray[np.float32]]:
        """What is left after the last block."""
        silence = self._size + self._hop
        self._mixture = np.pad(self._mixture, ((0, 0), (0, silence)))
        self._residual = np.pad(self._residual, ((0, 0), (0, silence)))
        self._estimates = np.pad(self._estimates, ((0, 0), (0, 0), (0, silence)))
        yield from self._settle()

    def _settle(self) -> Iterator[NDArray[np.float32]]:
        frames = (self._mixture.shape[-1] - self._size) // self._hop + 1
        if frames < 1:
            return
        final = frames * self._hop
        estimates, mixture = self._estimates[..., :final], self._mixture[..., :final]
        correction = self._correct(frames)
        correction[..., : self._hop] += self._tail
        self._tail = correction[..., final:].copy()
        out = np.empty_like(estimates)
        out[self._others] = estimates[self._others] + correction[..., :final]
        # In float64, whatever the shares came to: the remainder is what makes the sum exact.
        out[self._remainder] = mixture - out[self._others].sum(axis=0, dtype=np.float64)
        self._estimates = self._estimates[..., final:].copy()
        self._mixture = self._mixture[..., final:].copy()
        self._residual = self._residual[..., final:].copy()
        out = out[..., self._skip :]
        self._skip = 0
        out = out[..., : self._left]
        self._left -= out.shape[-1]
        if out.shape[-1]:
            yield out

    def _correct(self, frames: int) -> NDArray[np.float32]:
        """Each other source's share of the residual: float32 [sources − 1, channels, (frames + 1) · hop]."""
        import scipy.fft

        span = (frames + 1) * self._hop
        estimates = self._estimates[..., :span]
        magnitudes = np.abs(self._spectra(estimates, scipy.fft))
        spectrum = self._spectra(self._residual[..., :span], scipy.fft)
        weights = magnitudes**_POWER * self._share
        total = weights.sum(axis=0)
        # Where no estimate has anything, nobody but the remainder takes part.
        spectrum *= self._heard / np.maximum(total, np.float32(1e-9))
        shared = scipy.fft.irfft(weights[self._others] * spectrum, n=self._size, axis=-1, workers=-1)
        shared *= self._window
        out = np.zeros((*shared.shape[:2], span), dtype=np.float32)
        halves = shared.reshape(*shared.shape[:3], 2, self._hop)
        out[..., : -self._hop] += halves[..., 0, :].reshape(*shared.shape[:2], -1)
        out[..., self._hop :] += halves[..., 1, :].reshape(*shared.shape[:2], -1)
        return out

    def _spectra(self, signal: NDArray[np.float32], fft) -> NDArray[np.complex64]:
        """complex64 [..., frames, bins] of float32 [..., samples]."""
        windows = np.lib.stride_tricks.sliding_window_view(signal, self._size, axis=-1)[..., :: self._hop, :]
        return fft.rfft(windows * self._window, axis=-1, workers=-1)
