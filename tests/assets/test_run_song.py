"""One song through the whole job, in process, with models whose answers are known."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import numpy as np
import pytest
import soundfile
from known_answer_model import KnownAnswerModel
from known_song import KnownModels, Pipeline, write_song

from assets import keys
from assets.delivery import delivery_key
from assets.request import SongRequest
from resources.separator import Models
from stem_pipeline.errors import Cancelled, StemPipelineError
from stem_pipeline.progress import Progress
from stem_pipeline.stems import ALL_STEMS, DRUM_PARTS, MAIN_STEMS


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_song(tmp_path_factory.mktemp("song") / "A song.wav")


@pytest.fixture(scope="module")
def separated(song: Path, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A home in which `song` has been separated once, in the default format."""
    pipeline = Pipeline(tmp_path_factory.mktemp("home"))
    pipeline.run(song)
    return pipeline


def decoded(pipeline: Pipeline, run, stem: str) -> np.ndarray:
    with pipeline.storage.local_copy(f"{run.folder}/{run.manifest.stems[stem].file}") as file:
        return soundfile.read(file, dtype="float64", always_2d=True)[0]


def test_a_song_gives_eight_stems_that_add_up_on_both_levels(separated: Pipeline, song: Path) -> None:
    run = separated.run(song)
    assert run.manifest.verdict == "passed"
    assert tuple(run.manifest.stems) == tuple(sorted(ALL_STEMS)) or set(run.manifest.stems) == set(ALL_STEMS)
    source = soundfile.read(song, dtype="float64")[0]
    stems = {stem: decoded(separated, run, stem) for stem in ALL_STEMS}
    for parts, parent in ((MAIN_STEMS, source), (DRUM_PARTS, stems["drums"])):
        residual = sum(stems[s] for s in parts) - parent
        assert residual.shape == parent.shape
        assert np.sqrt(np.mean(residual**2)) < 1e-5  # the contract: −100 dBFS


def test_a_repeat_is_served_and_asks_no_model(separated: Pipeline, song: Path) -> None:
    before = separated.models.calls
    run = separated.run(song)
    assert separated.models.calls == before > 0
    assert set(run.reused) == {"source", "main_stems", "analysis", "drum_stems", "delivery"}


@pytest.mark.parametrize("request_fields", [{"format": "flac"}, {"bit_depth": "16"}, {"title": "Another name"}])
def test_another_format_or_name_costs_no_second_separation(
    separated: Pipeline, song: Path, request_fields: dict[str, str]
) -> None:
    before = separated.models.calls
    run = separated.run(song, **request_fields)
    assert separated.models.calls == before
    assert "delivery" not in run.reused
    assert run.manifest.verdict == "passed"


def test_a_subset_delivers_what_was_asked_for_and_nothing_else(separated: Pipeline, song: Path) -> None:
    run = separated.run(song, stems=["vocals", "kick"])
    assert set(run.manifest.stems) == {"vocals", "kick"}
    folder = {key.rsplit("/", 1)[1] for key in separated.storage.keys(run.folder)}
    assert folder == {"vocals.wav", "kick.wav", "manifest.json"}


def test_without_drum_parts_the_drum_model_is_never_asked(song: Path, tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path)
    run = pipeline.run(song, stems=list(MAIN_STEMS))
    assert set(run.manifest.stems) == set(MAIN_STEMS)
    assert pipeline.models.main.calls > 0
    assert pipeline.models.drums.calls == 0


def test_two_homes_deliver_the_same_bytes(separated: Pipeline, song: Path, tmp_path: Path) -> None:
    there, here = separated, Pipeline(tmp_path)
    assert here.delivered(here.run(song)) == there.delivered(there.run(song))


