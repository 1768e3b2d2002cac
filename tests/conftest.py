"""What all tests may import by name: this folder's own modules (`known_answer_model`, `real_song`)."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """No test sees or changes the state of this machine's user: settings are read when `assets.definitions` is imported,
    so the home is set before collection. Weights come from the user's cache."""
    for name in [n for n in os.environ if n.startswith("STEM_PIPELINE_") and n not in _KEPT]:
        del os.environ[name]
    home = tempfile.TemporaryDirectory(prefix="stem-pipeline-tests-")
    config.add_cleanup(home.cleanup)
    os.environ["STEM_PIPELINE_HOME"] = home.name


_KEPT = {"STEM_PIPELINE_MODELS", "STEM_PIPELINE_SHARED_AUDIO"}


@pytest.fixture(scope="session")
def shared_home() -> Path:
    """The home all commands of this session run in: what one test separated, the next is served."""
    return Path(os.environ["STEM_PIPELINE_HOME"])
