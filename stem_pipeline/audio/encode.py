"""Stems out: one file, whole or not at all, with exactly the samples it was given.

Belongs here: the encoder everyone uses, and which codec library stands behind each format. Does not belong here: rounding to
integers (the caller does it, so that stems add up exactly), tags' wording (tags.py).

WAV bytes are our own (wave_file.py); FLAC, MP3, AAC and Opus are FFmpeg's, run in its bit-exact mode so that no version, date or
random serial number gets in; Vorbis is libvorbis through libsndfile, since FFmpeg's own Vorbis encoder is experimental.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from fractions import Fraction
from types import TracebackType
from typing import Any, Protocol

import av
import av.error
import numpy as np
import numpy.typing as npt
import soundfile as sf

from stem_pipeline.audio.formats import OPUS_RATE, OutputFormat, check_can_hold
from stem_pipeline.audio.pending_file import PendingFile, speaking_disk_errors
from stem_pipeline.audio.tags import Cover, wave_tag_chunks, write_tags
from stem_pipeline.audio.vorbis import VorbisFile
from stem_pipeline.audio.wave_file import WaveFormat, pack_float, pack_integers, wave_header
from stem_pipeline.errors import RunFailed

FLAC_BLOCK = 4096
"""Samples a frame. The choice left to FFmpeg grows with the rate until its own reader takes no frame for one."""
FLAC_BLOCK = 4096
"""Samples a frame. FFmpeg's own choice grows with the rate, until its reader finds no frame in six channels at 192 kHz."""
FLAC_LEVEL = 5
"""FFmpeg's default: within 0.1 % of the size of level 8 on music and several hundred times real time."""


class StemEncoder:
    """Writes one stem to `path` as `fmt`; the file appears when the `with` block ends well, else not at all.

    `samples`: how many each channel gets; another number is a `ValueError` and nothing is published. Tags: names as in
    `tags.stem_tags`. Raises `RequestRefused` (`format_cannot_hold`) before anything is written, `RunFailed` (`disk_full`,
    `storage_failed`). Two runs on the same samples give the same bytes.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        fmt: OutputFormat,
        sample_rate: int,
        channels: int,
        samples: int,
        tags: Mapping[str, str] | None = None,
        cover: Cover | None = None,
    ) -> None:
        check_can_hold(fmt, sample_rate, channels, samples)
        self.format, self.sample_rate, self.channels, self.announced = fmt, sample_rate, channels, samples
        self.samples = 0
        self._tags, self._cover = dict(tags or {}), cover
        self._pending = PendingFile(path)
        try:
            with _speaking_errors():
                self._backend = self._make_backend(str(self._pending.partial.absolute()))
        except BaseException:
            self._pending.discard()
            raise

    def _make_backend(self, partial: str) -> _Backend:
        fmt, rate, channels = self.format, self.sample_rate, self.channels
        if fmt.name == "wav":
            form = WaveFormat(rate, channels, fmt.bits or 0)
            return _WaveBackend(partial, form, self.announced, wave_tag_chunks(self._tags, self._cover))
        if fmt.name == "ogg":
            return VorbisFile(partial, rate, channels)
        if fmt.name == "opus" and rate != OPUS_RATE:
            return _Resampled(_LavBackend(partial, fmt, OPUS_RATE, channels), rate, channels, self.announced)
        return _LavBackend(partial, fmt, rate, channels)

    def write(self, block: npt.NDArray[np.floating]) -> None:
        """Appends float [channels, n], −1…1 nominal: for `wav 32f` and the lossy formats."""
        if self.format.integer:
            raise ValueError(f"{self.format.label} takes integers: use write_pcm")
        self._count(block)
        if not np.isfinite(block).all():
            raise ValueError("a stem contains NaN or infinity")
        with _speaking_errors():
            self._backend.append(block)

    def write_pcm(self, block: npt.NDArray[np.int32]) -> None:
        """Appends int32 [channels, n] in the format's own depth (16: −32768…32767): for `wav` and `flac` of 16 and 24 bits."""
        if not self.format.integer or block.dtype != np.int32:
            raise ValueError(f"{self.format.label} does not take {block.dtype} integers")
        self._count(block)
        bound = 1 << ((self.format.bits or 0) - 1)
        if block.size and (int(block.min()) < -bound or int(block.max()) >= bound):
            raise ValueError(f"a value does not fit into {self.format.bits} bits")
        with _speaking_errors():
            self._backend.append(block)

    def _count(self, block: npt.NDArray[Any]) -> None:
        if block.ndim != 2 or block.shape[0] != self.channels:
            raise ValueError(f"expected [{self.channels}, n], got {list(block.shape)}")
        if self.samples + block.shape[1] > self.announced:
            raise ValueError(f"more than the {self.announced} samples that were announced")
        self.samples += block.shape[1]

    def __enter__(self) -> StemEncoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                if self.samples != self.announced:
                    raise ValueError(f"{self.samples} samples were written, {self.announced} were announced")
                with _speaking_errors():
                    self._backend.finish()
                    if self.format.name != "wav":
                        write_tags(self._pending.partial, self.format.name, self._tags, self._cover)
                self._pending.publish()
        finally:
            # On a full disk closing fails a second time; what counts is the first error and that nothing stays.
            with suppress(av.error.FFmpegError, sf.LibsndfileError, OSError):
                self._backend.abandon()
            self._pending.discard()


