"""The engine's contract at any length, rate, number of channels and level: length, lag 0, and a sum that holds.

The model's answer is known exactly here; the networks have tests of their own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from known_answer_model import KnownAnswerModel

from quality.exactness import find_lag
from stem_pipeline.errors import Cancelled, RunFailed
from stem_pipeline.progress import Progress
from stem_pipeline.separation.engine import channel_groups, measure_normalisation, separate_stream
from stem_pipeline.separation.reader import ArrayReader
from stem_pipeline.separation.segment_model import SegmentModel
from stem_pipeline.stems import DRUM_PARTS, MAIN_STEMS

SEGMENT = 2_000
RATES = (8_000, 12_345, 22_050, 44_100, 48_000, 96_000)
# Around the ends of one segment, of two, of several (stride 1,500 at overlap 0.25), to the sample.
LENGTHS = (0, 1, 2, SEGMENT - 1, SEGMENT, SEGMENT + 1, 3_499, 3_500, 3_501, 7_999, 8_000, 8_001)


def separate(
    mixture: np.ndarray, rate: int = 44_100, model: KnownAnswerModel | None = None, overlap: float = 0.25
) -> dict[str, np.ndarray]:
    model = model or KnownAnswerModel()
    blocks = list(separate_stream(model, ArrayReader(mixture, rate), overlap=overlap))
    empty = np.zeros((len(model.sources), *mixture.shape[:1], 0), np.float32)
    return dict(zip(model.sources, np.concatenate([empty, *blocks], axis=-1), strict=True))


def noise(channels: int, samples: int, level: float = 0.2, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(0, level, (channels, samples))).astype(np.float32)


def residual(mixture: np.ndarray, stems: dict[str, np.ndarray]) -> np.ndarray:
    return mixture.astype(np.float64) - np.sum([s.astype(np.float64) for s in stems.values()], axis=0)


def rms(signal: np.ndarray) -> float:
    return float(np.sqrt(np.square(signal, dtype=np.float64).sum() / max(1, signal.size)))


def rms_db(signal: np.ndarray) -> float:
    return float(20 * np.log10(max(1e-30, rms(signal))))


def test_the_known_answer_model_plays_the_protocol() -> None:
    assert isinstance(KnownAnswerModel(), SegmentModel)


@settings(deadline=None, max_examples=60)
@given(
    samples=st.one_of(st.sampled_from(LENGTHS), st.integers(0, 9_000)),
    rate=st.sampled_from(RATES),
    channels=st.integers(1, 6),
    level=st.sampled_from((1e-4, 1e-2, 0.2, 1.0, 10.0)),
    offset=st.sampled_from((0.0, 0.0, 0.5)),
    normalised=st.booleans(),
    overlap=st.sampled_from((0.0, 0.1, 0.25, 0.5)),
)
@example(samples=0, rate=96_000, channels=6, level=0.2, offset=0.0, normalised=True, overlap=0.25)
@example(samples=1, rate=96_000, channels=1, level=0.2, offset=0.5, normalised=True, overlap=0.25)
@example(samples=8_001, rate=12_345, channels=5, level=10.0, offset=0.5, normalised=True, overlap=0.5)
def test_at_any_length_rate_channels_and_level_the_stems_have_the_length_and_add_up(
    samples: int, rate: int, channels: int, level: float, offset: float, normalised: bool, overlap: float
) -> None:
    mixture = noise(channels, samples, level, seed=samples) + np.float32(offset)
    stems = separate(mixture, rate, KnownAnswerModel(normalised=normalised), overlap)
    assert all(stem.shape == mixture.shape and stem.dtype == np.float32 for stem in stems.values())
    assert all(np.isfinite(stem).all() for stem in stems.values())
    # The remainder is rounded to float32 once: 2^−25 of its largest sample, −150 dB. The contract is −100 dBFS.
    error = rms(residual(mixture, stems))
    assert error <= 10 ** (-130 / 20) * (level + abs(offset))
    assert error <= 1e-5 or level > 1


@settings(deadline=None, max_examples=25)
@given(
    samples=st.integers(1_000, 9_000), rate=st.sampled_from(RATES), channels=st.integers(1, 3), normalised=st.booleans()
)
def test_every_stem_lies_where_the_mixture_lies_to_the_sample(
    samples: int, rate: int, channels: int, normalised: bool
) -> None:
    mixture = noise(channels, samples, seed=samples)
    for stem in separate(mixture, rate, KnownAnswerModel(normalised=normalised)).values():
        assert find_lag(mixture, stem) == 0


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("rate", [22_050, 44_100, 96_000])
def test_a_model_that_misses_nothing_is_left_as_it_answered(rate: int, normalised: bool) -> None:
    time = np.arange(rate) / rate  # whole cycles: no mean, which would be the remainder's
    mixture = np.stack([np.sin(2 * np.pi * 997 * time), 0.5 * np.sin(2 * np.pi * 3_001 * time)]).astype(np.float32)
    model = KnownAnswerModel(miss=0.0, normalised=normalised)
    inside = slice(6_000, -6_000)  # a song that starts and ends in the middle of a tone has no band there
    for stem, fraction in zip(MAIN_STEMS, (0.4, 0.3, 0.2, 0.1), strict=True):
        error = separate(mixture, rate, model)[stem] - fraction * mixture
        assert rms_db(error[:, inside]) < -100, stem


def test_what_the_model_misses_is_given_to_all_stems_and_not_to_one() -> None:
    mixture = noise(2, 20_000)
    stems = separate(mixture, model=KnownAnswerModel(miss=0.1))
    kept = {s: rms(stems[s]) / rms(mixture) for s in MAIN_STEMS}
    # Shared by magnitude, all would be whole again: 0.4, 0.3, 0.2, 0.1. Given to `other` alone, it would double.
    assert kept["drums"] > 0.4 * 0.95
    assert kept["other"] < 0.1 * 1.5


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_silence_gives_silence_and_costs_no_call(channels: int) -> None:
    model = KnownAnswerModel(normalised=True)
    stems = separate(np.zeros((channels, 10_000), np.float32), 48_000, model)
    assert not any(stem.any() for stem in stems.values())
    assert model.calls == 0


def test_a_silent_passage_costs_no_call() -> None:
    mixture = noise(2, 20_000)
    mixture[:, 5_000:15_000] = 0
    model = KnownAnswerModel()
    separate(mixture, model=model)
    whole = KnownAnswerModel()
    separate(noise(2, 20_000), model=whole)
    assert model.segments < whole.segments


@pytest.mark.parametrize("rate", [22_050, 44_100, 96_000])
@pytest.mark.parametrize("offset", [0.1, -0.7, 1.0])
def test_a_constant_offset_is_no_source_and_goes_to_the_remainder(rate: int, offset: float) -> None:
    mixture = np.full((2, 60_000), offset, np.float32)
    model = KnownAnswerModel(normalised=True)
    stems = separate(mixture, rate, model)
    inside = slice(15_000, -15_000)  # an offset that begins is a click, and a click is sound
    assert rms_db(stems["other"][:, inside] - offset) < -60
    assert rms_db(residual(mixture, stems)) < -130
    assert model.heard_peak < 100  # nothing was divided by a deviation that is only rounding


@pytest.mark.parametrize(("samples", "rate"), [(1_000, 44_100), (7_000, 44_100), (1, 44_100)])
def test_around_a_song_with_an_offset_the_model_hears_silence_and_no_step(samples: int, rate: int) -> None:
    """As Demucs does, which takes the mean away before it pads: a step would be louder than the song."""
    song = noise(2, samples, 0.01)
    plain, offset = KnownAnswerModel(normalised=True), KnownAnswerModel(normalised=True)
    separate(song, rate, plain)
    separate(song + np.float32(0.5), rate, offset)
    assert offset.heard_peak == pytest.approx(plain.heard_peak, rel=1e-3)


def test_a_normalised_model_hears_zero_mean_and_unit_deviation_at_any_level() -> None:
    peaks = []
    for level in (1e-4, 0.1, 10.0):
        model = KnownAnswerModel(normalised=True)
        separate(noise(2, 10_000, level) + np.float32(level), model=model)
        peaks.append(model.heard_peak)
    # One deviation of a mono mixture of two independent channels is 1/√2 of a channel's.
    assert peaks == pytest.approx([peaks[0]] * 3, rel=1e-3)
    assert 3 * 2**0.5 < peaks[0] < 6 * 2**0.5


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_mean_and_deviation_are_those_of_the_whole_song(channels: int) -> None:
    audio = noise(channels, 700_000, 1e-3) + np.float32(0.9)  # more than two blocks, and an offset that eats precision
    found = measure_normalisation(ArrayReader(audio, 44_100))
    for group, normalisation in zip(channel_groups(channels), found, strict=True):
        mono = audio[list(group)].astype(np.float64).mean(axis=0)
        assert normalisation.mean == pytest.approx(mono.mean(), rel=1e-9)
        assert normalisation.deviation == pytest.approx(mono.std(ddof=1), rel=1e-6)


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_mono_in_gives_mono_out_the_same_as_twice_in_stereo(rate: int) -> None:
    mixture = noise(1, 9_000)
    model = KnownAnswerModel(normalised=True, crosstalk=0.5)
    alone = separate(mixture, rate, model)
    double = separate(np.repeat(mixture, 2, axis=0), rate, model)
    for stem in MAIN_STEMS:
        assert alone[stem].shape == (1, 9_000)
        np.testing.assert_array_equal(alone[stem][0], double[stem][0])


def test_channels_are_heard_in_pairs_and_an_odd_last_one_alone() -> None:
    assert [channel_groups(n) for n in range(1, 7)] == [
        ((0,),),
        ((0, 1),),
        ((0, 1), (2,)),
        ((0, 1), (2, 3)),
        ((0, 1), (2, 3), (4,)),
        ((0, 1), (2, 3), (4, 5)),
    ]


@pytest.mark.parametrize("silent", [(0, 1), (2, 3), (4,)])
def test_a_silent_pair_stays_silent_in_every_stem(silent: tuple[int, ...]) -> None:
    mixture = noise(5, 9_000)
    mixture[list(silent)] = 0
    for stem in separate(mixture, 48_000, KnownAnswerModel(crosstalk=0.5, normalised=True)).values():
        assert not stem[list(silent)].any()
        assert all(stem[c].any() for c in range(5) if c not in silent)


def test_swapping_pairs_swaps_their_stems_and_changes_nothing_else() -> None:
    mixture = noise(4, 9_000)
    mixture[2:] *= np.float32(0.01)  # each pair has its own level, and its own normalisation
    model = KnownAnswerModel(crosstalk=0.5, normalised=True)
    one, other = separate(mixture, 48_000, model), separate(mixture[[2, 3, 0, 1]], 48_000, model)
    for stem in MAIN_STEMS:
        np.testing.assert_array_equal(one[stem][[2, 3, 0, 1]], other[stem])


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_two_runs_give_the_same_bytes(rate: int) -> None:
    mixture = noise(3, 9_000)
    one, two = (separate(mixture, rate, KnownAnswerModel(normalised=True)) for _ in range(2))
    assert all(one[s].tobytes() == two[s].tobytes() for s in MAIN_STEMS)


def test_batches_of_three_give_what_single_segments_give() -> None:
    mixture = noise(3, 20_000)
    single, batched = KnownAnswerModel(normalised=True), KnownAnswerModel(normalised=True, preferred_batch=3)
    one, three = separate(mixture, 48_000, single), separate(mixture, 48_000, batched)
    assert all(one[s].tobytes() == three[s].tobytes() for s in MAIN_STEMS)
    assert single.segments == batched.segments
    assert batched.calls < single.calls
    assert (single.largest_batch, batched.largest_batch) == (2, 6)  # two channel groups a segment


@pytest.mark.parametrize("sources", [MAIN_STEMS, ("drums", "bass", "other", "vocals"), DRUM_PARTS])
def test_what_lies_above_the_models_band_is_in_the_remainder_alone(sources: tuple[str, ...]) -> None:
    tone = np.sin(2 * np.pi * 30_000 * np.arange(96_000) / 96_000)
    tone *= np.hanning(96_000)  # a tone that is switched on has a click, which is in the band
    mixture = np.stack([tone, -tone]).astype(np.float32) * np.float32(0.5)
    stems = separate(mixture, 96_000, KnownAnswerModel(sources))
    remainder = "other" if "other" in sources else "cymbals"
    for stem in sources:
        if stem == remainder:
            assert rms_db(stems[stem] - mixture) < -100
        else:
            assert rms_db(stems[stem]) < -100


def test_sources_that_are_no_parts_of_one_signal_are_refused() -> None:
    with pytest.raises(ValueError, match="not parts of one signal"):
        separate(noise(2, 100), model=KnownAnswerModel(("drums", "bass", "vocals", "kick")))


def test_an_answer_that_is_not_finite_withholds_the_song_with_a_code() -> None:
    with pytest.raises(RunFailed) as failure:
        separate(noise(2, 9_000), model=KnownAnswerModel(not_finite=True))
    assert failure.value.code == "contract_broken"
    assert "known-answer" in failure.value.message


@pytest.mark.parametrize("batch", [1, 3])
def test_a_cancel_stops_within_one_batch(batch: int) -> None:
    model = KnownAnswerModel(preferred_batch=batch)
    mixture = ArrayReader(noise(2, 60_000), 44_100)
    stream = separate_stream(model, mixture, overlap=0.25, is_cancelled=lambda: model.segments >= 5)
    with pytest.raises(Cancelled):
        list(stream)
    assert 5 <= model.segments < 5 + batch


def test_a_cancel_before_the_start_costs_no_call() -> None:
    model = KnownAnswerModel()
    with pytest.raises(Cancelled):
        list(separate_stream(model, ArrayReader(noise(2, 9_000), 44_100), overlap=0.25, is_cancelled=lambda: True))
    assert model.calls == 0


@pytest.mark.parametrize("batch", [1, 3])
def test_progress_counts_segments_up_to_the_total(batch: int) -> None:
    seen: list[Progress] = []
    model = KnownAnswerModel(preferred_batch=batch)
    mixture = ArrayReader(noise(2, 30_000), 44_100)
    list(separate_stream(model, mixture, overlap=0.25, on_progress=seen.append, stage="stage 1"))
    assert {event.stage for event in seen} == {"stage 1"}
    assert {event.total for event in seen} == {model.segments}
    assert [event.done for event in seen] == [*range(0, model.segments, batch), model.segments]
    assert seen[0].seconds_left is None
    assert seen[-1].seconds_left == 0


_LONG_SONG = """
import json, resource, sys
import numpy as np
from known_answer_model import KnownAnswerModel
from stem_pipeline.separation.engine import separate_stream

