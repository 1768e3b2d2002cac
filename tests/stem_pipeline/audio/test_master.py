"""The working format: what goes in comes out, at any place, and half a file is never seen."""

from __future__ import annotations

import struct
import tempfile
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from audio_signals import music_like
from hypothesis import given, settings
from hypothesis import strategies as st

from stem_pipeline.audio import MasterReader, MasterWriter, read_audio
from stem_pipeline.audio.wave_file import HEADER_BYTES, WaveFormat, wave_header
from stem_pipeline.errors import AudioRefused


@settings(max_examples=60, deadline=None)
@given(
    channels=st.integers(1, 8),
    samples=st.integers(0, 3_000),
    rate=st.sampled_from([1_000, 44_100, 768_000]),
    cuts=st.lists(st.integers(0, 3_000), max_size=4),
    known=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_audio_in_any_pieces_comes_back_bit_for_bit(
    channels: int, samples: int, rate: int, cuts: list[int], known: bool, seed: int
) -> None:
    audio = (np.random.default_rng(seed).standard_normal((channels, samples)) * 3).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "master.wav"
        places = sorted({0, samples, *(min(c, samples) for c in cuts)})
        with MasterWriter(path, rate, channels, samples if known else None) as writer:
            for start, stop in pairwise(places):
                writer.write(audio[:, start:stop])
        with MasterReader(path) as reader:
            assert (reader.sample_rate, reader.channels, reader.samples) == (rate, channels, samples)
            assert np.array_equal(reader.read(0, samples), audio)
            for start, stop in pairwise(places):
                assert np.array_equal(reader.read(start, stop), audio[:, start:stop])
            assert sum(b.shape[1] for b in reader.blocks(777)) == samples


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_other_programs_read_a_master(tmp_path: Path, channels: int) -> None:
    audio = music_like(44_100, channels, 5_000) * 4  # over full scale: floats are not clipped
    with MasterWriter(tmp_path / "m.wav", 44_100, channels) as writer:
        writer.write(audio)
    assert np.array_equal(sf.read(tmp_path / "m.wav", dtype="float32", always_2d=True)[0].T, audio)
    decoded, facts = read_audio(tmp_path / "m.wav")
    assert np.array_equal(decoded, audio)
    assert (facts.sample_format, facts.bit_depth) == ("float", 32)


def test_past_four_gibibytes_the_header_is_rf64_and_tells_the_true_length(tmp_path: Path) -> None:
    form = WaveFormat(192_000, 8, 32)
    samples = 2**32 // form.frame_bytes + 5
    head = wave_header(form, samples)
    assert (head[:4], head[12:16]) == (b"RF64", b"ds64")
    assert struct.unpack_from("<QQ", head, 28) == (samples * form.frame_bytes, samples)
    # A file with a hole in it: all the length, hardly any disk.
    with open(tmp_path / "m.wav", "wb") as file:
        file.write(head)
        file.truncate(HEADER_BYTES + samples * form.frame_bytes)
    with MasterReader(tmp_path / "m.wav") as reader:
        assert reader.samples == samples
        assert np.array_equal(reader.read(samples - 2, samples), np.zeros((8, 2)))
    assert sf.info(tmp_path / "m.wav").frames == samples
    # One frame fewer than fits stays a plain WAV.
    assert wave_header(form, (2**32 - 1 - HEADER_BYTES + 8) // form.frame_bytes)[:4] == b"RIFF"


def test_a_master_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    def interrupted() -> None:
        with MasterWriter(tmp_path / "m.wav", 44_100, 1) as writer:
            writer.write(np.zeros((1, 10), np.float32))
            assert not (tmp_path / "m.wav").exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(ValueError, match="announced"), MasterWriter(tmp_path / "m.wav", 44_100, 1, 11) as writer:
        writer.write(np.zeros((1, 10), np.float32))
    assert list(tmp_path.iterdir()) == []


def test_a_cut_or_foreign_file_is_no_master(tmp_path: Path) -> None:
    path = tmp_path / "m.wav"
    with MasterWriter(path, 44_100, 2) as writer:
        writer.write(music_like(44_100, 2, 100))
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:50], b"", whole[:60] + b"\0\0\0\0" + whole[64:]):
        path.write_bytes(damaged)
        with pytest.raises(AudioRefused) as refusal:
            MasterReader(path)
        assert refusal.value.code == "audio_undecodable"
    with pytest.raises(AudioRefused) as refusal:
        MasterReader(tmp_path / "absent.wav")
    assert refusal.value.code == "audio_not_found"


def test_reading_outside_is_an_error_and_not_silence(tmp_path: Path) -> None:
    with MasterWriter(tmp_path / "m.wav", 44_100, 1) as writer:
        writer.write(np.zeros((1, 10), np.float32))
    with MasterReader(tmp_path / "m.wav") as reader:
        for start, stop in ((-1, 5), (5, 11), (6, 5)):
            with pytest.raises(IndexError):
                reader.read(start, stop)


def test_threads_share_a_reader(tmp_path: Path) -> None:
    audio = music_like(44_100, 2, 200_000)
    with MasterWriter(tmp_path / "m.wav", 44_100, 2) as writer:
        writer.write(audio)
    right: list[bool] = []
    with MasterReader(tmp_path / "m.wav") as reader:

        def read(offset: int) -> None:
            right.extend(
                np.array_equal(reader.read(i, i + 500), audio[:, i : i + 500]) for i in range(offset, 199_500, 1_003)
            )

        threads = [threading.Thread(target=read, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(right) > 700
    assert all(right)
