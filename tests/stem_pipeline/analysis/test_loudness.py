"""Levels against the standard's own cases, against pyloudnorm and against FFmpeg's meter."""

import json
import math

import numpy as np
import pytest

from stem_pipeline.analysis.loudness import LoudnessMeter, measure_levels
from stem_pipeline.errors import AudioRefused

RATE = 48_000


def sine(dbfs: float, seconds: float, hertz: float = 1000.0, rate: int = RATE, degrees: float = 0.0) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    return (10 ** (dbfs / 20) * np.sin(2 * np.pi * hertz * t + np.radians(degrees))).astype(np.float32)


def stereo(*parts: tuple[float, float]) -> np.ndarray:
    one = np.concatenate([sine(dbfs, seconds) for dbfs, seconds in parts])
    return np.stack([one, one])


def music_like(seconds: float, rate: int, seed: int = 0) -> np.ndarray:
    """Noise that falls 3 dB an octave as music does, its level changing each second by up to 30 dB."""
    rng = np.random.default_rng(seed)
    n = round(seconds * rate)
    spectrum = np.fft.rfft(rng.standard_normal((2, n)), axis=1) / np.sqrt(np.arange(1, n // 2 + 2))
    gains = np.repeat(10 ** (rng.uniform(-1.5, 0, math.ceil(seconds))), rate)[:n]
    noise = np.fft.irfft(spectrum, n, axis=1) * gains
    return (noise / np.abs(noise).max() * 0.8).astype(np.float32)


@pytest.mark.parametrize(
    ("case", "audio"),
    [
        ("1", stereo((-23, 20))),
        ("3", stereo((-36, 10), (-23, 60), (-36, 10))),
        ("4", stereo((-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10))),
        ("5", stereo((-26, 20), (-20, 20.1), (-26, 20))),
        ("6: L R C and two surrounds", np.stack([sine(level, 20) for level in (-28, -28, -24, -30, -30)])),
    ],
)
def test_the_loudness_cases_of_ebu_tech_3341_read_minus_23(case: str, audio: np.ndarray) -> None:
    assert measure_levels(audio, RATE).integrated_lufs == pytest.approx(-23.0, abs=0.1)  # the document's tolerance


@pytest.mark.parametrize(
    ("fraction", "degrees", "amplitude_db", "expected"),
    [(4, 0, -6.02, -6.0), (4, 45, -6.02, -6.0), (6, 60, -6.02, -6.0), (8, 67.5, -6.02, -6.0), (4, 45, 3.0, 3.0)],
)
def test_the_true_peak_cases_of_ebu_tech_3341(
    fraction: int, degrees: float, amplitude_db: float, expected: float
) -> None:
    tone = sine(amplitude_db, 1.0, RATE / fraction, degrees=degrees)
    tone *= np.minimum(
        1, np.minimum(np.arange(len(tone)), np.arange(len(tone))[::-1]) / (0.1 * RATE)
    )  # faded in and out
    assert -0.4 <= measure_levels(tone[None], RATE).true_peak_dbtp - expected <= 0.2  # the document's tolerance


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000, 96_000])
def test_the_loudness_agrees_with_pyloudnorm(rate: int) -> None:
    pyloudnorm = pytest.importorskip("pyloudnorm")
    audio = music_like(12, rate)
    # Its gated mean is the same; its filter has other rounded parameters, which music shows by less than 0.1 LU.
    expected = pyloudnorm.Meter(rate, filter_class="DeMan").integrated_loudness(audio.T.astype(np.float64))
    assert measure_levels(audio, rate).integrated_lufs == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("rate", [11_025, 44_100, 48_000, 192_000])
def test_loudness_and_true_peak_agree_with_ffmpegs_meter(rate: int) -> None:
    audio = music_like(10, rate, seed=1)
    loudness, peak = ffmpeg_ebur128(audio, rate)
    levels = measure_levels(audio, rate)
    assert levels.integrated_lufs == pytest.approx(loudness, abs=0.1)
    assert levels.true_peak_dbtp == pytest.approx(peak, abs=0.3)  # FFmpeg's own interpolator is shorter than ours