class Generated:
    sample_rate, channels = 11_025, 2
    def __init__(self, seconds):
        self.samples = seconds * self.sample_rate
    def read(self, start, stop):
        at = np.arange(start, stop)
        return np.stack([np.sin(at * 0.1), np.cos(at * 0.07)]).astype(np.float32)

def peak(seconds):
    model = KnownAnswerModel(sample_rate=8_000, segment_samples=62_400, normalised=True)
    count = sum(b.shape[-1] for b in separate_stream(model, Generated(seconds), overlap=0.25))
    assert count == Generated(seconds).samples
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

peak(60)  # loads what is loaded once
print(json.dumps([peak(60), peak(600)]))
"""


def test_memory_does_not_grow_with_the_length() -> None:
    """Peak resident memory of a minute, then of ten, in a process of its own. Ten minutes as a whole would be 53 MiB of
    mixture and 212 MiB of stems."""
    here = Path(__file__).resolve()
    run = subprocess.run(
        [sys.executable, "-c", _LONG_SONG],
        capture_output=True, text=True, check=True, timeout=300,
        env={"PYTHONPATH": f"{here.parents[3]}:{here.parents[2]}", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    minute, ten = json.loads(run.stdout)
    assert ten - minute < 8  # MiB: what an allocator keeps, not what a song is
