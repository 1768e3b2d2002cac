"""The engine's own lossless working format: a float32 WAV that is written whole and read at any place.

Belongs here: writing and reading masters. Does not belong here: formats for delivery (encode.py), sources (decode.py).

Every stem and every decoded source is kept this way while work goes on: no rounding, no codec, any sample in one seek, and
any audio program can open it. Past 4 GiB it is RF64.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from types import TracebackType

import numpy as np
import numpy.typing as npt

from stem_pipeline.audio.pending_file import PendingFile, speaking_disk_errors
from stem_pipeline.audio.wave_file import HEADER_BYTES, WaveFormat, pack_float, wave_header
from stem_pipeline.errors import AudioRefused

Audio = npt.NDArray[np.float32]


class MasterWriter:
    """Writes float32 blocks [channels, n] to `path`, which appears whole when the `with` block ends well, else not at all.

    `samples`: how many there must be in the end (a mismatch is a `ValueError` and nothing is published), or None when
    that is not known yet.
    """

    def __init__(
        self, path: str | os.PathLike[str], sample_rate: int, channels: int, samples: int | None = None
    ) -> None:
        self.sample_rate, self.channels, self.announced = sample_rate, channels, samples
        self.samples = 0
        self._form = WaveFormat(sample_rate, channels, 32)
        self._pending = PendingFile(path)
        try:
            with speaking_disk_errors():
                self._file = open(self._pending.partial, "r+b", buffering=0)  # noqa: SIM115 (closed in __exit__)
                _write_all(self._file.fileno(), wave_header(self._form, samples or 0))
        except BaseException:
            self._pending.discard()
            raise

    def write(self, block: Audio) -> None:
        """Appends float32 [channels, n]. Raises `ValueError` on another shape, `RunFailed` (`disk_full`, `storage_failed`)."""
        if block.ndim != 2 or block.shape[0] != self.channels:
            raise ValueError(f"expected [{self.channels}, n], got {list(block.shape)}")
        if self.announced is not None and self.samples + block.shape[1] > self.announced:
            raise ValueError(f"more than the {self.announced} samples that were announced")
        with speaking_disk_errors():
            _write_all(self._file.fileno(), pack_float(block))
        self.samples += block.shape[1]

    def __enter__(self) -> MasterWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                if self.announced is not None and self.samples != self.announced:
                    raise ValueError(f"{self.samples} samples were written, {self.announced} were announced")
                with speaking_disk_errors():
                    self._file.seek(0)
                    _write_all(self._file.fileno(), wave_header(self._form, self.samples))
                self._file.close()
                self._pending.publish()
        finally:
            self._file.close()
            self._pending.discard()


class MasterReader:
    """Reads a master at any place; memory is that of the block asked for. Several threads may read one reader.

    Raises `AudioRefused` (`audio_not_found`, `audio_undecodable`) when the file is not a whole master.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            self._handle = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise AudioRefused(
                "audio_not_found", "The working copy of the audio is gone: run the song again."
            ) from error
        try:
            self.sample_rate, self.channels, self.samples = self._read_header()
        except BaseException:
            os.close(self._handle)
            raise

    def _read_header(self) -> tuple[int, int, int]:
        head = os.pread(self._handle, HEADER_BYTES, 0)
        damaged = AudioRefused("audio_undecodable", "The working copy of the audio is damaged: run the song again.")
        if len(head) < HEADER_BYTES or head[:4] not in (b"RIFF", b"RF64") or head[8:12] != b"WAVE":
            raise damaged
        channels, rate = struct.unpack_from("<HI", head, 58)
        (data,) = struct.unpack_from("<Q", head, 28) if head[:4] == b"RF64" else struct.unpack_from("<I", head, 112)
        # Rebuilding the header from three numbers and comparing it says whether this is one of ours, whole and untouched.
        if not channels or head != wave_header(WaveFormat(rate, channels, 32), data // (4 * channels)):
            raise damaged
        if os.fstat(self._handle).st_size != HEADER_BYTES + data:
            raise damaged
        return rate, channels, data // (4 * channels)

    def read(self, start: int, stop: int) -> Audio:
        """float32 [channels, stop − start]. Raises `IndexError` outside 0…samples."""
        if not 0 <= start <= stop <= self.samples:
            raise IndexError(f"{start}…{stop} is outside 0…{self.samples}")
        width = 4 * self.channels
        raw = bytearray((stop - start) * width)
        view, done = memoryview(raw), 0
        while done < len(raw):
            got = os.preadv(self._handle, [view[done:]], HEADER_BYTES + start * width + done)
            if got == 0:
                raise AudioRefused("audio_undecodable", "The working copy of the audio is damaged: run the song again.")
            done += got
        frames = np.frombuffer(raw, dtype="<f4").reshape(-1, self.channels)
        return np.ascontiguousarray(frames.T, dtype=np.float32)

    def blocks(self, size: int) -> Iterator[Audio]:
        """The whole master in float32 blocks [channels, ≤ size]."""
        for start in range(0, self.samples, size):
            yield self.read(start, min(start + size, self.samples))

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> MasterReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
