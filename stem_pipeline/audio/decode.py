"""Sources in: any file FFmpeg reads, as float32 blocks, exact to the sample, or a coded refusal.

Belongs here: opening, decoding, trimming, refusing. Does not belong here: resampling, writing, covers (tags.py).

One rule for all formats: FFmpeg reads them (through PyAV); libsndfile reads none. FFmpeg was the faster one on WAV and MP3 and level on
FLAC, decodes integers to the same bits, honours what encoders say about delay and padding in more containers, and one
decoder means that a source, a deliverable and a test see the same samples.
The file's name never matters: FFmpeg gets the bytes, no path, may open nothing else, and only takes formats that hold
audio, so that a playlist cannot make it read other files and a picture or text is no "video" to it.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from fractions import Fraction
from types import TracebackType
from typing import Any, BinaryIO

import av
import av.error
import numpy as np
import numpy.typing as npt

from stem_pipeline.audio.facts import SourceFacts, clean_tags
from stem_pipeline.audio.limits import Limits
from stem_pipeline.errors import AudioRefused

Audio = npt.NDArray[np.float32]

CONTAINERS = (
    "3gp,aac,ac3,ac4,act,adx,aea,aiff,amr,amrnb,amrwb,ape,apc,apm,asf,ast,au,avi,avr,bonk,caf,dff,dsf,dts,dtshd,eac3,"
    "flac,flv,g722,gsm,iff,ircam,loas,m4a,matroska,mlp,mov,mp2,mp3,mp4,mpc,mpc8,mpeg,mpegts,mxf,nist,nut,oga,ogg,oma,"
    "osq,paf,pvf,rm,rso,sbc,shn,smjpeg,sol,sox,spdif,svx,swf,tak,truehd,tta,vivo,voc,vqf,w64,wav,webm,wsaud,wsd,wtv,"
    "wv,wve,xa,xwma"
)
"""Demuxers that may be used: those that hold audio in the file itself. No playlists, pictures, text, devices."""

_OPEN_OPTIONS = {"format_whitelist": CONTAINERS, "protocol_whitelist": "none"}
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
_COMPANDED = ("pcm_alaw", "pcm_mulaw", "pcm_vidc")
_MAGIC = (
    b"RIFF",
    b"RF64",
    b"BW64",
    b"riff",
    b"FORM",
    b"fLaC",
    b"OggS",
    b"ID3",
    b"caff",
    b".snd",
    b"wvpk",
    b"TTA",
    b"0&\xb2u",
    b"\x1aE\xdf\xa3",
)
_SHORT_FILE = 256
"""Bytes. A file of a known kind that is shorter than this and does not open was cut inside its header."""
_EDIT_SLACK = 8192
"""Samples. What an MP4 track may decode beyond its declared end: one packet, with the doubled rate of HE-AAC, and room."""


class SourceDecoder:
    """One open source: iterate once for float32 blocks [channels, n] of about a second; `facts` is final after the last.

    Use as a context manager. Memory is that of a block. `expected_samples` is what the header promises (for progress; None when
    it promises nothing, and never to be relied on).
    """

    def __init__(self, path: str | os.PathLike[str], limits: Limits) -> None:
        self._limits = limits
        self._file = _open_regular(path, limits)
        try:
            self._container = open_container(self._file)
            try:
                self._stream = self._first_audio_stream()
                self._look_ahead()
            except BaseException:
                self._container.close()
                raise
        except BaseException:
            self._file.close()
            raise

    # -- opening ---------------------------------------------------------------------------------------------------

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

    def _look_ahead(self) -> None:
        context, stream = self._stream.codec_context, self._stream
        self._delay = self._padding = self._damaged = 0
        self._packets = 0
        self._rate, self._channels = int(context.sample_rate), int(context.channels)
        self._count = 0
        self._used_bits = 0
        self._frame_format = context.format.name if context.format else ""
        self._end = _track_end(self._container, stream, self._rate)
        self.expected_samples = (
            self._end if self._end is not None else _declared_samples(self._container, stream, self._rate)
        )
        if self.expected_samples is not None:
            # A header that promises twice the limit is believed at once; nearer than that, the samples are counted.
            self._limits.check_seconds(self.expected_samples / self._rate / 2)
        self._frames = self._decoded_frames()
        # The first frame has the true rate and width (HE-AAC doubles what the header says), so facts are right from the start.
        self._first = next(self._frames, None)
        if self._first is None:
            if self._damaged:
                raise _undecodable()
            raise AudioRefused("audio_no_samples", "The file has an audio stream without a single sample in it.")
        self._rate, self._channels = self._first.sample_rate, len(self._first.layout.channels)
        self._frame_format = self._first.format.name
        self._limits.check_shape(self._rate, self._channels)
        self._end = _track_end(self._container, stream, self._rate)

    # -- decoding --------------------------------------------------------------------------------------------------

    def _decoded_frames(self) -> Iterator[Any]:
        demuxer = self._container.demux(self._stream)
        while True:
            try:
                packet = next(demuxer)
            except StopIteration:
                return
            except (av.error.FFmpegError, ValueError):
                # The container breaks off here: what came before is the song.
                self._damaged += 1
                return
            if packet.has_sidedata("skip_samples"):
                start, end = struct.unpack_from("<II", bytes(packet.get_sidedata("skip_samples")))
                if self._packets == 0:
                    self._delay = start
                self._padding = end
            try:
                frames = packet.decode()
            except av.error.MemoryError as error:
                raise _undecodable() from error
            except (av.error.FFmpegError, ValueError):
                self._damaged += 1
                if self._damaged > 1000 and self._damaged > 10 * self._packets:
                    raise _undecodable() from None  # noise that looks like packets: stop early
                continue
            self._packets += 1
            yield from (frame for frame in frames if frame.samples)

    def __iter__(self) -> Iterator[Audio]:
        """Raises `AudioRefused`: `audio_not_finite`, `audio_too_long`, `audio_no_samples`, `audio_undecodable`, `audio_format_changes`."""
        if self._first is None:
            raise ValueError("a source is decoded once: open it again")
        gathered: list[Audio] = []
        samples = 0
        frame: Any = self._first
        self._first = None
        while frame is not None:
            block = self._as_float(frame)
            gathered.append(block)
            samples += block.shape[1]
            if samples >= self._rate:
                yield from self._within_track(gathered, samples, last=False)
                gathered, samples = [], 0
            frame = next(self._frames, None)
        yield from self._within_track(gathered, samples, last=True)
        if self._count == 0:
            raise AudioRefused("audio_no_samples", "The file has an audio stream without a single sample in it.")
        if self._damaged > self._packets:
            raise _undecodable()

    def _within_track(self, gathered: list[Audio], samples: int, last: bool) -> Iterator[Audio]:
        """Joins frames to one checked block, without the few samples an MP4 packet holds beyond the track's end."""
        if not gathered:
            return
        block = gathered[0] if len(gathered) == 1 else np.concatenate(gathered, axis=1)
        if self._end is not None and self._count + samples > self._end:
            beyond = self._count + samples - self._end
            if beyond > _EDIT_SLACK:
                self._end = None  # the header's length is wrong by more than a packet: the samples are right
            elif last:
                block = block[:, : block.shape[1] - beyond]
            else:
                # Not known yet whether more comes: keep what is beyond for the next round.
                gathered[:] = [block]
                more = self._rest_of_track(block, beyond)
                yield from more
                return
        if block.shape[1] == 0:
            return
        self._check_finite(block)
        self._count += block.shape[1]
        self._limits.check_seconds(self._count / self._rate)
        yield np.ascontiguousarray(block)

    def _rest_of_track(self, block: Audio, beyond: int) -> Iterator[Audio]:
        tail = [block]
        for frame in self._frames:
            tail.append(self._as_float(frame))
            beyond += tail[-1].shape[1]
            if beyond > _EDIT_SLACK:
                break
        yield from self._within_track(tail, sum(t.shape[1] for t in tail), last=True)

    def _as_float(self, frame: Any) -> Audio:
        if frame.sample_rate != self._rate or len(frame.layout.channels) != self._channels:
            raise AudioRefused(
                "audio_format_changes",
                "The sample rate or the number of channels changes inside the song: convert it to one WAV or FLAC file.",
            )
        name = frame.format.name
        data = frame.to_ndarray()
        planar = data if frame.format.is_planar else data.reshape(-1, self._channels).T
        if name in ("fltp", "flt"):
            return planar.astype(np.float32)
        if name in ("dblp", "dbl"):
            with np.errstate(over="ignore"):
                return planar.astype(np.float32)
        if name in ("s16p", "s16"):
            return planar.astype(np.float32) * np.float32(2.0**-15)
        if name in ("s32p", "s32"):
            self._used_bits |= int(np.bitwise_or.reduce(planar, axis=None))
            return planar.astype(np.float32) * np.float32(2.0**-31)
        if name in ("u8p", "u8"):
            return (planar.astype(np.float32) - np.float32(128)) * np.float32(2.0**-7)
        raise AudioRefused(
            "audio_undecodable", f"Samples of the kind {name} cannot be read here: convert the file to WAV or FLAC."
        )

    @staticmethod
    def _check_finite(block: Audio) -> None:
        # One sum is far cheaper than a test of every sample, and is finite for nearly every real block.
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(block.sum(dtype=np.float64)):
                return
        if not np.isfinite(block).all():
            raise AudioRefused(
                "audio_not_finite", "The audio contains NaN or infinity: export it again from the program it came from."
            )

    # -- facts -----------------------------------------------------------------------------------------------------

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
            bit_rate=_bit_rate(self._container, context),
            tags=clean_tags(self._container.metadata, self._stream.metadata),
            has_cover=any(av.stream.Disposition.attached_pic in s.disposition for s in self._container.streams.video),
            audio_streams=len(self._container.streams.audio),
            encoder_delay_samples=self._delay,
            encoder_padding_samples=self._padding,
            damaged_packets=self._damaged,
        )

    def _sample_format(self, codec: str) -> str:
        if not codec.startswith(_LOSSLESS) or codec in _COMPANDED:
            return "lossy"
        return "float" if self._frame_format.startswith(("flt", "dbl")) else "int"

    def _bit_depth(self, context: Any) -> int:
        declared = _declared_depth(context.name, bytes(context.extradata or b""))
        if declared:
            return declared
        width = {"u8": 8, "s16": 16, "flt": 32, "dbl": 64}.get(self._frame_format.rstrip("p"))
        if width:
            return width
        # 32-bit words without a declared depth: 24 bits unless the lowest byte was ever used.
        return 32 if self._used_bits & 0xFF else 24

    # -- context ---------------------------------------------------------------------------------------------------

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
        blocks = list(source)
        return (blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)), source.facts


