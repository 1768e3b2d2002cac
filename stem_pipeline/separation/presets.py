"""How much is spent on a separation: named presets of what the engine may vary.

Belongs here: the numbers. What each costs and gains, measured, stands in docs/BENCHMARKS.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from stem_pipeline.errors import RequestRefused

ENGINE_VERSION = "1"
"""Raised whenever the engine around the models answers differently: part of every storage key."""


@dataclass(frozen=True)
class Preset:
    """`overlap`: least share of a segment that neighbours have in common. More overlap averages more answers."""

    name: str
    overlap: float


PRESETS: dict[str, Preset] = {p.name: p for p in (Preset("fast", 0.1), Preset("standard", 0.25), Preset("best", 0.75))}


def find_preset(name: str) -> Preset:
    """Raises `RequestRefused` (`option_invalid`) for a name that is none."""
    try:
        return PRESETS[name]
    except KeyError:
        raise RequestRefused(
            "option_invalid", f"There is no quality {name[:40]!r}. Choose among: {', '.join(PRESETS)}."
        ) from None
