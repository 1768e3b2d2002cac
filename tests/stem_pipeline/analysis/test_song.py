"""One pass over blocks gives what the single measurements give, in bounded memory, cancellable."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from generated_songs import RATE, generate

from stem_pipeline.analysis.loudness import measure_levels
from stem_pipeline.analysis.song import analyse
from stem_pipeline.errors import AudioRefused, Cancelled
from stem_pipeline.progress import Progress


def blocks(audio: np.ndarray, length: int = 4096) -> Iterator[np.ndarray]:
    for start in range(0, audio.shape[1], length):
        yield audio[:, start : start + length]


@pytest.fixture(scope="module")
def song():
    return generate(200_100, "rock", 20)


def test_the_cut_into_blocks_does_not_matter(song) -> None:
    stereo = np.stack([song.audio, 0.8 * song.audio])
    fine, whole = analyse(blocks(stereo, 777), RATE, 2), analyse([stereo], RATE, 2)
    assert fine.tempo.bpm == whole.tempo.bpm
    assert fine.key.name == whole.key.name
    assert fine.duration_s == whole.duration_s == pytest.approx(20)
    assert whole.levels.integrated_lufs == pytest.approx(measure_levels(stereo, RATE).integrated_lufs, abs=1e-9)
    assert json.dumps(whole.as_dict(), allow_nan=False)


@pytest.mark.parametrize("shape", [(2, 0), (1, 1), (2, 44_100), (6, 22_050)])
def test_silence_of_any_shape_is_analysed_and_says_none(shape: tuple[int, int]) -> None:
    told = analyse([np.zeros(shape, np.float32)], 44_100, shape[0]).as_dict()
    assert told["tempo"]["bpm"] is None
    assert told["key"]["name"] is None
    assert told["levels"]["integrated_lufs"] is None
    assert told["duration_s"] == shape[1] / 44_100


def test_progress_ends_at_the_total_and_a_cancelled_analysis_stops(song) -> None:
    seen: list[Progress] = []
    stereo = song.audio[None]
    analyse(blocks(stereo), RATE, 1, seen.append, total_samples=stereo.shape[1])
    assert seen[-1].done == seen[-1].total == stereo.shape[1]
    with pytest.raises(Cancelled):
        analyse(blocks(stereo), RATE, 1, is_cancelled=lambda: True)


def test_infinity_is_refused_with_a_code() -> None:
    audio = np.zeros((1, RATE), np.float32)
    audio[0, 100] = np.inf
    with pytest.raises(AudioRefused) as refusal:
        analyse([audio], RATE, 1)
    assert refusal.value.code == "audio_not_finite"


@pytest.mark.slow
def test_ten_hours_need_little_more_memory_than_ten_minutes(song) -> None:
    import tracemalloc

    def peak(hours: float) -> int:
        minute = np.resize(song.audio, 60 * RATE)[None]
        tracemalloc.start()
        analyse((minute for _ in range(round(hours * 60))), RATE, 1)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    # The whole song would be 3.2 GB; what tempo and key keep of ten hours is a fortieth of that before they are worked on.
    assert peak(10) - peak(1 / 6) < 600e6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "bpm", "key"), [("synth_96_Amin", 96, "A minor"), ("synth_142_Fsmin", 142, "F# minor")]
)
def test_the_composed_songs_give_their_tempo_and_key(folder: str, bpm: float, key: str) -> None:
    root = os.environ.get("STEM_PIPELINE_SHARED_AUDIO")
    if not root or not Path(root, "songs", folder).is_dir():
        pytest.skip("STEM_PIPELINE_SHARED_AUDIO does not name a folder with songs/")
    import soundfile

    stems = [
        soundfile.read(f, dtype="float32", always_2d=True) for f in sorted(Path(root, "songs", folder).glob("*.flac"))
    ]
    told = analyse([sum(audio for audio, _ in stems).T], stems[0][1], 2)
    counted = [told.tempo.bpm, *(a.bpm for a in told.tempo.alternatives if a.relation in ("half", "double"))]
    assert any(abs(c / bpm - 1) < 0.01 for c in counted)
    assert told.key.name == key
