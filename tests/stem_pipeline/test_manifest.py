"""The manifest goes through JSON and comes back equal; equal manifests are equal bytes; what is none is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from stem_pipeline.manifest import SCHEMA, CheckRecord, Manifest, ModelRecord, StemRecord

MANIFEST = Manifest(
    song={"title": "Ünï – “quoted”\n", "id": "0" * 64},
    source={"sample_rate": 44_100, "tags": {"b": "2", "a": "1"}},
    models=[ModelRecord("main", "known-answer", "1", "numpy", None, "MIT", False)],
    settings={"quality": "standard"},
    format={"name": "wav", "bit_depth": "24", "lossless": True},
    gain=0.5,
    stems={"drums": StemRecord("drums.wav", "f" * 64, 10, 44_100, 2, 1, -1.5, None, None, False)},
    analysis={"tempo": {"bpm": 120.5}},
    checks=[CheckRecord("sum", True, -140.2, -100.0, "The residual is −140.2 dBFS")],
    verdict="passed",
    code_version="0.1.0",
)


def test_it_comes_back_equal() -> None:
    assert Manifest.from_json(MANIFEST.to_json()) == MANIFEST


def test_equal_manifests_are_equal_bytes_whatever_the_order_of_their_keys() -> None:
    turned = replace(
        MANIFEST,
        song=dict(reversed(MANIFEST.song.items())),
        source={"tags": {"a": "1", "b": "2"}, "sample_rate": 44_100},
    )
    assert turned.to_json() == MANIFEST.to_json()
    assert replace(MANIFEST, gain=0.25).to_json() != MANIFEST.to_json()


def test_it_says_its_schema_and_ends_with_a_line_break() -> None:
    assert json.loads(MANIFEST.to_json())["schema"] == SCHEMA
    assert MANIFEST.to_json().endswith("}\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_has_not_is_refused_when_written(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        replace(MANIFEST, gain=value).to_json()


def changed(**fields: object) -> str:
    return json.dumps(json.loads(MANIFEST.to_json()) | fields)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not JSON",
        "[]",
        "null",
        "{}",
        changed(schema="stem-pipeline/manifest/2"),
        changed(schema=None),
        changed(stems=None),
        changed(stems=[1]),
        changed(stems={"drums": {"file": "drums.wav"}}),
        changed(models=[{"name": "x", "unknown": 1}]),
        changed(checks=3),
        changed(more="fields than there are"),
        json.dumps({k: v for k, v in json.loads(MANIFEST.to_json()).items() if k != "gain"}),
    ],
)
def test_what_is_no_manifest_of_this_schema_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"schema|manifest|JSON|Expecting"):
        Manifest.from_json(text)
