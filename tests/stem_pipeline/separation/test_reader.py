"""The in-memory reader gives what it holds, and refuses what is no audio."""

from __future__ import annotations

import numpy as np
import pytest

from stem_pipeline.separation.reader import ArrayReader


def test_it_reads_any_span() -> None:
    audio = np.arange(20, dtype=np.float32).reshape(2, 10)
    reader = ArrayReader(audio, 8_000)
    assert (reader.sample_rate, reader.channels, reader.samples) == (8_000, 2, 10)
    np.testing.assert_array_equal(reader.read(3, 5), audio[:, 3:5])
    assert reader.read(10, 10).shape == (2, 0)


def test_other_number_types_are_converted_and_not_scaled() -> None:
    read = ArrayReader(np.array([[1, -2]]), 8_000).read(0, 2)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, [[1, -2]])


@pytest.mark.parametrize(("shape", "rate"), [((10,), 8_000), ((0, 10), 8_000), ((1, 2, 3), 8_000), ((1, 10), 0)])
def test_another_shape_or_no_rate_is_refused(shape: tuple[int, ...], rate: int) -> None:
    with pytest.raises(ValueError, match=r"\[channels, samples\]"):
        ArrayReader(np.zeros(shape, np.float32), rate)
