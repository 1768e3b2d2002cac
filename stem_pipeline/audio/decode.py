"""Sources in: any file FFmpeg reads, as float32 blocks, exact to the sample, or a coded refusal.

Belongs here: decoding, trimming, checking. Does not belong here: opening (container.py), resampling, covers (tags.py).

One rule for all formats: FFmpeg reads them (through PyAV), libsndfile reads none. FFmpeg is as fast or faster, decodes
integers to the same bits, and honours what encoders say about delay and padding in more containers; with one decoder a
source, a deliverable and a test see the same samples.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.codec.context import Flags2

from stem_pipeline.audio import container as box
from stem_pipeline.audio.facts import SourceFacts, clean_tags
from stem_pipeline.audio.limits import Limits
from stem_pipeline.errors import AudioRefused

Audio = npt.NDArray[np.float32]

_LOSSLESS = (
    "pcm_",
    "flac",
    "alac",
    "wavpack",
    "tta",
    "ape",
    "tak",
    "wmalossless",
    "mp4als",
    "truehd",
    "mlp",
    "shorten",
    "dst",
    "dsd_",
)
_KINDS = ("u8", "s16", "s32", "flt", "dbl")
"""Sample formats by FFmpeg's names."""
_COMPANDED = ("pcm_alaw", "pcm_mulaw", "pcm_vidc")
_SLACK = 8192
"""Samples a track may decode beyond its declared end: a packet at the doubled rate of HE-AAC, and room. More than this
means that the declared end is wrong."""
_NOISE_PACKETS = 1000
"""Damaged packets after which a stream that is mostly damage is given up."""


