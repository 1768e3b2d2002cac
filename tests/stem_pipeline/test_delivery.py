"""Delivered files still add up: decoded again, at every lossless format, rate and width, whichever stems are wanted."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_answer_model import KnownAnswerModel

from quality.exactness import find_lag
from stem_pipeline.audio import parse_format, read_stem
from stem_pipeline.delivery import write_deliverables
from stem_pipeline.errors import Cancelled
from stem_pipeline.progress import Progress
from stem_pipeline.rounding import shared_gain
from stem_pipeline.separation.reader import ArrayReader
from stem_pipeline.separation.separator import Separator
from stem_pipeline.stems import ALL_STEMS, DRUM_PARTS, MAIN_STEMS

LOSSLESS = (("wav", "16"), ("wav", "24"), ("wav", "32f"), ("flac", "16"), ("flac", "24"))


def separated(audio: np.ndarray, rate: int) -> dict[str, np.ndarray]:
    """All eight stems, by models of known answer."""
    main = Separator(KnownAnswerModel()).separate(audio, rate)
    return main | Separator(KnownAnswerModel(DRUM_PARTS)).separate(main["drums"], rate)


def music(channels: int, samples: int, level: float = 0.2) -> np.ndarray:
    return np.random.default_rng(channels).normal(0, level, (channels, samples)).astype(np.float32)


def deliver(
    folder: Path,
    audio: np.ndarray,
    rate: int,
    name: str,
    depth: str | None,
    wanted: Iterable[str] = ALL_STEMS,
    gain: float | None = None,
    **options: object,
) -> tuple[dict[str, np.ndarray], float]:
    """Writes and decodes again; gives what the files hold, and the gain."""
    fmt = parse_format(name, depth)
    stems = separated(audio, rate)
    if gain is None:
        gain = shared_gain(max(float(np.abs(s).max()) for s in stems.values()), fmt.bits if fmt.integer else None)
    masters = {s: ArrayReader(stem, rate) for s, stem in stems.items()}
    wanted = tuple(wanted)
    files = write_deliverables(
        ArrayReader(audio, rate), masters, wanted, fmt, gain, folder, {s: {"title": s} for s in wanted}, **options
    )  # type: ignore[arg-type]
    assert sorted(p.name for p in folder.iterdir()) == sorted(f"{s}.{fmt.extension}" for s in wanted)
    return {s: read_stem(file, rate, audio.shape[1]) for s, file in files.items()}, gain


def residual_dbfs(parent: np.ndarray, children: dict[str, np.ndarray], names: tuple[str, ...]) -> float:
    error = parent.astype(np.float64) - np.sum([children[s].astype(np.float64) for s in names], axis=0)
    return float(20 * np.log10(max(1e-30, np.sqrt(np.mean(np.square(error), axis=1)).max())))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize(("name", "depth"), LOSSLESS)
def test_decoded_again_both_levels_add_up(tmp_path: Path, name: str, depth: str, rate: int, channels: int) -> None:
    audio = music(channels, rate // 4 + 1)
    held, gain = deliver(tmp_path, audio, rate, name, depth)
    assert gain == 1
    assert all(stem.shape == audio.shape for stem in held.values())
    # 16 bits: the source itself is rounded once, −101 dBFS; the stems add nothing to that.
    assert residual_dbfs(audio, held, MAIN_STEMS) <= -100
    assert residual_dbfs(held["drums"], held, DRUM_PARTS) <= (-130 if depth == "32f" else -400)


@pytest.mark.parametrize("level", [0.4, 3.0])
@pytest.mark.parametrize(("name", "depth"), LOSSLESS)
def test_a_song_over_full_scale_adds_up_with_its_gain(tmp_path: Path, name: str, depth: str, level: float) -> None:
    audio = music(2, 10_000, level)
    assert np.abs(audio).max() > 1
    held, gain = deliver(tmp_path, audio, 44_100, name, depth)
    if depth == "32f":
        assert gain == 1
    else:
        assert (gain < 1) == (level == 3.0)  # at 0.4 the mixture is over full scale and none of its stems is
        assert all(np.abs(stem).max() < 1 for stem in held.values())
    assert residual_dbfs(gain * audio.astype(np.float64), held, MAIN_STEMS) <= -100
    assert residual_dbfs(held["drums"], held, DRUM_PARTS) <= -100


@settings(deadline=None, max_examples=25)
@given(
    samples=st.integers(1, 3_000), channels=st.integers(1, 6), level=st.sampled_from((1e-4, 0.2, 2.0)),
    form=st.sampled_from([f for f in LOSSLESS if f[1] != "32f"]),
)  # fmt: skip
def test_at_any_length_width_and_level_the_delivered_integers_add_up_exactly(
    samples: int, channels: int, level: float, form: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    audio = music(channels, samples, level)
    held, gain = deliver(tmp_path_factory.mktemp("delivery"), audio, 44_100, *form)
    steps = 2 ** (int(form[1]) - 1)
    source = np.rint(audio.astype(np.float64) * (gain * steps))
    main = np.sum([held[s].astype(np.float64) * steps for s in MAIN_STEMS], axis=0)
    parts = np.sum([held[s].astype(np.float64) * steps for s in DRUM_PARTS], axis=0)
    np.testing.assert_array_equal(main, source)
    np.testing.assert_array_equal(parts, held["drums"].astype(np.float64) * steps)


@pytest.mark.parametrize(("name", "depth"), LOSSLESS)
def test_a_stem_has_the_same_bytes_whichever_others_are_wanted(tmp_path: Path, name: str, depth: str) -> None:
    audio = music(2, 9_000, 0.5)
    kept: dict[str, set[bytes]] = {}
    for number, wanted in enumerate([ALL_STEMS, MAIN_STEMS, ("other",), ("drums", "cymbals"), ("kick",)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        deliver(folder, audio, 44_100, name, depth, wanted, gain=0.5)
        for file in folder.iterdir():
            kept.setdefault(file.stem, set()).add(file.read_bytes())
    assert set(kept) == set(ALL_STEMS)
    assert all(len(versions) == 1 for versions in kept.values())


@pytest.mark.parametrize("name", ["mp3", "opus", "ogg", "m4a"])
def test_lossy_stems_have_the_sources_length_and_lag_0(tmp_path: Path, name: str) -> None:
    # Noise below some 3 kHz: what every codec keeps as it is.
    audio = np.stack([np.convolve(row, np.hanning(18), mode="same") for row in music(2, 40_000, 0.05)])
    audio = audio.astype(np.float32)
    held, _ = deliver(tmp_path, audio, 44_100, name, None, ("drums", "vocals"))
    for stem in held.values():
        assert stem.shape == audio.shape
        assert find_lag(audio, stem) == 0


@pytest.mark.parametrize(("name", "depth"), [("wav", "24"), ("flac", "16"), ("mp3", None)])
def test_a_cancel_leaves_no_file(tmp_path: Path, name: str, depth: str | None) -> None:
    audio = music(1, 600_000)  # three blocks
    events: list[Progress] = []
    with pytest.raises(Cancelled):
        deliver(
            tmp_path, audio, 44_100, name, depth, MAIN_STEMS,
            on_progress=events.append, is_cancelled=lambda: events[-1:] != [] and events[-1].done == 1,
        )  # fmt: skip
    assert [e.done for e in events] == [0, 1]
    assert not list(tmp_path.iterdir())


def test_a_failure_half_way_leaves_no_file(tmp_path: Path) -> None:
    class Breaks(ArrayReader):
        def read(self, start: int, stop: int) -> np.ndarray:
            if start:
                raise OSError("the disk is gone")
            return super().read(start, stop)

    audio = music(1, 600_000)
    masters = {s: ArrayReader(audio, 44_100) for s in MAIN_STEMS} | {"vocals": Breaks(audio, 44_100)}
    with pytest.raises(OSError, match="the disk is gone"):
        write_deliverables(
            ArrayReader(audio, 44_100), masters, MAIN_STEMS, parse_format("wav", "24"), 0.5, tmp_path, {}
        )
    assert not list(tmp_path.iterdir())


def test_progress_counts_blocks_up_to_the_total(tmp_path: Path) -> None:
    events: list[Progress] = []
    deliver(tmp_path, music(1, 600_000), 44_100, "wav", "16", ("vocals",), on_progress=events.append)
    assert [(e.stage, e.done, e.total) for e in events] == [("encode", n, 3) for n in range(4)]