@contextmanager
def _speaking_errors() -> Iterator[None]:
    """Disk errors as `speaking_disk_errors`; what a codec library says besides as `RunFailed` (`storage_failed`)."""
    try:
        with speaking_disk_errors():
            yield
    except (av.error.FFmpegError, sf.LibsndfileError) as error:
        raise RunFailed(
            "storage_failed", "The encoder could not write its file: see that the disk has space, and try again."
        ) from error


class _Backend(Protocol):
    """Where samples go. `finish` completes the file; `abandon` frees what is open and may follow `finish`."""

    def append(self, block: npt.NDArray[Any]) -> None: ...

    def finish(self) -> None: ...

    def abandon(self) -> None: ...


class _WaveBackend:
    """Our own WAV writer: RF64 past 4 GiB, tags in chunks after the samples."""

    def __init__(self, partial: str, form: WaveFormat, samples: int, chunks: bytes) -> None:
        self._form, self._samples, self._chunks = form, samples, chunks
        self._file = open(partial, "r+b", buffering=0)  # noqa: SIM115 (closed in abandon)
        self._write(wave_header(form, samples, len(chunks)))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file.fileno(), view) :]

    def append(self, block: npt.NDArray[Any]) -> None:
        self._write(pack_float(block) if self._form.bits == 32 else pack_integers(block, self._form.bits))

    def finish(self) -> None:
        # A chunk starts at an even place; with nothing after it the data chunk is padded all the same.
        self._write(bytes(self._samples * self._form.frame_bytes % 2) + self._chunks)
        self._file.close()

    def abandon(self) -> None:
        self._file.close()


_MP3_BIT_RATES = ((32_000, 320_000), (16_000, 160_000), (0, 64_000))
"""The highest constant rate of MPEG-1, -2 and -2.5 by sample rate: a stem is listened to alone, where artefacts show most."""
_AAC_BITS_PER_CHANNEL = 160_000
"""FFmpeg's AAC encoder is transparent to most ears from some 128 kb/s a channel; a quarter more for sparse stems."""
_OPUS_BITS_PER_CHANNEL = 128_000
"""Twice what listening tests call transparent for stereo music (about 64 kb/s a channel)."""


