"""What a person sees of a materialization in Dagster's UI: pictures and tables.

Belongs here: turning records into metadata values. Pictures are small PNGs inline: Dagster keeps metadata in its
database, so each stays below 100 kB.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import dagster as dg

from stem_pipeline.manifest import CheckRecord


def picture(png: bytes, title: str) -> dg.MarkdownMetadataValue:
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})")


def table(rows: list[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """Rows of plain values under common keys; None shows as –."""
    return dg.MetadataValue.table(
        [
            dg.TableRecord(
                {k: ("–" if v is None else round(v, 2) if isinstance(v, float) else v) for k, v in row.items()}
            )
            for row in rows
        ]
    )


def check_metadata(checks: list[CheckRecord]) -> dict[str, Any]:
    """One entry a check: its sentence."""
    return {c.name: c.sentence for c in checks}
