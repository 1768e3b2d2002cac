"""Which names and devices are taken, and which are refused with a code before anything is fetched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import stem_pipeline
from stem_pipeline.errors import ModelRefused, RequestRefused
from stem_pipeline.models import model_cards
from stem_pipeline.separation import load
from stem_pipeline.separation.load import DEFAULT_DRUM_MODEL, DEFAULT_MAIN_MODEL, load_model
from stem_pipeline.separation.segment_model import SegmentModel
from stem_pipeline.stems import DRUM_PARTS


def test_the_default_models_are_in_the_catalogue_at_their_level() -> None:
    kinds = {card.name: card.kind for card in model_cards()}
    assert kinds[DEFAULT_MAIN_MODEL] == "main"
    assert kinds[DEFAULT_DRUM_MODEL] == "drums"


def test_every_model_of_the_catalogue_has_a_way_to_be_loaded() -> None:
    missing = {card.name for card in model_cards()} - set(load._LOADERS)
    assert not missing


def test_the_default_drum_model_loads_without_a_network_and_plays_the_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "_compiled_networks", lambda: tmp_path)
    model = load_model(DEFAULT_DRUM_MODEL, device="cpu", allow_research_weights=False)
    assert isinstance(model, SegmentModel)
    assert model.name == DEFAULT_DRUM_MODEL
    assert set(model.sources) == set(DRUM_PARTS)


def test_choosing_a_device_loads_torch_only_where_a_driver_is(tmp_path: Path) -> None:
    if load._has_library("libcuda.so.1"):
        pytest.skip("this machine has a CUDA driver: torch is asked")
    code = (
        "import sys, pathlib; from stem_pipeline.separation import load\n"
        "load._compiled_networks = lambda: pathlib.Path(sys.argv[1])\n"
        "print(load.load_model('stemline-drums').backend, 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    root = Path(stem_pipeline.__file__).parents[1]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=root)
    backend, loaded = run.stdout.split()
    assert backend.startswith("openvino-")
    assert loaded == "False"


@pytest.mark.parametrize("name", ["", "htdemucs2", "../htdemucs", "x" * 10_000])
def test_an_unknown_model_is_refused_with_a_code_and_the_choices(name: str) -> None:
    with pytest.raises(ModelRefused) as refusal:
        load_model(name)
    assert refusal.value.code == "model_unknown"
    assert DEFAULT_MAIN_MODEL in refusal.value.message
    assert len(refusal.value.message) < 300


@pytest.mark.parametrize("device", ["", "gpu", "cuda:9", "CPU"])
def test_an_unknown_device_is_refused_with_a_code(device: str) -> None:
    with pytest.raises(RequestRefused) as refusal:
        load_model(DEFAULT_DRUM_MODEL, device=device)
    assert refusal.value.code == "option_invalid"


def test_research_weights_are_refused_where_they_are_not_allowed() -> None:
    with pytest.raises(ModelRefused) as refusal:
        load_model("htdemucs", allow_research_weights=False)
    assert refusal.value.code == "model_licence_refused"
    assert "research" in refusal.value.message
