"""The tree of stem names: a mixture is four main stems, the drums stem is four parts.

Belongs here: names, their order, who is whose part. Does not belong here: audio.
"""

from __future__ import annotations

from collections.abc import Iterable

from stem_pipeline.errors import RequestRefused

MAIN_STEMS: tuple[str, ...] = ("drums", "bass", "vocals", "other")
DRUM_PARTS: tuple[str, ...] = ("kick", "snare", "cymbals", "toms")
ALL_STEMS: tuple[str, ...] = MAIN_STEMS + DRUM_PARTS

PARENT: dict[str, str] = {**dict.fromkeys(MAIN_STEMS, "mixture"), **dict.fromkeys(DRUM_PARTS, "drums")}
"""Each stem and the signal it is a part of: the children of one parent add up to it."""

REMAINDER: dict[str, str] = {"mixture": "other", "drums": "cymbals"}
"""The child that carries what no model heard: content above the model's band, and the last bit of rounding.

`other` is by definition what is not drums, bass or vocals; of the drum parts, cymbals reach highest.
"""


def parse_stems(names: str | Iterable[str]) -> tuple[str, ...]:
    """Stems asked for, in the tree's order, without doubles.

    `names`: a comma-separated string or the names one by one. Raises `RequestRefused` (`stem_unknown`).

    >>> parse_stems("vocals, drums")
    ('drums', 'vocals')
    """
    wanted = [n.strip().lower() for n in (names.split(",") if isinstance(names, str) else names)]
    wanted = [n for n in wanted if n]
    unknown = [n for n in wanted if n not in ALL_STEMS]
    if unknown or not wanted:
        what = f"There is no stem called {unknown[0][:40]!r}." if unknown else "No stem was named."
        raise RequestRefused("stem_unknown", f"{what} Choose among: {', '.join(ALL_STEMS)}.")
    return tuple(n for n in ALL_STEMS if n in wanted)
