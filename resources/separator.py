"""Models, loaded once and kept: what a run asks for stems.

Belongs here: which models this installation may load, and keeping them between songs. Separation is
`stem_pipeline.separation`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from stem_pipeline.manifest import ModelRecord
from stem_pipeline.models.catalogue import check_licence, find_model
from stem_pipeline.models.store import Notify, ignore_notice
from stem_pipeline.progress import IsCancelled, OnProgress, ignore_progress, never_cancelled
from stem_pipeline.separation.segment_model import SegmentModel


@dataclass
class Models:
    """Gives models by name; the second asking for one costs nothing."""

    device: str = "auto"
    allow_research_weights: bool = True
    on_progress: OnProgress = ignore_progress
    is_cancelled: IsCancelled = never_cancelled
    notify: Notify = ignore_notice
    _loaded: dict[str, SegmentModel] = field(default_factory=dict)

    def check_allowed(self, name: str) -> None:
        """Raises `ModelRefused` (`model_licence_refused`): asked for what exists as well, not only for what is made."""
        check_licence(find_model(name), self.allow_research_weights)

    def load(self, name: str) -> SegmentModel:
        """Raises what `load_model` does."""
        if name not in self._loaded:
            from stem_pipeline.separation.load import load_model

            self._loaded[name] = load_model(
                name,
                device=self.device,
                allow_research_weights=self.allow_research_weights,
                on_progress=self.on_progress,
                is_cancelled=self.is_cancelled,
                notify=self.notify,
            )
        return self._loaded[name]

    def record(self, stage: str, model: SegmentModel) -> ModelRecord:
        """What a manifest says of a model that took part in `stage` (`main` or `drums`)."""
        card = find_model(model.name)
        return ModelRecord(
            stage=stage,
            name=model.name,
            version=model.version,
            backend=model.backend,
            sha256=card.weights_sha256,
            licence=card.licence.id,
            research_only=card.licence.research_only,
        )
