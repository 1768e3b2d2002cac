"""The little of Standard MIDI Files that drums need: strokes out of a performance, strokes into a file for a synthesizer.

Belongs here: the byte format (Standard MIDI Files 1.0). Does not belong here: what a key means.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

from stem_pipeline.errors import RequestRefused

Stroke = tuple[float, int, int, float]
"""Seconds, key, velocity 1…127, seconds held."""


def _length(value: int) -> bytes:
    out = [value & 127]
    while value := value >> 7:
        out.append(128 | (value & 127))
    return bytes(reversed(out))


def write_strokes(path: Path, strokes: Iterable[Stroke], channel: int = 9, program: int = 0) -> None:
    """One track at 1000 ticks a second, so a tick is a millisecond."""
    events: list[tuple[int, int, bytes]] = [(0, 0, bytes((0xC0 | channel, program)))]
    for seconds, key, velocity, held in strokes:
        events.append((round(seconds * 1000), 2, bytes((0x90 | channel, key, velocity))))
        events.append((round((seconds + held) * 1000), 1, bytes((0x80 | channel, key, 0))))
    events.sort(key=lambda e: e[:2])
    track, last = bytearray(b"\x00\xff\x51\x03" + (500_000).to_bytes(3, "big")), 0
    for tick, _, message in events:
        track += _length(tick - last) + message
        last = tick
    track += _length(2000) + b"\xff\x2f\x00"
    path.write_bytes(
        b"MThd" + struct.pack(">IHHH", 6, 0, 1, 500) + b"MTrk" + struct.pack(">I", len(track)) + bytes(track)
    )


def read_strokes(data: bytes) -> list[tuple[float, int, int]]:
    """(seconds, key, velocity) of every note-on in a file, in time order. Raises `RequestRefused` if it is not MIDI."""
    if data[:4] != b"MThd":
        raise RequestRefused("option_invalid", "This groove is not a Standard MIDI File.")
    division = struct.unpack(">H", data[12:14])[0]
    position = 8 + struct.unpack(">I", data[4:8])[0]
    notes: list[tuple[int, int, int]] = []
    tempos: list[tuple[int, int]] = [(0, 500_000)]
    while position + 8 <= len(data):
        size = struct.unpack(">I", data[position + 4 : position + 8])[0]
        if data[position : position + 4] == b"MTrk":
            _read_track(data[position + 8 : position + 8 + size], notes, tempos)
        position += 8 + size
    tempos.sort(key=lambda t: t[0])
    out: list[tuple[float, int, int]] = []
    seconds, tick, tempo, next_tempo = 0.0, 0, 500_000, 0
    for at, key, velocity in sorted(notes):
        while next_tempo < len(tempos) and tempos[next_tempo][0] <= at:
            change, value = tempos[next_tempo]
            seconds += (change - tick) * tempo / 1e6 / division
            tick, tempo, next_tempo = change, value, next_tempo + 1
        seconds += (at - tick) * tempo / 1e6 / division
        tick = at
        out.append((seconds, key, velocity))
    return out


def _read_track(track: bytes, notes: list[tuple[int, int, int]], tempos: list[tuple[int, int]]) -> None:
    position, tick, status = 0, 0, 0

    def number() -> int:
        nonlocal position
        value = 0
        while True:
            byte = track[position]
            position += 1
            value = value << 7 | byte & 127
            if byte < 128:
                return value

    while position < len(track):
        tick += number()
        if track[position] & 128:
            status = track[position]
            position += 1
        if status == 0xFF:
            kind = track[position]
            position += 1
            size = number()
            if kind == 0x51:
                tempos.append((tick, int.from_bytes(track[position : position + 3], "big")))
            position += size
        elif status in (0xF0, 0xF7):
            position += number()
        elif status & 0xF0 in (0xC0, 0xD0):
            position += 1
        else:
            if status & 0xF0 == 0x90 and track[position + 1]:
                notes.append((tick, track[position], track[position + 1]))
            position += 2