def test_the_name_of_the_file_does_not_change_the_song(separated: Pipeline, song: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "ünïcødé – 日本語.wav"
    renamed.write_bytes(song.read_bytes())
    before = separated.models.calls
    assert separated.run(renamed).song == separated.run(song).song
    assert separated.models.calls == before


def test_a_stem_damaged_in_storage_is_withheld_by_a_blocking_check(song: Path, tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path)
    run = pipeline.run(song, stems=list(MAIN_STEMS))
    wanted = SongRequest(stems=list(MAIN_STEMS), format="flac").parsed()
    with pipeline.storage.local_copy(keys.stem_audio(wanted.main_folder(run.song), "bass")) as bass:
        damaged = bytearray(bass.read_bytes())
        damaged[-40_000:-20_000] = bytes(20_000)
        bass.write_bytes(damaged)
    with pytest.raises(StemPipelineError) as refused:
        pipeline.run(song, stems=list(MAIN_STEMS), format="flac")
    assert refused.value.code == "contract_broken"
    assert "residual" in refused.value.message
    assert not pipeline.storage.keys(delivery_key(run.song, wanted))


def test_a_delivered_file_damaged_in_storage_is_not_served_again(song: Path, tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path)
    run = pipeline.run(song, stems=["vocals"])
    with pipeline.storage.local_copy(f"{run.folder}/vocals.wav") as file:
        file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(StemPipelineError) as refused:
        pipeline.run(song, stems=["vocals"])
    assert refused.value.code == "contract_broken"


def test_a_model_that_answers_nan_delivers_nothing(song: Path, tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, KnownModels(main=KnownAnswerModel(segment_samples=44_100, not_finite=True)))
    with pytest.raises(StemPipelineError) as refused:
        pipeline.run(song)
    assert refused.value.code in ("contract_broken", "internal")
    assert not [k for k in pipeline.storage.keys("") if k.startswith("deliveries/")]


@pytest.mark.parametrize(
    ("content", "code"),
    [(None, "audio_not_found"), (b"", "audio_empty"), (b"no audio at all" * 99, "audio_undecodable")],
)
def test_what_is_no_song_is_refused_with_a_code_and_leaves_no_stems(
    content: bytes | None, code: str, tmp_path: Path
) -> None:
    pipeline = Pipeline(tmp_path / "home")
    file = tmp_path / "x.wav"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(StemPipelineError) as refused:
        pipeline.run(file)
    assert refused.value.code == code
    assert str(tmp_path) not in refused.value.message
    assert not [k for k in pipeline.storage.keys("") if k.startswith(("stems/", "deliveries/"))]
    assert pipeline.models.calls == 0


def test_weights_of_a_refused_licence_are_refused_even_where_their_stems_exist(separated: Pipeline, song: Path) -> None:
    pipeline = Pipeline(separated.home, Models(allow_research_weights=False))
    with pytest.raises(StemPipelineError) as refused:
        pipeline.run(song)
    assert refused.value.code == "model_licence_refused"


def test_cancelling_between_segments_is_coded_and_publishes_no_stem(song: Path, tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path)
    seen: list[Progress] = []
    pipeline.around.on_progress = seen.append
    pipeline.around.is_cancelled = lambda: any(e.stage == "main" and e.done for e in seen)
    with pytest.raises(StemPipelineError) as cancelled:
        pipeline.run(song)
    assert cancelled.value.code == Cancelled().code
    assert not [k for k in pipeline.storage.keys("") if k.startswith("stems/")]
    assert not list((tmp_path / "storage" / ".scratch").iterdir())


def test_the_run_in_dagster_has_the_partition_and_what_a_person_wants_to_see(separated: Pipeline, song: Path) -> None:
    run = separated.run(song)
    record = separated.instance.get_latest_materialization_event(dg.AssetKey("main_stems"))
    assert record is not None
    made = record.asset_materialization
    assert made is not None
    assert made.partition == run.song
    assert {"waveform", "spectrogram", "stems", "model", "licence", "seconds", "served_from"} <= set(made.metadata)
    assert separated.instance.has_dynamic_partition("songs", run.song)
