"""Deliverables: exact in length and lag, the same bytes twice, whole or not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from audio_signals import as_integers, lag_between, music_like, write_stem

from stem_pipeline.audio import (
    FORMATS,
    StemEncoder,
    check_can_hold,
    iterate_stem,
    open_source,
    parse_format,
    read_audio,
    read_stem,
)
from stem_pipeline.errors import RequestRefused

LOSSLESS = [("wav", "16"), ("wav", "24"), ("wav", "32f"), ("flac", "16"), ("flac", "24")]
LOSSY = ["mp3", "m4a", "ogg", "opus"]
RATES = [8_000, 22_050, 44_100, 48_000, 96_000]


@pytest.mark.parametrize(("name", "depth"), LOSSLESS)
@pytest.mark.parametrize("rate", [*RATES, 12_345])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_lossless_stem_decodes_to_the_very_samples(
    tmp_path: Path, name: str, depth: str, rate: int, channels: int
) -> None:
    fmt = parse_format(name, depth)
    # One sample, an odd handful, and an odd length over several encoder frames and writer blocks.
    for samples in (1, 100, 44_101):
        audio = music_like(rate, channels, samples)
        write_stem(tmp_path / "stem", fmt, rate, audio)
        decoded, facts = read_audio(tmp_path / "stem")
        expected = audio
        if fmt.integer:
            expected = (as_integers(audio, fmt.bits) / 2.0 ** (fmt.bits - 1)).astype(np.float32)
        assert np.array_equal(decoded, expected)
        assert (facts.sample_rate, facts.channels, facts.samples) == (rate, channels, samples)
        assert facts.bit_depth == fmt.bits


@pytest.mark.parametrize(("name", "depth"), LOSSLESS)
def test_an_independent_reader_finds_the_same_samples(tmp_path: Path, name: str, depth: str) -> None:
    fmt = parse_format(name, depth)
    audio = music_like(44_100, 2, 5_001)
    write_stem(tmp_path / "stem", fmt, 44_100, audio)
    theirs, rate = sf.read(tmp_path / "stem", dtype="float32", always_2d=True)
    assert rate == 44_100
    assert np.array_equal(theirs.T, read_audio(tmp_path / "stem")[0])


@pytest.mark.parametrize("name", LOSSY)
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_lossy_stem_has_the_sources_length_and_no_lag(tmp_path: Path, name: str, rate: int, channels: int) -> None:
    fmt = parse_format(name)
    for samples in (1, 100, 44_101):
        try:
            check_can_hold(fmt, rate, channels, samples)
        except RequestRefused:
            assert name == "mp3"
            continue
        audio = music_like(rate, channels, samples)
        write_stem(tmp_path / "stem", fmt, rate, audio)
        decoded = read_stem(tmp_path / "stem", rate, samples)
        assert decoded.shape == audio.shape
        if samples > 10_000:
            for channel in range(channels):
                assert lag_between(decoded[channel], audio[channel]) == 0
            # The channels are different noise: swapped or mixed ones, or another signal, would be near 0 dB.
            error = np.sum((decoded - audio) ** 2) / np.sum(audio**2)
            assert 10 * np.log10(error) < -15


def test_opus_at_another_rate_keeps_the_length_in_a_stream_of_blocks_too(tmp_path: Path) -> None:
    fmt = parse_format("opus")
    for rate, samples in ((44_100, 100_003), (96_000, 100_001), (11_025, 1)):
        audio = music_like(rate, 2, samples)
        write_stem(tmp_path / "stem", fmt, rate, audio)
        blocks = list(iterate_stem(tmp_path / "stem", rate, samples))
        assert sum(b.shape[1] for b in blocks) == samples
        assert np.array_equal(np.concatenate(blocks, axis=1), read_stem(tmp_path / "stem", rate, samples))


def test_a_deliverable_that_is_too_short_is_not_padded_into_a_right_one(tmp_path: Path) -> None:
    write_stem(tmp_path / "stem", parse_format("opus"), 44_100, music_like(44_100, 1, 40_000))
    assert read_stem(tmp_path / "stem", 44_100, 44_100).shape[1] == 40_000


@pytest.mark.parametrize(("name", "depth"), [*LOSSLESS, *[(n, None) for n in LOSSY]])
def test_two_runs_give_the_same_bytes(tmp_path: Path, name: str, depth: str | None) -> None:
    fmt, audio = parse_format(name, depth), music_like(44_100, 2, 30_000)
    tags = {"title": "Song (Drums)", "artist": "A", "tempo": "120"}
    for run in ("one", "two"):
        write_stem(tmp_path / run, fmt, 44_100, audio, tags)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize(("name", "depth"), [("wav", "24"), ("flac", "16"), *[(n, None) for n in LOSSY]])
def test_nothing_is_left_after_an_exception(tmp_path: Path, name: str, depth: str | None) -> None:
    fmt = parse_format(name, depth)
    audio = music_like(44_100, 2, 1_000)

    def interrupted() -> None:
        with StemEncoder(tmp_path / "stem", fmt, 44_100, 2, 1_000) as encoder:
            encoder.write_pcm(as_integers(audio, fmt.bits)) if fmt.integer else encoder.write(audio)
            assert not (tmp_path / "stem").exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_stem_of_another_length_than_announced_is_not_published(tmp_path: Path) -> None:
    fmt = parse_format("wav", "32f")
    block = np.zeros((1, 10), np.float32)
    with pytest.raises(ValueError, match="announced"), StemEncoder(tmp_path / "s", fmt, 44_100, 1, 11) as encoder:
        encoder.write(block)
    with pytest.raises(ValueError, match="announced"), StemEncoder(tmp_path / "s", fmt, 44_100, 1, 9) as encoder:
        encoder.write(block)
    assert list(tmp_path.iterdir()) == []


def test_integers_that_do_not_fit_are_refused_rather_than_wrapped(tmp_path: Path) -> None:
    block = np.array([[40_000]], np.int32)
    with (
        pytest.raises(ValueError, match="16 bits"),
        StemEncoder(tmp_path / "s", parse_format("wav", "16"), 44_100, 1, 1) as encoder,
    ):
        encoder.write_pcm(block)
    assert list(tmp_path.iterdir()) == []


def test_floats_over_full_scale_stay_as_they_are_in_a_float_wav(tmp_path: Path) -> None:
    audio = np.array([[40.0, -7.5, 1e-40]], np.float32)
    write_stem(tmp_path / "s", parse_format("wav", "32f"), 44_100, audio)
    assert np.array_equal(read_audio(tmp_path / "s")[0], audio)


@pytest.mark.parametrize("name", FORMATS)
def test_a_full_disk_is_said_with_a_code_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    # A limit on the size of files makes the system refuse writes as a full disk does.
    script = """