def _open_regular(path: str | os.PathLike[str], limits: Limits) -> BinaryIO:
    missing = AudioRefused("audio_not_found", "There is no such audio file, or it may not be read.")
    try:
        # Without O_NONBLOCK a named pipe would wait for a writer for ever.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except (OSError, ValueError) as error:
        raise missing from error
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise missing
        limits.check_bytes(about.st_size)
    except BaseException:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb", buffering=0)


class _NamelessBytes:
    """The file for FFmpeg, without its name: the content alone decides what it is."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


def open_container(file: BinaryIO) -> Any:
    try:
        return av.open(
            _NamelessBytes(file), "r", metadata_errors="replace", buffer_size=1 << 18, options=dict(_OPEN_OPTIONS)
        )
    except (av.error.FFmpegError, ValueError, OSError) as error:
        head = os.pread(file.fileno(), 16, 0)
        known = head.startswith(_MAGIC) or head[4:8] == b"ftyp"
        if known and (os.fstat(file.fileno()).st_size < _SHORT_FILE or isinstance(error, av.error.EOFError)):
            raise AudioRefused(
                "audio_truncated_header",
                "The file ends inside its header: it was not copied or uploaded whole. Send it again.",
            ) from error
        raise _undecodable() from error


def _undecodable() -> AudioRefused:
    return AudioRefused(
        "audio_undecodable",
        "The file is not audio, or is damaged beyond decoding: send it again, or convert it to WAV or FLAC.",
    )


def _track_end(container: Any, stream: Any, rate: int) -> int | None:
    """Samples an MP4 track says it has. FFmpeg drops the delay and whole packets beyond the end, but not the rest of the last."""
    if "mp4" not in container.format.name:
        return None
    ends = []
    gapless = container.metadata.get("iTunSMPB") or stream.metadata.get("iTunSMPB")
    if gapless:
        words = gapless.split()
        if len(words) >= 4 and all(set(w) <= set("0123456789abcdefABCDEF") for w in words[:4]):
            ends.append(int(words[3], 16))
    if stream.duration and stream.time_base:
        ends.append(round(Fraction(stream.duration) * stream.time_base * rate))
    ends = [end for end in ends if end > 0]
    return min(ends) if ends else None


def _declared_samples(container: Any, stream: Any, rate: int) -> int | None:
    if stream.duration and stream.time_base:
        return max(0, round(Fraction(stream.duration) * stream.time_base * rate)) or None
    if container.duration:
        return max(0, round(container.duration / 1_000_000 * rate)) or None
    return None


def _bit_rate(container: Any, context: Any) -> int | None:
    rate = context.bit_rate or container.bit_rate
    return int(rate) if rate and rate > 0 else None


def _declared_depth(codec: str, extra: bytes) -> int | None:
    """Bits a sample as the stream's own header says, where the codec has a place for it."""
    if codec.startswith("pcm_"):
        digits = "".join(c for c in codec[4:].split("_")[0] if c.isdigit())
        return int(digits[:2]) if digits else None
    if codec == "flac" and len(extra) >= 18:
        return (int.from_bytes(extra[10:18], "big") >> 36 & 0x1F) + 1
    if codec == "alac" and len(extra) >= 18:
        return extra[17]
    if codec == "tta" and len(extra) >= 8:
        return int.from_bytes(extra[8:10], "little")
    return 1 if codec.startswith(("dsd_", "dst")) else None
