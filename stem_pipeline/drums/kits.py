"""Which sampled kits the drum network learns from, whose they are, under which licence, and which it must never hear.

Belongs here: the catalogue and the refusals. Does not belong here: reading samples (`one_shots`), playing them (`rendering`).
Every kit comes from a Debian package, so anyone can have exactly these: `apt-get install` the packages named.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from stem_pipeline.errors import RequestRefused


@dataclass(frozen=True)
class Kit:
    """One sampled kit. `location` is a folder of Hydrogen samples or a soundfont; `program` picks a kit of the soundfont."""

    name: str
    package: str
    location: str
    licence: str
    author: str
    program: int | None = None
    bank: int = 128
    electronic: bool = False


_HYDROGEN = "/usr/share/hydrogen/data/drumkits"
_SOUNDFONTS = "/usr/share/sounds/sf2"
_MACARTHUR = "Glen MacArthur"
_PAVLOV = "Artemiy Pavlov (ArtemioLabs)"
_GRILLI = "Emiliano Grilli"


def _hydrogen(
    folder: str, licence: str, author: str, package: str = "hydrogen-drumkits", electronic: bool = False
) -> Kit:
    return Kit(f"hydrogen/{folder}", package, f"{_HYDROGEN}/{folder}", licence, author, electronic=electronic)


def _soundfont(
    font: str, package: str, licence: str, author: str, programs: dict[int, str], electronic: tuple[int, ...]
) -> list[Kit]:
    stem = PurePosixPath(font).stem
    return [
        Kit(f"{stem}/{title}", package, f"{_SOUNDFONTS}/{font}", licence, author, p, electronic=p in electronic)
        for p, title in programs.items()
    ]


_GENERAL = {0: "Standard", 8: "Room", 16: "Power", 24: "Electronic", 40: "Brush"}
_VARIANTS = {**{i: f"Standard {i}" for i in range(1, 8)}, 17: "Power 1", 18: "Power 2", 19: "Power 3"}

KITS: tuple[Kit, ...] = (
    _hydrogen("Audiophob", "CC0-1.0", "audiophobdubstep", electronic=True),
    _hydrogen("BJA_Pacific", "CC-BY-SA-3.0-US", "Luc Tanguay, Bransin James Anderson"),
    _hydrogen("ElectricEmpireKit", "GPL-2.0-or-later", _PAVLOV, electronic=True),
    _hydrogen("HardElectro1", "GPL-2.0-or-later", _PAVLOV, electronic=True),
    _hydrogen("VariBreaks", "GPL-2.0-or-later", _PAVLOV, electronic=True),
    _hydrogen("Millo-Drums_v.1", "GPL-2.0-only", _GRILLI),
    _hydrogen("Millo_MultiLayered2", "GPL-2.0-only", _GRILLI),
    _hydrogen("Millo_MultiLayered3", "GPL-2.0-only", _GRILLI),
    _hydrogen("The Black Pearl 1.0", "GPL-2.0-only", _MACARTHUR),
    _hydrogen("rumpf_kit_z01_h2", "CC-BY-3.0", "Emanuel Rumpf", electronic=True),
    _hydrogen("GMRockKit", "GPL-2.0-or-later", f"{_MACARTHUR}, Sebastian Moors", "hydrogen-data"),
    _hydrogen("TR808EmulationKit", "GPL-2.0-or-later", _PAVLOV, "hydrogen-data", electronic=True),
    *_soundfont(
        "FluidR3_GM.sf2", "fluid-soundfont-gm", "MIT", "Frank Wen and others", {**_GENERAL, **_VARIANTS}, (24,)
    ),
    *_soundfont(
        "MuseScore_General_Full.sf2",
        "musescore-general-soundfont-lossless",
        "MIT",
        "S. Christian Collins, Frank Wen and others",
        _GENERAL,
        (24,),
    ),
    *_soundfont(
        "TimGM6mb.sf2",
        "timgm6mb-soundfont",
        "GPL-2.0-only",
        "Tim Brechbill",
        {0: "Standard", 8: "Room", 16: "Power", 24: "Electronic", 25: "TR 808", 40: "Brush"},
        (24, 25),
    ),
    Kit(
        "avldrums/Black Pearl",
        "avldrums.lv2-soundfont",
        f"{_SOUNDFONTS}/Black_Pearl_4_LV2.sf2",
        "CC-BY-SA-3.0",
        _MACARTHUR,
        program=0,
        bank=0,
    ),
)
"""Kits that may be learnt from. Hand percussion kits of the same packages are left out: they have no drum set in them."""

RESERVED_SAMPLES: dict[str, str] = {
    r"ColomboAcousticDrumkit": "the test loop 'Colombo' is played on it",
    r"ForzeeStereo": "the test loop 'Forzee' is played on it",
    r"Red_Zeppelin": "kept apart for tests",
}
"""Patterns of sample files and soundfonts kept for tests."""

RESERVED_PROGRAMS: dict[str, tuple[int, ...]] = {
    "FluidR3_GM": (25, 32, 33, 34, 35, 36),
    # MuseScore General is made from the same recordings: its jazz and 808 kits are the reserved ones again.
    "MuseScore_General": (25, 32, 33, 34, 35, 36),
}
"""Kits within soundfonts that are kept for tests: TR-808 and the jazz kits."""

RESERVED_GROOVES: tuple[str, ...] = (
    "10_hiphop_86_beat_4-4",
    "1_rock-prog_125_beat_4-4",
    "Thomasso-AxeFromThe80s",
)
"""Performances of which test material was rendered. The number and title are a performance's own within its session; a
match in any session is refused, which costs at most a few performances too many."""


def refuse_reserved_kit(location: str, program: int | None = None) -> None:
    """Raises `RequestRefused` (`option_invalid`) if samples at `location`, or kit `program` of them, are kept for tests."""
    plain = re.sub(r"[^A-Za-z0-9]", "", location).lower()
    for pattern, why in RESERVED_SAMPLES.items():
        if re.sub(r"[^A-Za-z0-9]", "", pattern).lower() in plain:
            raise RequestRefused("option_invalid", f"The kit {pattern} must not be trained on: {why}.")
    for font, programs in RESERVED_PROGRAMS.items():
        if re.sub(r"[^A-Za-z0-9]", "", font).lower() in plain and (program is None or program in programs):
            raise RequestRefused(
                "option_invalid", f"Kit {program} of {font} must not be trained on: it is kept for tests."
            )


def refuse_reserved_groove(name: str) -> None:
    """Raises `RequestRefused` (`option_invalid`) if the performance called `name` (a file name or path) is kept for tests."""
    stem = PurePosixPath(name).name.lower()
    for reserved in RESERVED_GROOVES:
        if stem.startswith(reserved.lower()) or reserved.lower() in stem:
            raise RequestRefused(
                "option_invalid", f"The groove {reserved} must not be trained on: it is kept for tests."
            )