def ffmpeg_ebur128(audio: np.ndarray, rate: int) -> tuple[float, float]:
    import av

    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=rate, format="fltp", layout="stereo", time_base=f"1/{rate}")
    meter = graph.add("ebur128", "metadata=1:peak=true")
    sink = graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    said: dict[str, str] = {}
    for start in range(0, audio.shape[1], 4096):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio[:, start : start + 4096]), "fltp", "stereo")
        frame.sample_rate, frame.pts = rate, start
        source.push(frame)
        while True:
            try:
                said.update(sink.pull().metadata)
            except (av.error.BlockingIOError, av.error.EOFError):
                break
    peaks = [float(v) for k, v in said.items() if k.startswith("lavfi.r128.true_peaks_ch")]
    return float(said["lavfi.r128.I"]), 20 * math.log10(max(peaks))


@pytest.mark.parametrize("rate", [44_100, 11_025])
def test_blocks_of_any_cut_give_the_same_levels(rate: int) -> None:
    audio = music_like(3, rate)
    whole = measure_levels(audio, rate)
    meter, start = LoudnessMeter(rate, 2), 0
    for length in np.random.default_rng(0).integers(1, 3000, 1000):
        meter.add(audio[:, start : start + length])
        start += length
    cut = meter.result()
    assert cut.integrated_lufs == pytest.approx(whole.integrated_lufs, abs=1e-9)
    assert cut.true_peak_dbtp == pytest.approx(whole.true_peak_dbtp, abs=1e-4)
    assert cut.sample_peak_dbfs == whole.sample_peak_dbfs
    assert cut.dc_offset == pytest.approx(whole.dc_offset, abs=1e-12)


def test_the_skipping_of_quiet_blocks_never_loses_the_true_peak() -> None:
    """A block is skipped only if the interpolator's gain bound rules it out: compare with one that skips nothing."""
    from scipy.signal import resample_poly

    rng = np.random.default_rng(5)
    audio = np.concatenate([rng.uniform(-g, g, (1, 70_000)) for g in (0.9, 0.35, 0.42, 0.8, 0.1)], axis=1)
    exact = 20 * math.log10(np.abs(resample_poly(audio, 4, 1, axis=1, window=("kaiser", 8.0))).max())
    assert measure_levels(audio.astype(np.float32), RATE).true_peak_dbtp == pytest.approx(exact, abs=0.35)


def test_a_level_change_moves_every_level_by_as_much() -> None:
    audio = music_like(4, RATE)
    loud, soft = measure_levels(audio, RATE), measure_levels(audio * np.float32(0.5), RATE)
    for name in ("integrated_lufs", "true_peak_dbtp", "sample_peak_dbfs", "rms_dbfs"):
        assert getattr(loud, name) - getattr(soft, name) == pytest.approx(6.0206, abs=1e-3)


def test_silence_one_sample_and_nothing_give_none_and_json() -> None:
    for samples in (0, 1, RATE):
        levels = measure_levels(np.zeros((2, samples), np.float32), RATE)
        assert levels.integrated_lufs is levels.true_peak_dbtp is levels.rms_dbfs is None
        assert json.loads(json.dumps(levels.as_dict(), allow_nan=False))["dc_offset"] == 0.0


def test_dc_and_a_square_wave_read_as_they_are() -> None:
    square = np.where(np.arange(RATE) % 100 < 50, 1.0, -1.0).astype(np.float32)
    levels = measure_levels(np.stack([square, square * 0 - 0.25]), RATE)
    assert levels.dc_offset == pytest.approx(-0.25)
    assert levels.sample_peak_dbfs == 0.0
    assert levels.rms_dbfs == pytest.approx(10 * math.log10((1 + 0.0625) / 2), abs=1e-6)


def test_nan_is_refused_with_a_code() -> None:
    audio = np.zeros((1, 100), np.float32)
    audio[0, 50] = np.nan
    with pytest.raises(AudioRefused) as refusal:
        measure_levels(audio, RATE)
    assert refusal.value.code == "audio_not_finite"
