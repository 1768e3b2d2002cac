"""The drum network: which share of every time-frequency bin belongs to kick, snare, cymbals, toms.

Belongs here: the torch module, from stereo samples to stereo parts. Does not belong here: training, data, files, devices.

A short-time Fourier transform is folded into bands (one a bin where drums are tonal, wider and wider above), a small
U-Net with a wide context in time reads level, onset and stereo width of each band, and a softmax over the parts gives
real masks that add up to one; unfolded to bins they multiply the complex spectrum of both channels. So the parts add up
to the input, phase is the mixture's, and the level that comes in goes out: features are relative to the segment's own
level. U-Net masks for sources: Jansson et al., "Singing voice separation with deep U-Net convolutional networks",
ISMIR 2017.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from stem_pipeline.drums.band_spectrum import band_edges
from stem_pipeline.stems import DRUM_PARTS


@dataclass(frozen=True)
class NetworkShape:
    """What is needed to build the network again; stored beside the weights."""

    sample_rate: int = 44100
    window_samples: int = 4096
    hop_samples: int = 1024
    narrow_bands: int = 64
    """Bands of one bin each, from 0 Hz."""
    bands: int = 224
    """All bands; above the narrow ones their width grows geometrically up to half the sample rate. A multiple of 32."""
    channels: tuple[int, ...] = (16, 32, 64, 112, 160)
    """Width of each level of the U-Net; each level after the first halves the bands, the third and the fifth the frames."""
    context_channels: int = 256
    context_dilations: tuple[int, ...] = (1, 2, 4, 8)
    parts: tuple[str, ...] = DRUM_PARTS

    @property
    def band_edges(self) -> list[int]:
        """First bin of every band and, last, the number of bins: strictly rising, `bands + 1` numbers."""
        return band_edges(self.window_samples // 2 + 1, self.narrow_bands, self.bands)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NetworkShape:
        given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**given)


def _conv(inputs: int, outputs: int, stride: tuple[int, int] = (1, 1)) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class _TimeContext(nn.Module):
    """All bands of a frame as one vector, seen over seconds: dilated convolutions along time, added to the input."""

    def __init__(self, features: int, width: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv1d(features, width, 1, bias=False), nn.BatchNorm1d(width), nn.ReLU(True))
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(width, width, 3, padding=d, dilation=d, bias=False), nn.BatchNorm1d(width), nn.ReLU(True)
            )
            for d in dilations
        )
        self.leave = nn.Conv1d(width, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, bands, frames = x.shape
        y = self.enter(x.reshape(batch, channels * bands, frames))
        for block in self.blocks:
            y = y + block(y)
        return x + self.leave(y).reshape(batch, channels, bands, frames)


class DrumUNet(nn.Module):
    """Features [batch, features, bands, frames] to mask logits [batch, parts, bands, frames]."""

    FEATURES = 3
    STRIDES = ((1, 1), (2, 1), (2, 2), (2, 1), (2, 2))

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        widths = shape.channels
        self.band_position = nn.Parameter(torch.zeros(1, widths[0], shape.bands, 1))
        self.down = nn.ModuleList()
        inputs = self.FEATURES
        for width, stride in zip(widths, self.STRIDES, strict=True):
            self.down.append(nn.Sequential(_conv(inputs, width, stride), _conv(width, width)))
            inputs = width
        self.context = _TimeContext(
            widths[-1] * (shape.bands // 2 ** (len(widths) - 1)), shape.context_channels, shape.context_dilations
        )
        self.up = nn.ModuleList()
        for width in reversed(widths[:-1]):
            self.up.append(nn.Sequential(_conv(inputs + width, width), _conv(width, width)))
            inputs = width
        self.head = nn.Conv2d(inputs, len(shape.parts), 1)

    def forward(self, features: Tensor) -> Tensor:
        x = features
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            if level == 1:
                x = x + self.band_position  # a kick is where kicks are: absolute frequency matters
            x = block(x)
            skips.append(x)
        x = self.context(skips.pop())
        for block in self.up:
            skip = skips.pop()
            x = functional.interpolate(x, size=skip.shape[-2:], mode="nearest")
            x = block(torch.cat((x, skip), 1))
        return self.head(x)


class BandFold(nn.Module):
    """Spectra and their folding into bands. `fold(x)`: sums [..., bins, frames] over each band, [..., bands, frames]."""

    window: Tensor
    band_of_bin: Tensor

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape, self.bands = shape, shape.bands
        widths = torch.tensor(shape.band_edges).diff()
        self.register_buffer(
            "band_of_bin", torch.repeat_interleave(torch.arange(shape.bands), widths), persistent=False
        )
        self.register_buffer("window", torch.hann_window(shape.window_samples), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        out = x.new_zeros(*x.shape[:-2], self.bands, x.shape[-1])
        return out.index_add_(-2, self.band_of_bin, x)

    def unfold(self, x: Tensor) -> Tensor:
        """[..., bands, frames] → [..., bins, frames]: every bin has its band's value."""
        return x.index_select(-2, self.band_of_bin)

    def spectrum(self, audio: Tensor) -> Tensor:
        """float32 [..., samples] → complex64 [..., bins, frames]."""
        shape = self.shape
        flat = audio.reshape(-1, audio.shape[-1])
        spec = torch.stft(
            flat, shape.window_samples, shape.hop_samples, window=self.window, return_complex=True, normalized=True
        )
        return spec.reshape(*audio.shape[:-1], *spec.shape[-2:])

    def samples(self, spectrum: Tensor, length: int) -> Tensor:
        """complex64 [..., bins, frames] → float32 [..., length]."""
        shape = self.shape
        flat = spectrum.reshape(-1, *spectrum.shape[-2:])
        audio = torch.istft(
            flat, shape.window_samples, shape.hop_samples, window=self.window, normalized=True, length=length
        )
        return audio.reshape(*spectrum.shape[:-2], length)


