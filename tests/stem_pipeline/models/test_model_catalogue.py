"""The catalogue's facts hold together, and it says no by code."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from stem_pipeline.errors import ModelRefused
from stem_pipeline.models import ModelCard, check_licence, find_model, model_cards
from stem_pipeline.stems import PARENT


def test_an_unknown_model_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ModelRefused) as refused:
        find_model("spleeter")
    assert refused.value.code == "model_unknown"
    assert all(card.name in refused.value.message for card in model_cards())


def test_a_model_is_found_however_its_name_is_written() -> None:
    assert find_model(" HTDemucs ").name == "htdemucs"


def test_research_only_weights_are_refused_unless_the_operator_allows_them() -> None:
    card = find_model("htdemucs")
    with pytest.raises(ModelRefused) as refused:
        check_licence(card, allow_research_weights=False)
    assert refused.value.code == "model_licence_refused"
    assert card.licence.sentence in refused.value.message
    check_licence(card, allow_research_weights=True)


def test_a_model_whose_licence_allows_paid_work_is_never_refused() -> None:
    check_licence(find_model("nmf-drums"), allow_research_weights=False)


@pytest.mark.parametrize("card", model_cards(), ids=lambda card: card.name)
def test_a_models_sources_are_exactly_the_children_of_what_it_separates(card: ModelCard) -> None:
    parent = {"main": "mixture", "drums": "drums"}[card.kind]
    assert sorted(card.sources) == sorted(stem for stem, of in PARENT.items() if of == parent)


@pytest.mark.parametrize("card", model_cards(), ids=lambda card: card.name)
def test_every_model_with_weights_can_be_had_somewhere_and_says_so_in_a_manifest(card: ModelCard) -> None:
    assert bool(card.origins or card.accepts) == card.has_weights
    assert json.loads(json.dumps(card.as_dict()))["licence"]["allows_paid"] is card.licence.allows_paid


def test_the_catalogue_and_the_store_load_no_heavy_library() -> None:
    code = (
        "import sys; from stem_pipeline.models import list_models, ensure_weights; list_models();"
        "print([m for m in ('torch', 'onnx', 'demucs', 'librosa', 'huggingface_hub', 'httpx') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
