"""What every asset needs around it: storage, models, progress, the way to stop. One resource, so that a test or the
command line replaces it whole.

Belongs here: the bundle and how it is built from settings. Does not belong here: what a song is asked for (request.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from resources.separator import Models
from resources.settings import Settings
from resources.storage import LocalStorage, Storage
from stem_pipeline.audio import Limits
from stem_pipeline.progress import IsCancelled, OnProgress, ignore_progress, never_cancelled


@dataclass
class Surroundings:
    storage: Storage
    models: Models
    limits: Limits
    on_progress: OnProgress = ignore_progress
    is_cancelled: IsCancelled = never_cancelled


def surroundings_from(settings: Settings) -> Surroundings:
    """The real ones, as the environment says."""
    return Surroundings(
        storage=LocalStorage(settings.storage_root),
        models=Models(device=settings.device, allow_research_weights=settings.allow_research_weights),
        limits=Limits(max_seconds=settings.max_seconds, max_bytes=settings.max_bytes),
    )
