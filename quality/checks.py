"""The contract as checks: each takes what was measured and says whether it holds, in a sentence.

Belongs here: bounds with their reasons, and the verdict. Does not belong here: measuring (exactness.py), Dagster.
"""

from __future__ import annotations

import math

from quality.exactness import SumReport
from stem_pipeline.manifest import CheckRecord

RESIDUAL_BOUND_DBFS = -100.0
"""The product's contract for lossless formats: below the rounding noise of 16-bit audio (−101 dBFS is one rounding)."""

LOSSY_RESIDUAL_BOUND_DB = -15.0
"""Relative to the source. What 160–320 kbit/s codecs may leave in the sum of several stems; one missing 8 s segment of a
3-minute song leaves −13 dB, a stem at half level −10 to −14 dB."""


def finite(value: float) -> float | None:
    """JSON has no infinity: −inf dBFS (digital silence) is None."""
    return value if math.isfinite(value) else None


def check_equal(name: str, measured: int | str, expected: int | str, what: str) -> CheckRecord:
    """Passes when both are the same; `what` begins the sentence."""
    passed = measured == expected
    sentence = f"{what}: {measured}" + ("" if passed else f", but {expected} was expected")
    return CheckRecord(name, passed, measured, expected, sentence)


def check_lengths(level: str, report: SumReport) -> CheckRecord:
    """Every child has as many samples as its parent."""
    wrong = sorted(set(report.children_samples) - {report.parent_samples})
    if wrong:
        return CheckRecord(
            f"{level}_length",
            False,
            wrong[0],
            report.parent_samples,
            f"A stem has {wrong[0]} samples, its parent {report.parent_samples}",
        )
    return CheckRecord(
        f"{level}_length",
        True,
        report.parent_samples,
        report.parent_samples,
        f"Every stem has its parent's {report.parent_samples} samples",
    )


def check_lag(level: str, report: SumReport) -> CheckRecord:
    """The sum is not shifted against its parent, to the sample."""
    if report.lag_samples is None:
        return CheckRecord(f"{level}_lag", True, None, 0, "The parent or the sum is silent: there is nothing to align")
    passed = report.lag_samples == 0
    sentence = "The lag is 0 samples" if passed else f"The stems are {report.lag_samples} samples late"
    return CheckRecord(f"{level}_lag", passed, report.lag_samples, 0, sentence)


def check_sum(level: str, report: SumReport, lossless: bool = True) -> CheckRecord:
    """The children add up: absolute (dBFS) for lossless formats, relative to the parent (dB) for lossy ones."""
    measured = report.residual_dbfs if lossless else report.relative_db
    bound = RESIDUAL_BOUND_DBFS if lossless else LOSSY_RESIDUAL_BOUND_DB
    unit = "dBFS" if lossless else "dB below the parent"
    passed = measured <= bound
    shown = "digital silence" if measured == -math.inf else f"{abs(measured) if not lossless else measured:.1f} {unit}"
    sentence = f"The residual is {shown}" + ("" if passed else f", the bound is {bound:g}")
    return CheckRecord(f"{level}_sum", passed, finite(measured), bound, sentence)


def verdict(checks: list[CheckRecord]) -> str:
    """`passed` only if every check holds; no checks at all prove nothing."""
    return "passed" if checks and all(c.passed for c in checks) else "failed"