import resource, sys
import numpy as np
from stem_pipeline.audio import StemEncoder, parse_format
from stem_pipeline.errors import RunFailed
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
fmt = parse_format(sys.argv[2])
noise = np.random.default_rng(0).standard_normal((2, 441_000)).astype(np.float32) * 0.1
try:
    with StemEncoder(sys.argv[1], fmt, 44_100, 2, 441_000) as encoder:
        encoder.write_pcm((noise * 2.0**23).astype(np.int32)) if fmt.integer else encoder.write(noise)
except RunFailed as error:
    sys.exit(0 if error.code in ("disk_full", "storage_failed") else 3)
sys.exit(4)
"""
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "stem"), name], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_a_format_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    for name, rate, channels, samples in (
        ("mp3", 96_000, 2, 1_000),
        ("mp3", 44_100, 3, 1_000),
        ("mp3", 44_100, 2, 47),
        ("m4a", 12_345, 2, 1_000),
        ("opus", 48_000, 6, 1_000),
        ("flac", 700_000, 2, 1_000),
    ):
        with pytest.raises(RequestRefused) as refusal:
            StemEncoder(tmp_path / "s", parse_format(name), rate, channels, samples)
        assert refusal.value.code == "format_cannot_hold"
    assert list(tmp_path.iterdir()) == []


def test_formats_and_depths_are_parsed_or_refused_with_a_code() -> None:
    assert parse_format("WAV").label == "wav 24"
    assert parse_format(".flac", 16).bits == 16
    assert parse_format("mp3").bit_depth is None
    for name, depth, code in (
        ("aiff", None, "format_unknown"),
        ("flac", "32f", "option_invalid"),
        ("mp3", "16", "option_invalid"),
    ):
        with pytest.raises(RequestRefused) as refusal:
            parse_format(name, depth)
        assert refusal.value.code == code


def test_a_deliverable_says_what_it_is(tmp_path: Path) -> None:
    codecs = {"wav": "pcm_s24le", "flac": "flac", "mp3": "mp3float", "ogg": "vorbis", "opus": "opus", "m4a": "aac"}
    for name in FORMATS:
        write_stem(tmp_path / "stem", parse_format(name), 44_100, music_like(44_100, 2, 4_410))
        with open_source(tmp_path / "stem") as source:
            assert source.facts.codec == codecs[name]
