"""Each bound of the contract, from both sides."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import pytest

from quality.checks import check_equal, check_lag, check_lengths, check_sum, finite, verdict
from quality.exactness import SumReport

GOOD = SumReport(-140.0, -120.0, 0, 1_000, (1_000, 1_000))


@pytest.mark.parametrize("lengths", [(999, 1_000), (1_000, 1_001), (0, 0)])
def test_one_sample_too_few_or_too_many_fails_the_length(lengths: tuple[int, int]) -> None:
    assert check_lengths("main", GOOD).passed
    check = check_lengths("main", replace(GOOD, children_samples=lengths))
    assert (check.name, check.passed, check.bound) == ("main_length", False, 1_000)
    assert check.measured in lengths
    assert check.measured != 1_000


@pytest.mark.parametrize("lag", [1, -1, 1_105])
def test_one_sample_late_or_early_fails_the_lag(lag: int) -> None:
    assert check_lag("main", GOOD).passed
    check = check_lag("main", replace(GOOD, lag_samples=lag))
    assert (check.name, check.passed, check.measured) == ("main_lag", False, lag)
    assert str(lag) in check.sentence


def test_silence_has_no_lag_to_fail() -> None:
    assert check_lag("main", replace(GOOD, lag_samples=None)).passed


@pytest.mark.parametrize(("residual", "passed"), [(-math.inf, True), (-100.0, True), (-99.9, False), (math.nan, False)])
def test_a_lossless_sum_is_held_against_100_db_below_full_scale(residual: float, passed: bool) -> None:
    check = check_sum("main", replace(GOOD, residual_dbfs=residual, relative_db=0.0))
    assert check.passed == passed


@pytest.mark.parametrize(("relative", "passed"), [(-40.0, True), (-15.0, True), (-14.9, False), (0.0, False)])
def test_a_lossy_sum_is_held_against_its_own_level(relative: float, passed: bool) -> None:
    check = check_sum("main", replace(GOOD, residual_dbfs=-10.0, relative_db=relative), lossless=False)
    assert check.passed == passed


@pytest.mark.parametrize("value", [-math.inf, math.inf, math.nan])
def test_what_json_has_not_is_none(value: float) -> None:
    assert finite(value) is None
    check = check_sum("main", replace(GOOD, residual_dbfs=value))
    json.dumps(asdict(check), allow_nan=False)


def test_values_that_differ_are_both_named() -> None:
    check = check_equal("hash", "abc", "def", "sha256")
    assert not check.passed
    assert "abc" in check.sentence
    assert "def" in check.sentence
    assert check_equal("hash", "abc", "abc", "sha256").passed


def test_one_failed_check_fails_all_and_no_check_proves_nothing() -> None:
    good, bad = check_lag("main", GOOD), check_lag("main", replace(GOOD, lag_samples=1))
    assert verdict([good, good]) == "passed"
    assert verdict([good, bad]) == "failed"
    assert verdict([]) == "failed"
