"""The drum network on OpenVINO: the same function as in torch, within rounding, compiled once, without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from drum_sounds import SMALL, synthetic_bank

import stem_pipeline
from stem_pipeline.drums.band_spectrum import BandSpectrum
from stem_pipeline.drums.model import DrumNet
from stem_pipeline.drums.model_openvino import DrumNetOpenVino
from stem_pipeline.drums.network import BandFold, NetworkShape, band_features
from stem_pipeline.drums.weights_file import SHIPPED
from stem_pipeline.errors import ModelRefused, RequestRefused
from stem_pipeline.separation.segment_model import SegmentModel


@pytest.fixture(scope="module")
def drums(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """8 s of kick, snare, hats and toms, panned: float32 [1, 2, samples]."""
    bank = synthetic_bank(tmp_path_factory.mktemp("bank"))
    sounds = [bank.samples(entry) for entry in bank.index]
    rng = np.random.default_rng(2)
    mixture = np.zeros((2, 344 * 1024), np.float32)
    for start in range(0, mixture.shape[1] - 22_050, 5_512):
        sound = sounds[rng.integers(len(sounds))].T
        pan = rng.uniform(0.5, 1, (2, 1)).astype(np.float32)
        mixture[:, start : start + sound.shape[1]] += 0.3 * pan * sound
    return mixture[None]


@pytest.fixture(scope="module")
def reference(drums: np.ndarray) -> np.ndarray:
    return DrumNet().separate_segments(drums)


@pytest.fixture(scope="module")
def in_float32() -> DrumNetOpenVino:
    return DrumNetOpenVino(precision="float32")


def agreement_db(reference: np.ndarray, answer: np.ndarray) -> float:
    """Level of the reference over that of the difference, the worst part, dB."""
    difference = ((answer.astype(np.float64) - reference) ** 2).sum(axis=(0, 2, 3))
    return float((10 * np.log10((reference.astype(np.float64) ** 2).sum(axis=(0, 2, 3)) / difference)).min())


def test_it_is_the_torch_model_in_all_but_its_backend(in_float32: DrumNetOpenVino) -> None:
    reference = DrumNet()
    assert isinstance(in_float32, SegmentModel)
    assert in_float32.backend == "openvino-fp32"
    for name in ("name", "version", "sources", "sample_rate", "segment_samples", "normalised", "preferred_batch"):
        assert getattr(in_float32, name) == getattr(reference, name)


def test_in_float32_it_is_the_reference(in_float32: DrumNetOpenVino, drums: np.ndarray, reference: np.ndarray) -> None:
    # float32's rounding through twenty layers leaves more than 100 dB; a wrong branch leaves none.
    assert agreement_db(reference, in_float32.separate_segments(drums)) > 90


def test_a_third_of_the_level_is_a_third_of_the_answer(in_float32: DrumNetOpenVino, drums: np.ndarray) -> None:
    whole = in_float32.separate_segments(drums)
    assert agreement_db(whole, 3 * in_float32.separate_segments(drums / np.float32(3))) > 90


def test_bfloat16_stays_close(drums: np.ndarray, reference: np.ndarray) -> None:
    try:
        model = DrumNetOpenVino(precision="bfloat16")
    except RequestRefused as refusal:
        pytest.skip(refusal.message)
    answer = model.separate_segments(drums)
    # A part of SDR s with an independent error e dB below it loses 10·log10(1 + 10^((s − e)/10)): at the 10 dB that
    # drum parts have, 30 dB cost 0.04 dB. That is why float32 is the default.
    assert agreement_db(reference, answer) > 30
    assert answer.tobytes() == model.separate_segments(drums).tobytes()


def test_a_batch_gives_the_bytes_of_its_segments_alone(in_float32: DrumNetOpenVino, drums: np.ndarray) -> None:
    batch = np.concatenate([drums, np.roll(drums, 30_000, axis=-1)])
    together = in_float32.separate_segments(batch)
    alone = np.concatenate([in_float32.separate_segments(segment[None]) for segment in batch[::-1]])[::-1]
    assert together.tobytes() == alone.tobytes()
    assert in_float32.separate_segments(batch[:0]).shape == (0, 4, 2, batch.shape[-1])


def test_parts_add_up_to_the_drums_and_silence_is_silence(in_float32: DrumNetOpenVino, drums: np.ndarray) -> None:
    np.testing.assert_allclose(in_float32.separate_segments(drums).sum(1), drums, atol=1e-6)  # masks add up to one
    assert not in_float32.separate_segments(np.zeros_like(drums)).any()


def test_features_are_those_the_network_was_trained_on() -> None:
    for shape in (NetworkShape(), SMALL):
        edges = shape.band_edges
        samples = 40 * shape.hop_samples
        audio = np.random.default_rng(3).normal(0, 0.1, (2, samples)).astype(np.float32)
        audio[1] *= np.linspace(1, 0, samples, dtype=np.float32)
        ours = BandSpectrum(samples, shape.window_samples, shape.hop_samples, edges, 1)
        fold = BandFold(shape)
        with torch.inference_mode():
            exact = fold.spectrum(torch.from_numpy(audio)[None])
            power, side = fold(exact.abs().square().sum(1)), fold((exact[:, 0] - exact[:, 1]).abs().square() / 2)
            expected = band_features(power, side)[0].permute(2, 1, 0).numpy()
            back = fold.samples(exact * 0.25, samples)[0].numpy()
        spectrum = ours.spectrum(audio)
        np.testing.assert_allclose(spectrum, exact[0].mT.numpy(), atol=1e-6)
        np.testing.assert_allclose(ours.features(spectrum)[0], expected, atol=1e-4)
        even = ours.parts(spectrum, np.zeros((1, len(spectrum[0]), shape.bands, 4), np.float32))
        np.testing.assert_allclose(even, np.stack([back] * 4), atol=1e-6)  # the same logits: a quarter each


def test_a_second_start_reads_the_compiled_network(
    drums: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = DrumNetOpenVino(precision="float32", cache_dir=tmp_path).separate_segments(drums)
    (kept,) = tmp_path.iterdir()

    def refuse(*_: object) -> None:
        raise AssertionError("the network was built again")

    monkeypatch.setattr("stem_pipeline.drums.network_graph.build_graph", refuse)
    second = DrumNetOpenVino(precision="float32", cache_dir=tmp_path).separate_segments(drums)
    assert first.tobytes() == second.tobytes()
    assert [*tmp_path.iterdir()] == [kept]
    with pytest.raises(AssertionError):  # other settings are another network
        DrumNetOpenVino(precision="float32", cache_dir=tmp_path, threads=1)


def test_a_damaged_compiled_network_is_made_again(
    in_float32: DrumNetOpenVino, drums: np.ndarray, tmp_path: Path
) -> None:
    DrumNetOpenVino(precision="float32", cache_dir=tmp_path)
    (kept,) = tmp_path.iterdir()
    whole = kept.read_bytes()
    for damage in (b"", b"not a network", whole[:100], whole[: len(whole) // 2], whole[:-1000]):
        kept.unlink()
        kept.write_bytes(damage)
        again = DrumNetOpenVino(precision="float32", cache_dir=tmp_path).separate_segments(drums)
        assert again.tobytes() == in_float32.separate_segments(drums).tobytes()
        assert kept.stat().st_size == len(whole)


def test_neither_the_first_nor_a_cached_start_loads_torch(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from stem_pipeline.drums.model_openvino import DrumNetOpenVino\n"
        "model = DrumNetOpenVino(cache_dir=Path(sys.argv[1]))\n"
        "model.separate_segments(np.ones((1, 2, model.segment_samples), np.float32))\n"
        "print(*{m.split('.')[0] for m in sys.modules} & {'torch', 'demucs', 'librosa', 'onnx'})"
    )
    root = Path(stem_pipeline.__file__).parents[1]
    for _ in ("first", "cached"):
        command = [sys.executable, "-c", code, str(tmp_path)]
        run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=root)
        assert run.stdout.strip() == ""
        assert len([*tmp_path.iterdir()]) == 1


def test_damaged_weights_are_refused_with_a_code(tmp_path: Path) -> None:
    weights = tmp_path / SHIPPED.name
    data = bytearray(SHIPPED.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    weights.with_suffix(".json").write_text(SHIPPED.with_suffix(".json").read_text())
    with pytest.raises(ModelRefused) as damaged:
        DrumNetOpenVino(weights)
    assert damaged.value.code == "model_damaged"
    with pytest.raises(ModelRefused) as missing:
        DrumNetOpenVino(tmp_path / "no.safetensors")
    assert missing.value.code == "model_unavailable"


def test_weights_of_another_shape_are_refused_with_a_code(tmp_path: Path) -> None:
    weights = tmp_path / SHIPPED.name
    weights.write_bytes(SHIPPED.read_bytes())
    card = json.loads(SHIPPED.with_suffix(".json").read_text())
    card["shape"]["context_dilations"] = [1, 2, 4, 8, 16]
    weights.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(ModelRefused) as refusal:
        DrumNetOpenVino(weights)
    assert refusal.value.code == "model_damaged"
