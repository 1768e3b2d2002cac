"""`stem-pipeline models`: what there is, under what licence, where.

Belongs here: printing. The catalogue and the store are `stem_pipeline.models`.
"""

from __future__ import annotations

import json
import sys

from rich.table import Table

from api import console
from resources.settings import read_settings


def list_all(as_json: bool) -> None:
    """Prints every model of the catalogue."""
    from stem_pipeline.models.store import list_models

    allowed = read_settings().allow_research_weights
    found = list_models()
    if as_json:
        document = {"models": [{**s.card.as_dict(), "kind": s.card.kind, "state": s.state} for s in found]}
        sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
        return
    table = Table(show_lines=True)
    for column in ("model", "separates", "into", "weights", "licence of the weights"):
        table.add_column(column, overflow="fold")
    for status in found:
        card = status.card
        refused = " REFUSED here (allow_research_weights=false)." if card.licence.research_only and not allowed else ""
        table.add_row(
            f"{card.name}@{card.version}",
            "a song" if card.kind == "main" else "a drums stem",
            ", ".join(card.sources),
            status.state,
            f"{card.licence.id}: {card.licence.sentence}{refused}",
        )
    console.output().print(table)


def fetch(name: str) -> None:
    """Fetches and proves a model's weights. Raises `ModelRefused`."""
    from stem_pipeline.models.catalogue import check_licence, find_model
    from stem_pipeline.models.store import ensure_weights

    card = find_model(name)
    check_licence(card, read_settings().allow_research_weights)
    if not card.has_weights:
        console.output().print(f"{card.name} has no weights: there is nothing to fetch.")
        return
    with console.progress_bars(quiet=False) as on_progress:
        path = ensure_weights(
            card, on_progress, notify=lambda s: console.errors.print(s, highlight=False, markup=False)
        )
    console.output().print(f"{card.name}@{card.version} is here: {path.name}, proven by sha256.", highlight=False)
