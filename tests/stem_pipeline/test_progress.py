"""Work says where it is after every unit, and every unit is a chance to stop."""

from __future__ import annotations

import pytest

from stem_pipeline.errors import Cancelled
from stem_pipeline.progress import Progress, ProgressMeter


def test_it_counts_from_nothing_to_the_total() -> None:
    seen: list[Progress] = []
    meter = ProgressMeter("encode", 5, seen.append)
    meter.advance(2)
    meter.advance(3)
    assert [(p.stage, p.done, p.total) for p in seen] == [("encode", 0, 5), ("encode", 2, 5), ("encode", 5, 5)]


def test_time_left_is_unknown_at_first_and_nothing_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    seen: list[Progress] = []
    meter = ProgressMeter("encode", 4, seen.append)
    for _ in range(4):
        now[0] += 10
        meter.advance()
    assert [p.seconds_left for p in seen] == [None, 30, 20, 10, 0]


def test_more_units_than_announced_leave_no_negative_time() -> None:
    seen: list[Progress] = []
    meter = ProgressMeter("encode", 1, seen.append)
    meter.advance(3)
    assert seen[-1].seconds_left == 0


def test_a_cancel_is_heard_before_the_first_unit_and_after_each() -> None:
    with pytest.raises(Cancelled):
        ProgressMeter("encode", 3, is_cancelled=lambda: True)
    asked = iter([False, False, True])
    meter = ProgressMeter("encode", 3, is_cancelled=lambda: next(asked))
    meter.advance()
    with pytest.raises(Cancelled):
        meter.advance()
    assert meter.done == 2


def test_what_the_listener_raises_stops_the_work() -> None:
    def refuse(_: Progress) -> None:
        raise RuntimeError("the listener is gone")

    with pytest.raises(RuntimeError, match="the listener is gone"):
        ProgressMeter("encode", 3, refuse)
