"""What is known about a source: the numbers a file declares and the ones its decoding proved.

Belongs here: the record, its JSON form, the cleaning of tags. Does not belong here: opening files (decode.py).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

MAX_TAGS = 64
MAX_TAG_NAME = 64
MAX_TAG_VALUE = 2_000
"""Characters. Lyrics and a long comment fit; a file cannot make a manifest of megabytes."""


@dataclass(frozen=True)
class SourceFacts:
    """One source as it was decoded.

    `samples` counts samples of one channel and is what stems must have. `bit_depth` is None for lossy codecs.
    `sample_format` is "int", "float" or "lossy". `encoder_delay_samples` and `encoder_padding_samples` are what the
    file says its encoder added at the start and at the end; they are already removed from `samples`.
    `damaged_packets` counts packets no decoder could make sense of: what they held is missing.
    """

    sample_rate: int
    channels: int
    samples: int
    duration_seconds: float
    bit_depth: int | None
    sample_format: str
    container: str
    codec: str
    bit_rate: int | None = None
    tags: dict[str, str] = field(default_factory=dict)
    has_cover: bool = False
    audio_streams: int = 1
    encoder_delay_samples: int = 0
    encoder_padding_samples: int = 0
    damaged_packets: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain types only: goes through JSON and comes back equal."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SourceFacts:
        """The inverse of `as_dict`; keys of newer versions are ignored."""
        known = {f.name for f in fields(cls)}
        given: dict[str, Any] = {k: v for k, v in values.items() if k in known}
        return cls(**given | {"tags": dict(given.get("tags") or {})})


_STRUCTURE = {"major_brand", "minor_version", "compatible_brands", "handler_name", "vendor_id", "language", "itunsmpb"}
"""What containers list among the tags though it says nothing about the song."""


def clean_tags(*layers: Mapping[Any, Any]) -> dict[str, str]:
    """Tags as valid, bounded Unicode with lower-case names; the first layer that has a name wins.

    Control characters go (line breaks stay), half surrogates become U+FFFD, long values are cut.
    """
    cleaned: dict[str, str] = {}
    for layer in layers:
        for name, value in layer.items():
            key = _clean_text(str(name), MAX_TAG_NAME).lower()
            text = _clean_text(str(value), MAX_TAG_VALUE)
            if key and text and key not in _STRUCTURE and key not in cleaned and len(cleaned) < MAX_TAGS:
                cleaned[key] = text
    return cleaned


def _clean_text(text: str, limit: int) -> str:
    # Cut before normalising too: a hostile tag of megabytes must not cost megabytes of work.
    text = text[: 4 * limit].encode("utf-8", "replace").decode("utf-8", "replace")
    text = unicodedata.normalize("NFC", text)
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) != "Cc")[:limit].strip()
