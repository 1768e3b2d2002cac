"""The job one song runs through.

Belongs here: job definitions. In process: models stay loaded from one asset to the next, and nothing pays five
interpreter starts.
"""

from __future__ import annotations

import dagster as dg

from assets.analysis import analysis
from assets.delivery import delivery
from assets.source import source
from assets.stems import drum_stems, main_stems

SONG_ASSETS = (source, analysis, main_stems, drum_stems, delivery)

separate_song = dg.define_asset_job(
    "separate_song",
    selection=dg.AssetSelection.assets(*SONG_ASSETS),
    description="One song: decoded, analysed, separated at both levels, delivered, proven.",
    executor_def=dg.in_process_executor,
)
