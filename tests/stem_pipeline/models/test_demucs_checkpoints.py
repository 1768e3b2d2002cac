"""Demucs' pickled packages: the classic htdemucs file and DrumSep.

DrumSep's own file is in no registry: the packages here are made, and the tests' names say so.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs

from stem_pipeline.errors import ModelRefused
from stem_pipeline.models import find_model, load_drumsep
from stem_pipeline.models.canonical import state_from_safetensors
from stem_pipeline.models.checkpoint import read_demucs_package
from stem_pipeline.models.conversion import canonical_from_file

SPANISH = ["bombo", "redoblante", "platillos", "toms"]


def _made_network(sources: list[str]) -> HDemucs:
    """Hybrid Demucs with four channels instead of 48: the same modules, small enough for a test."""
    torch.manual_seed(1)
    return HDemucs(sources=sources, channels=4).eval()


def _save(path: Path, network: HDemucs, **changes: Any) -> Path:
    """As `demucs.states.serialize_model` leaves a model: half precision, the class itself, the trainer's settings."""
    args, kwargs = network._init_args_kwargs
    package = {
        "klass": type(network),
        "args": args,
        "kwargs": kwargs,
        "state": {name: tensor.half() for name, tensor in network.state_dict().items()},
        "training_args": {"dset": {"segment": 11, "sources": list(network.sources)}, "seed": 42},
    }
    torch.save({**package, **changes}, path)
    return path


def test_a_made_drumsep_package_not_the_published_one_loads_with_our_names(tmp_path: Path) -> None:
    original = _made_network(SPANISH)
    network = load_drumsep(_save(tmp_path / "49469ca8.th", original))
    assert network.sources == ["kick", "snare", "cymbals", "toms"]
    assert not network.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, original.state_dict()[name].half().float()), name
    with torch.inference_mode():
        assert network(torch.zeros(1, 2, 44_100)).shape == (1, 4, 2, 44_100)


def test_our_names_follow_the_order_that_the_made_package_has(tmp_path: Path) -> None:
    order = ["platillos", "toms", "bombo", "redoblante"]
    assert load_drumsep(_save(tmp_path / "49469ca8.th", _made_network(order))).sources == [
        "cymbals",
        "toms",
        "kick",
        "snare",
    ]


def test_options_of_an_older_trainer_are_left_out(tmp_path: Path) -> None:
    kwargs = {"sources": SPANISH, "channels": 4, "an_option_long_gone": 3}
    assert load_drumsep(_save(tmp_path / "49469ca8.th", _made_network(SPANISH), kwargs=kwargs)).sources[0] == "kick"


@pytest.mark.parametrize(
    "changes",
    [
        {"kwargs": {"sources": ["drums", "bass", "other", "vocals"], "channels": 4}},
        {"kwargs": {"sources": SPANISH, "channels": 8}},
        {"kwargs": {"sources": SPANISH, "channels": 4, "samplerate": 22_050}},
        {"klass": HTDemucs},
        {"klass": "demucs.hdemucs.HDemucs"},
        {"state": {}},
        {"state": {"__quantized": True}},
        {"args": None},
    ],
    ids=["other stems", "other width", "other rate", "other network", "no class", "no weights", "quantised", "no args"],
)
def test_a_package_that_is_not_drumsep_is_refused_as_damaged(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = _save(tmp_path / "49469ca8.th", _made_network(SPANISH), **changes)
    with pytest.raises(ModelRefused) as refused:
        load_drumsep(path)
    assert refused.value.code == "model_damaged"
    assert str(tmp_path) not in refused.value.message


class _Malicious:
    """Unpickled freely, it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.trace,))


def test_a_package_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    path = _save(tmp_path / "49469ca8.th", _made_network(SPANISH), extra=_Malicious(trace))
    with pytest.raises(ModelRefused) as refused:
        load_drumsep(path)
    assert refused.value.code == "model_damaged"
    assert not trace.exists()


def test_a_name_that_carries_a_hash_must_hold_it(tmp_path: Path) -> None:
    saved = _save(tmp_path / "made.th", _made_network(SPANISH))
    digest = hashlib.sha256(saved.read_bytes()).hexdigest()
    right = saved.rename(tmp_path / f"49469ca8-{digest[:8]}.th")
    assert read_demucs_package(right).klass == "demucs.hdemucs.HDemucs"
    wrong = right.rename(tmp_path / f"49469ca8-{digest[8:16]}.th")
    with pytest.raises(ModelRefused) as refused:
        read_demucs_package(wrong)
    assert refused.value.code == "model_damaged"


def test_the_classic_htdemucs_package_becomes_the_canonical_file(htdemucs_weights: Path, tmp_path: Path) -> None:
    """Made from the real tensors in the classic layout: the published file's own hash is not to be had here."""
    state = state_from_safetensors(htdemucs_weights.read_bytes())
    path = tmp_path / "955717e8.th"
    torch.save(
        {
            "klass": HTDemucs,
            "args": (),
            "kwargs": {"sources": ["drums", "bass", "other", "vocals"], "segment": Fraction(39, 5)},
            "state": {name: torch.from_numpy(np.array(array)) for name, array in state.items()},
            "training_args": {},
        },
        path,
    )
    assert read_demucs_package(path).kwargs["segment"] == Fraction(39, 5)
    assert canonical_from_file(find_model("htdemucs"), path) == htdemucs_weights.read_bytes()
