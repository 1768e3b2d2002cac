"""Training: it learns, it resumes to the same weights, what it exports loads, and nothing else loads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from drum_sounds import SMALL, synthetic_bank

from stem_pipeline.drums.model import DrumNet
from stem_pipeline.drums.train import TrainingConfig, learning_rate, train
from stem_pipeline.drums.weights_file import export_weights, load_network
from stem_pipeline.errors import Cancelled, ModelRefused, RequestRefused
from stem_pipeline.separation.segment_model import SegmentModel


def _config(folder: Path, **changes) -> TrainingConfig:
    synthetic_bank(folder / "bank")
    settings = {
        "work_folder": str(folder), "steps": 4, "warmup_steps": 1, "batch": 2, "frames": 64, "clip_seconds": 1.0,
        "clips_a_round": 2, "steps_a_round": 2, "rounds_kept": 2, "learners": 1, "bfloat16": False, "shape": SMALL,
    }  # fmt: skip
    return TrainingConfig(**{**settings, **changes})


def _bytes(network: torch.nn.Module) -> bytes:
    return b"".join(v.numpy().tobytes() for v in network.state_dict().values())


def test_interrupted_and_resumed_training_gives_the_weights_of_one_run(tmp_path: Path) -> None:
    through = train(_config(tmp_path / "through"))
    steps = 0

    def stop_after_three() -> bool:
        nonlocal steps
        steps += 1
        return steps > 3

    config = _config(tmp_path / "pieces")
    with pytest.raises(Cancelled):
        train(config, is_cancelled=stop_after_three)
    stopped_at = torch.load(tmp_path / "pieces" / "checkpoint.pt", weights_only=False)["step"]
    assert 0 < stopped_at < config.steps
    assert _bytes(train(config)) == _bytes(through)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    network = train(_config(folder, steps=2))
    path = folder / "out" / "drums.safetensors"
    export_weights(network, path, folder)
    return path


def test_exported_weights_separate_and_their_card_says_what_they_are(exported: Path) -> None:
    model = DrumNet(exported)
    assert isinstance(model, SegmentModel)
    segment = np.random.default_rng(0).standard_normal((2, 2, model.segment_samples)).astype(np.float32)
    parts = model.separate_segments(segment)
    assert parts.shape == (2, 4, 2, model.segment_samples)
    assert parts.tobytes() == model.separate_segments(segment).tobytes()
    assert parts[:1].tobytes() == model.separate_segments(segment[:1]).tobytes()
    card = json.loads(exported.with_suffix(".json").read_text())
    assert card["licence"] == "CC-BY-4.0"
    assert card["training"]["steps_done"] == 2


def test_damaged_weights_are_refused_with_a_code(exported: Path, tmp_path: Path) -> None:
    copy = tmp_path / exported.name
    data = bytearray(exported.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(bytes(data))
    copy.with_suffix(".json").write_text(exported.with_suffix(".json").read_text())
    with pytest.raises(ModelRefused) as damaged:
        load_network(copy)
    assert damaged.value.code == "model_damaged"
    with pytest.raises(ModelRefused) as missing:
        load_network(tmp_path / "no.safetensors")
    assert missing.value.code == "model_unavailable"


def test_the_rate_rises_stays_and_falls_to_zero() -> None:
    config = TrainingConfig(steps=1000, warmup_steps=10, decay_share=0.4, learning_rate=1.0)
    assert learning_rate(config, 0) == pytest.approx(0.1)
    assert learning_rate(config, 500) == 1.0
    assert learning_rate(config, 800) == pytest.approx(0.5)
    assert learning_rate(config, 1000) == 0.0


def test_a_setting_that_does_not_exist_is_refused() -> None:
    with pytest.raises(RequestRefused, match="learning_speed"):
        TrainingConfig.from_dict({"learning_speed": 1})


def test_the_shipped_configuration_is_valid_and_the_shipped_weights_load() -> None:
    from stem_pipeline.drums import train as module

    TrainingConfig.from_dict(json.loads(Path(module.__file__).with_name("training.json").read_text()))
    model = DrumNet()
    assert model.sources == ("kick", "snare", "cymbals", "toms")
    assert model.sample_rate == 44100