class SourceDecoder:
    """One open source: iterate once for float32 blocks [channels, n] of about a second.

    Use as a context manager. `facts` is final after the last block. Memory is that of a block. `expected_samples` is
    what the header promises, for progress: None when it promises nothing, and never to be relied on.
    """

    def __init__(self, path: str | os.PathLike[str], limits: Limits) -> None:
        self._limits = limits
        self._file = box.open_regular(path, limits)
        try:
            self._container = box.open_container(self._file)
            try:
                self._stream = self._first_audio_stream()
                self._begin()
            except BaseException:
                self._container.close()
                raise
        except BaseException:
            self._file.close()
            raise

    # -- opening -----------------------------------------------------------------------------------------------------

    def _first_audio_stream(self) -> Any:
        streams = self._container.streams.audio
        if not streams:
            raise AudioRefused("audio_no_stream", "The file has no audio stream: send one that has sound in it.")
        stream = streams[0]
        context = stream.codec_context
        if context is None:
            raise AudioRefused(
                "audio_undecodable", "The audio is in a codec that cannot be read here: convert it to WAV or FLAC."
            )
        self._limits.check_shape(context.sample_rate or 0, context.channels or 0)
        for other in self._container.streams:
            if other.index != stream.index:
                other.discard = av.stream.Discard.all  # pictures are neither read nor decoded
        return stream

    def _begin(self) -> None:
        context, stream = self._stream.codec_context, self._stream
        self._delay = self._padding = self._damaged = self._packets = 0
        self._count = self._used_bits = 0
        self._rate = int(context.sample_rate)
        self._usual_duration = self._last_duration = self._last_end = 0
        self._skip_first_frame = box.one_page_vorbis(self._file, self._container, stream)
        if self._skip_first_frame or box.trimmed_twice(self._container, stream):
            context.flags2 |= Flags2.skip_manual
        self.expected_samples = box.track_end(self._container, stream, self._rate) or box.declared_samples(
            self._container, stream, self._rate
        )
        if self.expected_samples is not None:
            # A header that promises twice the limit is believed at once; nearer than that, the samples are counted.
            self._limits.check_seconds(self.expected_samples / self._rate / 2)
        self._frames = self._decoded_frames()
        # The first frame has the true rate and width (HE-AAC may double what the header says).
        first = next(self._frames, None)
        if first is None:
            raise box.undecodable() if self._damaged else _no_samples()
        self._first: Any = first
        self._rate, self._channels = first.sample_rate, first.layout.nb_channels
        self._frame_format = first.format.name
        self._limits.check_shape(self._rate, self._channels)

    # -- decoding ----------------------------------------------------------------------------------------------------

    def _decoded_frames(self) -> Iterator[Any]:
        demuxer = self._container.demux(self._stream)
        skip = self._skip_first_frame
        while True:
            try:
                packet = next(demuxer)
            except StopIteration:
                return
            except (av.error.FFmpegError, ValueError):
                # The container breaks off here: what came before is the song.
                self._damaged += 1
                return
            self._note_trimming(packet)
            try:
                frames = packet.decode()
            except (av.error.FFmpegError, ValueError):
                self._damaged += 1
                if self._damaged > _NOISE_PACKETS and self._damaged > 10 * self._packets:
                    raise box.undecodable() from None
                continue
            self._packets += 1
            for frame in frames:
                if skip:
                    skip = False  # Vorbis: the first block is only the overlap for the second
                elif frame.samples:
                    yield frame

    def _note_trimming(self, packet: Any) -> None:
        if packet.pts is not None and packet.duration:
            self._last_duration, self._last_end = packet.duration, packet.pts + packet.duration
            self._usual_duration = max(self._usual_duration, packet.duration)
        if packet.has_sidedata("skip_samples"):
            start, end = struct.unpack_from("<II", bytes(packet.get_sidedata("skip_samples")))
            if self._packets == 0:
                self._delay = start
            self._padding = end

    def __iter__(self) -> Iterator[Audio]:
        """The blocks.

        Raises `AudioRefused`: `audio_not_finite`, `audio_too_long`, `audio_no_samples`, `audio_undecodable`,
        `audio_format_changes`.
        """
        if self._first is None:
            raise ValueError("a source is decoded once: open it again")
        for block in self._until_track_end(self._second_by_second()):
            if not _all_finite(block):
                raise AudioRefused(
                    "audio_not_finite",
                    "The audio contains NaN or infinity: export it again from the program it came from.",
                )
            self._count += block.shape[1]
            self._limits.check_seconds(self._count / self._rate)
            yield block
        if self._count == 0:
            raise _no_samples()
        if self._damaged > self._packets:
            raise box.undecodable()

    def _second_by_second(self) -> Iterator[Audio]:
        frame, self._first = self._first, None
        gathered: list[Audio] = []
        samples = 0
        while frame is not None:
            gathered.append(self._as_float(frame))
            samples += frame.samples
            if samples >= self._rate:
                yield _join(gathered)
                gathered, samples = [], 0
            frame = next(self._frames, None)
        if gathered:
            yield _join(gathered)

    def _until_track_end(self, blocks: Iterator[Audio]) -> Iterator[Audio]:
        """Without what the last packet holds beyond the track's end, which is known once all packets are read."""
        held: Audio | None = None
        count = 0
        for block in blocks:
            if held is None or block.shape[1] < _SLACK:
                held = block if held is None else _join([held, block])
                continue
            count += held.shape[1]
            yield held
            held = block
        if held is None:
            return
        end = self._track_end()
        excess = count + held.shape[1] - end if end is not None else 0
        if 0 < excess <= min(_SLACK, held.shape[1]):
            held = np.ascontiguousarray(held[:, :-excess])
        if held.shape[1]:
            yield held

    def _track_end(self) -> int | None:
        """Samples the track has by its own account, None where FFmpeg's trimming is right."""
        if self._skip_first_frame:
            return box.declared_samples(self._container, self._stream, self._rate)
        declared = box.track_end(self._container, self._stream, self._rate)
        if (
            declared is not None
            and 0 < self._last_duration < self._usual_duration
            and not box.has_itunes_length(self._container, self._stream)
        ):
            # Edit lists often count in thousandths of a second; a last packet shorter than the others tells the sample.
            ticks = self._last_end - max(0, self._stream.start_time or 0)
            exact = round(ticks * self._stream.time_base * self._rate)
            if abs(exact - declared) <= self._rate // 500 + 1:
                return exact
        return declared

    def _as_float(self, frame: Any) -> Audio:
        if frame.sample_rate != self._rate or frame.layout.nb_channels != self._channels:
            raise AudioRefused(
                "audio_format_changes",
                "The sample rate or the number of channels changes inside the song: convert it to one WAV or FLAC.",
            )
        kind = frame.format.name.rstrip("p")
        if kind not in _KINDS:
            raise AudioRefused(
                "audio_undecodable", f"Samples of the kind {kind} cannot be read here: convert the file to WAV or FLAC."
            )
        data = frame.to_ndarray()
        planar = data if frame.format.is_planar else data.reshape(-1, self._channels).T
        if kind in ("flt", "dbl"):
            with np.errstate(over="ignore"):
                return np.ascontiguousarray(planar, dtype=np.float32)
        if kind == "s16":
            return planar.astype(np.float32, order="C") * np.float32(2.0**-15)
        if kind == "s32":
            self._used_bits |= int(np.bitwise_or.reduce(planar, axis=None))
            return planar.astype(np.float32, order="C") * np.float32(2.0**-31)
        return (planar.astype(np.float32, order="C") - np.float32(128)) * np.float32(2.0**-7)

    # -- facts -------------------------------------------------------------------------------------------------------

    @property
    def facts(self) -> SourceFacts:
        """What is known now; `samples` and `duration_seconds` are final once the iteration has ended."""
        context = self._stream.codec_context
        kind = self._sample_format(context.name)
        return SourceFacts(
            sample_rate=self._rate,
            channels=self._channels,
            samples=self._count,
            duration_seconds=self._count / self._rate,
            bit_depth=None if kind == "lossy" else self._bit_depth(context),
            sample_format=kind,
            container=self._container.format.name.split(",")[0],
            codec=context.name,
            bit_rate=box.declared_bit_rate(self._container, context),
            tags=clean_tags(self._container.metadata, self._stream.metadata),
            has_cover=any(av.stream.Disposition.attached_pic in s.disposition for s in self._container.streams.video),
            audio_streams=len(self._container.streams.audio),
            encoder_delay_samples=self._delay,
            encoder_padding_samples=self._padding,
            damaged_packets=self._damaged,
        )

    def _sample_format(self, codec: str) -> str:
        if codec in _COMPANDED or not codec.startswith(_LOSSLESS):
            return "lossy"
        return "float" if self._frame_format.startswith(("flt", "dbl")) else "int"

    def _bit_depth(self, context: Any) -> int:
        declared = box.declared_depth(context.name, bytes(context.extradata or b""))
        if declared:
            return declared
        width = {"u8": 8, "s16": 16, "flt": 32, "dbl": 64}.get(self._frame_format.rstrip("p"))
        # 32-bit words without a declared depth: 24 bits unless the lowest byte was ever used.
        return width or (32 if self._used_bits & 0xFF else 24)

    # -- context -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        self._container.close()
        self._file.close()

    def __enter__(self) -> SourceDecoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_source(path: str | os.PathLike[str], limits: Limits | None = None) -> SourceDecoder:
    """Opens the first audio stream of a file.

    Raises `AudioRefused`: `audio_not_found`, `audio_empty`, `audio_too_large`, `audio_no_stream`,
    `audio_truncated_header`, `audio_undecodable`, `audio_no_samples`, `audio_rate_unsupported`,
    `audio_channels_unsupported`, `audio_too_long`; more of them may come while iterating.
    """
    return SourceDecoder(path, limits or Limits())


def read_audio(path: str | os.PathLike[str], limits: Limits | None = None) -> tuple[Audio, SourceFacts]:
    """A whole file at once: float32 [channels, samples], −1…1 nominal, and its facts. Raises as `open_source`."""
    with open_source(path, limits) as source:
        return _join(list(source)), source.facts


def _join(blocks: list[Audio]) -> Audio:
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)


def _all_finite(block: Audio) -> bool:
    # One sum is far cheaper than a test of every sample, and is finite for every finite float32 block.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(block.sum(dtype=np.float64)))


def _no_samples() -> AudioRefused:
    return AudioRefused("audio_no_samples", "The file has an audio stream without a single sample in it.")
