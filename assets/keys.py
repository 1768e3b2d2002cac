"""Where a song's objects lie in storage: every key of the product is made here.

Belongs here: key layout and the digests in it. `song` is a partition key throughout.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any


def digest_of(value: Any) -> str:
    """16 hex digits of the sha256 of a JSON value, the same for equal values in any order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def original(song: str) -> str:
    return f"songs/{song}/original"


def song_record(song: str) -> str:
    """Name, size and full id of a song; published after the original, so that its being there means both are."""
    return f"songs/{song}/song.json"


def source_audio(song: str) -> str:
    """The decoded source as a master."""
    return f"songs/{song}/source.wav"


def source_facts(song: str) -> str:
    """Facts of the decoded source; published after the audio."""
    return f"songs/{song}/source.json"


def analysis(song: str, version: str, digest: str) -> str:
    return f"songs/{song}/analysis-{version}-{digest}.json"


def stems_folder(song: str, model: str, version: str, digest: str) -> str:
    return f"stems/{song}/{model}@{version}/{digest}"


def stem_audio(folder: str, stem: str) -> str:
    return f"{folder}/{stem}.wav"


def stems_record(folder: str) -> str:
    """What lies in a stems folder; published last."""
    return f"{folder}/stems.json"


def stems_checks(folder: str) -> str:
    """What the contract's checks found on the masters of a stems folder."""
    return f"{folder}/checks.json"


def delivery_folder(song: str, digest: str) -> str:
    return f"deliveries/{song}/{digest}"


def picture(folder: str, kind: str) -> str:
    """A picture (`waveform` or `spectrogram`) of what lies in a folder."""
    return f"{folder}/{kind}.png"


def song_folder(song: str) -> str:
    return f"songs/{song}"
