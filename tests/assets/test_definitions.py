"""The code location: what is in it and how it hangs together."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
from known_song import Pipeline

from assets.definitions import build_defs


def names(assets: set[dg.AssetKey]) -> set[str]:
    return {key.to_user_string() for key in assets}


def test_the_asset_graph_is_the_one_that_was_decided() -> None:
    graph = build_defs().resolve_asset_graph()
    found = {n.key.to_user_string(): names(set(n.parent_keys)) for n in graph.asset_nodes}
    assert found == {
        "source": set(),
        "main_stems": {"source"},
        "analysis": {"source", "main_stems"},  # it listens to the drums
        "drum_stems": {"main_stems"},
        "delivery": {"source", "analysis", "main_stems", "drum_stems"},
    }
    assert all(n.partitions_def and n.partitions_def.name == "songs" for n in graph.asset_nodes)  # type: ignore[attr-defined]


def test_every_edge_into_delivery_is_guarded_by_a_blocking_check() -> None:
    checks = {
        spec.name: (spec.asset_key.to_user_string(), spec.blocking)
        for definition in build_defs().asset_checks or []
        for spec in definition.check_specs  # type: ignore[union-attr]
    }
    assert checks == {
        "main_stems_are_exact": ("main_stems", True),
        "drum_stems_are_exact": ("drum_stems", True),
        "delivery_holds": ("delivery", True),
    }


def test_the_job_runs_all_assets_in_this_process() -> None:
    job = build_defs().resolve_job_def("separate_song")
    assert len(job.asset_layer.executable_asset_keys) == 5
    assert job.executor_def is dg.in_process_executor


def test_a_resource_can_be_replaced_by_name(tmp_path: Path) -> None:
    around = Pipeline(tmp_path).around
    definitions = build_defs(resource_overrides={"surroundings": around})
    assert (definitions.resources or {})["surroundings"] is around


def test_all_definitions_load_as_dagster_loads_them() -> None:
    dg.Definitions.validate_loadable(build_defs())
