"""What an operator may set, and how a wrong value is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from resources.settings import read_settings
from stem_pipeline.errors import RequestRefused


def test_state_lies_under_the_home_that_was_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STEM_PIPELINE_HOME", str(tmp_path))
    settings = read_settings()
    assert settings.storage_root == tmp_path / "storage"
    assert settings.dagster_home == tmp_path / "dagster"


def test_a_relative_home_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEM_PIPELINE_HOME", "home")
    assert read_settings().dagster_home == tmp_path / "home" / "dagster"  # Dagster refuses a relative one


@pytest.mark.parametrize(
    ("name", "value"),
    [("DEVICE", "tpu"), ("MAX_SECONDS", "-1"), ("MAX_BYTES", "much"), ("ALLOW_RESEARCH_WEIGHTS", "?")],
)
def test_a_value_that_cannot_be_used_names_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"STEM_PIPELINE_{name}", value)
    with pytest.raises(RequestRefused) as refused:
        read_settings()
    assert refused.value.code == "option_invalid"
    assert f"STEM_PIPELINE_{name}" in refused.value.message
