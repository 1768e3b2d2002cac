"""What a person sees of a materialization in Dagster's UI: pictures and tables.

Belongs here: turning records into metadata values. Pictures are small PNGs inline: Dagster keeps metadata in its
database, so each stays below 100 kB.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets import keys
from quality.pictures import draw
from resources.storage import Storage
from stem_pipeline.manifest import CheckRecord
from stem_pipeline.separation.reader import SampleReader


def pictures(storage: Storage, folder: str, signals: Mapping[str, SampleReader]) -> dict[str, dg.MarkdownMetadataValue]:
    """Waveform and spectrogram of a folder's signals. Drawn once and kept beside them: drawing is most of a repeat's time."""
    found = {}
    row = 1.6 if len(signals) == 1 else 0.8
    for kind in ("waveform", "spectrogram"):
        key = keys.picture(folder, kind)
        if not storage.exists(key):
            storage.write_bytes(key, draw(signals, kind, row=row))
        png = base64.b64encode(storage.read_bytes(key)).decode()
        found[kind] = dg.MetadataValue.md(f"![{kind}](data:image/png;base64,{png})")
    return found


def table(rows: list[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """Rows of plain values under common keys, columns in the first row's order; None shows as –."""
    records = [
        dg.TableRecord({k: ("–" if v is None else round(v, 2) if isinstance(v, float) else v) for k, v in row.items()})
        for row in rows
    ]
    # Left to itself Dagster sorts columns by name, and what a row is about ends up somewhere in the middle.
    columns = [dg.TableColumn(name) for name in rows[0]] if rows else []
    return dg.MetadataValue.table(records, schema=dg.TableSchema(columns))


def check_metadata(checks: list[CheckRecord]) -> dict[str, Any]:
    """One entry a check: its sentence."""
    return {c.name: c.sentence for c in checks}