class _LavBackend:
    """FFmpeg's encoders through PyAV: flac, mp3, m4a, opus."""

    def __init__(self, partial: str, fmt: OutputFormat, rate: int, channels: int) -> None:
        muxer = {"m4a": "ipod"}.get(fmt.name, fmt.name)
        codec = {"mp3": "libmp3lame", "m4a": "aac", "opus": "libopus"}.get(fmt.name, fmt.name)
        self._sample_format = {"mp3": "fltp", "m4a": "fltp", "opus": "flt"}.get(fmt.name) or (
            "s16" if fmt.bits == 16 else "s32"
        )
        self._shift = 8 if fmt.bits == 24 else 0
        self._rate = rate
        self._layout = (
            "mono"
            if channels == 1
            else {2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}[channels]
        )
        self._written = 0
        container_options = {"fflags": "+bitexact"}
        options = {"flags": "+bitexact"}
        bit_rate = None
        if fmt.name == "flac":
            options |= {"compression_level": str(FLAC_LEVEL), "bits_per_raw_sample": str(fmt.bits)}
            options["frame_size"] = str(FLAC_BLOCK)
        elif fmt.name == "mp3":
            container_options |= {"id3v2_version": "0", "write_id3v1": "0"}  # tags.py writes them
            bit_rate = next(bits for lowest, bits in _MP3_BIT_RATES if rate >= lowest)
        elif fmt.name == "m4a":
            # The edit list counts in this scale: only the sample rate's own tells the exact length.
            container_options |= {"movie_timescale": str(rate), "movflags": "+faststart"}
            bit_rate = min(
                _AAC_BITS_PER_CHANNEL * channels, 6 * rate * channels
            )  # 6144 bits a frame of 1024 is the codec's bound
        elif fmt.name == "opus":
            options |= {"vbr": "on", "application": "audio"}
            bit_rate = _OPUS_BITS_PER_CHANNEL * channels
        self._container = av.open(partial, "w", format=muxer, options=container_options)
        self._open = True
        try:
            self._stream: Any = self._container.add_stream(codec, rate=rate, options=options)
            context: Any = self._stream.codec_context
            context.layout, context.format = self._layout, self._sample_format
            context.time_base = Fraction(1, rate)
            if bit_rate:
                context.bit_rate = bit_rate
        except BaseException:
            self.abandon()
            raise

    def append(self, block: npt.NDArray[Any]) -> None:
        # A second at a time: FFmpeg keeps a copy of every frame it is given.
        for start in range(0, block.shape[1], self._rate):
            self._append(block[:, start : start + self._rate])

    def _append(self, block: npt.NDArray[Any]) -> None:
        data: npt.NDArray[Any]
        if self._sample_format == "s16":
            data = np.ascontiguousarray(block.T, dtype=np.int16).reshape(1, -1)
        elif self._sample_format == "s32":
            data = np.ascontiguousarray(block.T, dtype=np.int32).reshape(1, -1) << self._shift
        elif self._sample_format == "flt":
            data = np.ascontiguousarray(block.T, dtype=np.float32).reshape(1, -1)
        else:
            data = np.ascontiguousarray(block, dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(data, format=self._sample_format, layout=self._layout)
        frame.sample_rate = self._rate
        frame.time_base = Fraction(1, self._rate)
        frame.pts = self._written
        self._written += block.shape[1]
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        self._container.mux(self._stream.encode(None))
        self._open = False
        self._container.close()

    def abandon(self) -> None:
        if self._open:
            self._open = False
            self._container.close()


class _Resampled:
    """Converts to Opus's rate with soxr on the way in: ⌈samples · 48000 / rate⌉ samples, so that none is lost on the way back."""

    def __init__(self, backend: _LavBackend, rate: int, channels: int, samples: int) -> None:
        import soxr

        self._backend, self._channels = backend, channels
        self._stream = soxr.ResampleStream(rate, OPUS_RATE, channels, dtype="float32", quality="HQ")
        self._left = -(-samples * OPUS_RATE // rate)

    def append(self, block: npt.NDArray[Any]) -> None:
        self._pass_on(self._stream.resample_chunk(np.ascontiguousarray(block.T, dtype=np.float32)))

    def _pass_on(self, frames: npt.NDArray[np.float32]) -> None:
        frames = frames[: self._left]
        self._left -= len(frames)
        if len(frames):
            self._backend.append(frames.T)

    def finish(self) -> None:
        self._pass_on(self._stream.resample_chunk(np.zeros((0, self._channels), np.float32), last=True))
        if self._left:  # rounding inside the resampler, a sample at most
            self._pass_on(np.zeros((self._left, self._channels), np.float32))
        self._backend.finish()

    def abandon(self) -> None:
        self._backend.abandon()
