"""The code location: the only place where assets, checks, jobs and resources are joined.

Belongs here: `build_defs` and the `defs` Dagster loads. Loading it imports neither torch nor librosa.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets.delivery import delivery_holds
from assets.jobs import SONG_ASSETS, separate_song
from assets.request import SongRequest
from assets.stems import drum_stems_are_exact, main_stems_are_exact
from assets.surroundings import surroundings_from
from resources.settings import read_settings


def build_defs(*, resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """All definitions; `resource_overrides` replaces resources by name (`surroundings`, `request`)."""
    resources: dict[str, Any] = {"request": SongRequest(), **(resource_overrides or {})}
    if "surroundings" not in resources:
        resources["surroundings"] = surroundings_from(read_settings())
    return dg.Definitions(
        assets=list(SONG_ASSETS),
        asset_checks=[main_stems_are_exact, drum_stems_are_exact, delivery_holds],
        jobs=[separate_song],
        resources=resources,
        executor=dg.in_process_executor,
    )


defs = build_defs()
