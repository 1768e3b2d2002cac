"""The formats stems are delivered in: what each can hold, and at what quality it is written.

Belongs here: names, depths, limits, quality constants with their reasons. Does not belong here: encoding (encode.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from stem_pipeline.errors import RequestRefused

_MPEG_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_AAC_RATES = (7_350, *_MPEG_RATES, 64_000, 88_200, 96_000)

OPUS_RATE = 48_000
"""Opus has this rate alone (RFC 6716); other rates are converted on the way in and back."""


@dataclass(frozen=True)
class OutputFormat:
    """One way to write a stem.

    `bit_depth` is "16", "24", "32f" or None (lossy). `integer`: samples are written as whole numbers of that depth
    (`StemEncoder.write_pcm`), else as floats (`StemEncoder.write`). `rates` None means any from `min_rate` to `max_rate`.
    """

    name: str
    extension: str
    bit_depth: str | None
    lossless: bool
    max_channels: int
    min_rate: int
    max_rate: int
    rates: tuple[int, ...] | None = None
    fixed_rate: int | None = None
    min_samples: int = 1

    @property
    def integer(self) -> bool:
        return self.bit_depth in ("16", "24")

    @property
    def bits(self) -> int | None:
        """Bits a sample, None for lossy formats."""
        return int(self.bit_depth.rstrip("f")) if self.bit_depth else None

    @property
    def label(self) -> str:
        """For people and file listings: `wav 24`, `mp3`."""
        return f"{self.name} {self.bit_depth}" if self.bit_depth else self.name


_DEPTHS = {"wav": ("24", "16", "32f"), "flac": ("24", "16")}
"""The first is the default: 24 bits keep the sum of four stems below −120 dBFS of error."""

_LOSSY = {
    "mp3": OutputFormat("mp3", "mp3", None, False, 2, 8_000, 48_000, rates=_MPEG_RATES, min_samples=48),
    # Beyond two channels these codecs treat one as the low-frequency effect and cut it at some 120 Hz, which would ruin
    # a source whose channels mean something else: more channels get a lossless format.
    "m4a": OutputFormat("m4a", "m4a", None, False, 2, 7_350, 96_000, rates=_AAC_RATES),
    "opus": OutputFormat("opus", "opus", None, False, 2, 1_000, 768_000, fixed_rate=OPUS_RATE),
    "ogg": OutputFormat("ogg", "ogg", None, False, 2, 8_000, 192_000),
}

FORMATS: tuple[str, ...] = (*_DEPTHS, *_LOSSY)
"""Every format's name."""


def parse_format(name: str, bit_depth: str | int | None = None) -> OutputFormat:
    """The format asked for. Raises `RequestRefused`: `format_unknown`, `option_invalid` (a depth it has not).

    >>> parse_format("wav").bit_depth, parse_format("flac", 16).integer
    ('24', True)
    """
    wanted = name.strip().lower().lstrip(".")
    depth = str(bit_depth).strip().lower() if bit_depth is not None else None
    if wanted in _LOSSY:
        if depth:
            raise RequestRefused("option_invalid", f"{wanted} has no bit depth: leave it out, or choose wav or flac.")
        return _LOSSY[wanted]
    if wanted not in _DEPTHS:
        raise RequestRefused(
            "format_unknown", f"There is no format called {name[:40]!r}. Choose among: {', '.join(FORMATS)}."
        )
    if depth and depth not in _DEPTHS[wanted]:
        raise RequestRefused(
            "option_invalid", f"{wanted} is written with {', '.join(sorted(_DEPTHS[wanted]))} bits, not {depth[:20]}."
        )
    highest = 768_000 if wanted == "wav" else 655_350
    return OutputFormat(wanted, wanted, depth or _DEPTHS[wanted][0], True, 8, 1_000, highest)


def check_can_hold(fmt: OutputFormat, sample_rate: int, channels: int, samples: int | None = None) -> None:
    """Raises `RequestRefused` (`format_cannot_hold`) when the format has no such rate, so many channels, so short a song.

    An MP3 of fewer than 48 samples cannot say its length: the padding it would need is more than readers take.
    """
    if channels > fmt.max_channels:
        raise RequestRefused(
            "format_cannot_hold",
            f"{fmt.name} holds {fmt.max_channels} channels here, the song has {channels}: choose wav or flac.",
        )
    fits = sample_rate in fmt.rates if fmt.rates else fmt.min_rate <= sample_rate <= fmt.max_rate
    if not fits:
        raise RequestRefused(
            "format_cannot_hold",
            f"{fmt.name} cannot hold a sample rate of {sample_rate:,} Hz: choose wav, flac or opus.",
        )
    if samples is not None and samples < fmt.min_samples:
        raise RequestRefused(
            "format_cannot_hold",
            f"{fmt.name} cannot hold fewer than {fmt.min_samples} samples, the song has {samples}: choose wav or flac.",
        )
