"""One real separation for the whole session: the commands' tests look at its result."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command_line import run_json


@dataclass(frozen=True)
class RealRun:
    song: Path
    home: Path
    out: Path
    status: int
    report: dict[str, Any]


@pytest.fixture(scope="session")
def real_song() -> Path:
    """Six seconds of real music, from PyPI's `stempeg`."""
    spec = importlib.util.find_spec("stempeg")
    if spec is None or spec.origin is None:
        pytest.skip("the real song is in PyPI's stempeg, which is not installed: install the extra `demo`")
    return next((Path(spec.origin).parent / "data").glob("*Falcon 69.stem.mp4"))


@pytest.fixture(scope="session")
def real_run(real_song: Path, tmp_path_factory: pytest.TempPathFactory) -> RealRun:
    """The real song through the real models, as a person would call it."""
    root = tmp_path_factory.mktemp("real")
    status, report, _ = run_json("separate", real_song, "-o", root / "out", home=root / "home")
    return RealRun(real_song, root / "home", root / "out", status, report)
