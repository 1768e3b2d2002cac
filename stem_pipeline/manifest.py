"""The manifest that travels with every result: what went in, what made it, what came out, and that it holds.

Belongs here: the document's shape. It says nothing of when or how fast, so that equal work gives equal bytes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA = "stem-pipeline/manifest/1"
FILE_NAME = "manifest.json"


@dataclass(frozen=True)
class ModelRecord:
    """A model that took part. `sha256` of its weights as loaded; None for a model without weights."""

    stage: str
    name: str
    version: str
    backend: str
    sha256: str | None
    licence: str
    research_only: bool


@dataclass(frozen=True)
class StemRecord:
    """One delivered file. Levels are of the delivered signal; `None` is silence. `true_peak` in dBTP."""

    file: str
    sha256: str
    bytes: int
    sample_rate: int
    channels: int
    samples: int
    peak_dbfs: float | None
    true_peak_dbtp: float | None
    integrated_lufs: float | None
    silent: bool


@dataclass(frozen=True)
class CheckRecord:
    """A check's name, whether it held, what was measured and against which bound."""

    name: str
    passed: bool
    measured: float | int | str | None
    bound: float | int | str | None
    sentence: str


@dataclass(frozen=True)
class Manifest:
    """`gain`: the one linear gain shared by all stems: Σ stems = gain · source."""

    song: dict[str, Any]
    source: dict[str, Any]
    models: list[ModelRecord]
    settings: dict[str, Any]
    format: dict[str, Any]
    gain: float
    stems: dict[str, StemRecord]
    analysis: dict[str, Any]
    checks: list[CheckRecord]
    verdict: str
    code_version: str
    schema: str = field(default=SCHEMA)

    def to_json(self) -> str:
        """Sorted keys, no NaN or infinity: equal manifests are equal bytes."""
        return json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Raises ValueError if the document is no manifest of this schema."""
        try:
            raw = json.loads(text)
            if raw.get("schema") != SCHEMA:
                raise ValueError(f"the schema is {raw.get('schema')!r}, not {SCHEMA!r}")
            raw["models"] = [ModelRecord(**m) for m in raw["models"]]
            raw["stems"] = {name: StemRecord(**s) for name, s in raw["stems"].items()}
            raw["checks"] = [CheckRecord(**c) for c in raw["checks"]]
            return cls(**raw)
        except (TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a manifest: {error}") from error