def band_features(power: Tensor, side: Tensor) -> Tensor:
    """Power of both channels and of the side, [batch, bands, frames] → [batch, 3, bands, frames]: level, onset, width.

    Level is log power relative to the segment's mean: a segment louder by any factor has the same features.
    """
    loudness = power.mean((1, 2), keepdim=True).clamp_min(1e-20)
    level = torch.log10(power / loudness + 1e-6)
    onset = functional.pad(level[..., 1:] - level[..., :-1], (1, 0))
    width = side / (power + 1e-6 * loudness)
    return torch.stack(((level + 2.5) / 1.5, onset, width), 1)


class DrumNetwork(nn.Module):
    """Stereo samples to stereo parts. Real masks, common to both channels, that add up to one in every bin."""

    def __init__(self, shape: NetworkShape | None = None) -> None:
        super().__init__()
        self.shape = shape or NetworkShape()
        self.unet = DrumUNet(self.shape)
        self.fold = BandFold(self.shape)

    def logits(self, power: Tensor, side: Tensor) -> Tensor:
        """Folded power of both channels and of the side, [batch, bands, frames] → [batch, parts, bands, frames]."""
        features = band_features(power, side).contiguous(memory_format=torch.channels_last)
        return self.unet(features).float()

    def masks(self, power: Tensor, side: Tensor) -> Tensor:
        """As `logits`, but the shares themselves: 0…1, adding up to one over the parts."""
        return torch.softmax(self.logits(power, side), 1)

    def forward(self, audio: Tensor) -> Tensor:
        """float32 [batch, 2, samples] → float32 [batch, parts, 2, samples]."""
        mixture = self.fold.spectrum(audio)
        power = self.fold(mixture.abs().square().sum(1))
        side = self.fold((mixture[:, 0] - mixture[:, 1]).abs().square() / 2)
        masks = self.fold.unfold(self.masks(power, side))
        return self.fold.samples(masks[:, :, None] * mixture[:, None], audio.shape[-1])
