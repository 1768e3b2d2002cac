"""How long, how large, how fast, how wide a source may be.

Belongs here: the limits and the refusals they lead to. Does not belong here: reading files.
"""

from __future__ import annotations

from dataclasses import dataclass

from stem_pipeline.errors import AudioRefused


@dataclass(frozen=True)
class Limits:
    """What is accepted as a song.

    `max_seconds` of 12 hours covers any concert; `max_bytes` is those 12 hours of 8-channel 32-bit audio at 48 kHz,
    rounded up. The rates reach from speech archives to DSD; a channel count above `max_channels` is
    nearly always a damaged header, and is refused before anything is allocated for it.
    """

    max_seconds: float = 12 * 3600.0
    max_bytes: int = 64 * 2**30
    min_rate: int = 1_000
    max_rate: int = 768_000
    max_channels: int = 8

    def check_bytes(self, size: int) -> None:
        """Raises `AudioRefused`: `audio_empty`, `audio_too_large`."""
        if size == 0:
            raise AudioRefused("audio_empty", "The file is empty: send one that has audio in it.")
        if size > self.max_bytes:
            raise AudioRefused(
                "audio_too_large",
                f"The file has {size / 2**20:,.0f} MiB, the limit is "
                f"{self.max_bytes / 2**20:,.0f} MiB: send a shorter or compressed one.",
            )

    def check_shape(self, sample_rate: int, channels: int) -> None:
        """Raises `AudioRefused`: `audio_rate_unsupported`, `audio_channels_unsupported`."""
        if not self.min_rate <= sample_rate <= self.max_rate:
            raise AudioRefused(
                "audio_rate_unsupported",
                f"The sample rate is {sample_rate:,} Hz; rates from {self.min_rate:,} to {self.max_rate:,} Hz are supported. "
                "The header may be damaged.",
            )
        if channels < 1:
            raise AudioRefused(
                "audio_channels_unsupported",
                "The file's header gives no possible number of channels: it is damaged. Send the file again.",
            )
        if channels > self.max_channels:
            raise AudioRefused(
                "audio_channels_unsupported",
                f"The file declares {channels} channels; 1 to {self.max_channels} are supported. The header may be damaged.",
            )

    def check_seconds(self, seconds: float) -> None:
        """Raises `AudioRefused` (`audio_too_long`)."""
        if seconds > self.max_seconds:
            raise AudioRefused(
                "audio_too_long",
                f"The song is longer than the limit of {_spoken(self.max_seconds)}: cut it into parts.",
            )


def _spoken(seconds: float) -> str:
    if seconds >= 7200:
        return f"{seconds / 3600:g} hours"
    return f"{seconds / 60:g} minutes" if seconds >= 120 else f"{seconds:g} seconds"
