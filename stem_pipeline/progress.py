"""How long work tells where it is, and how it is told to stop.

Belongs here: the event, the callback's type, the meter that estimates what is left. Does not belong here:
bars, logs, databases: those are the callback's business.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from stem_pipeline.errors import Cancelled


@dataclass(frozen=True)
class Progress:
    """`done` of `total` units (segments, bytes, blocks) of one `stage`; `seconds_left` is None until something is known."""

    stage: str
    done: int
    total: int
    seconds_left: float | None = None


OnProgress = Callable[[Progress], None]
IsCancelled = Callable[[], bool]


def ignore_progress(_: Progress) -> None:
    """The callback of those who do not ask."""


def never_cancelled() -> bool:
    """The question of those who never stop."""
    return False


class ProgressMeter:
    """Reports one stage: `meter.advance()` after each unit; raises `Cancelled` when asked to stop.

    Every unit is a chance to cancel, so work stops within one segment.
    """

    def __init__(
        self,
        stage: str,
        total: int,
        on_progress: OnProgress = ignore_progress,
        is_cancelled: IsCancelled = never_cancelled,
    ) -> None:
        self.stage, self.total, self.done = stage, total, 0
        self._on_progress, self._is_cancelled = on_progress, is_cancelled
        self._started = time.monotonic()
        self._check()
        on_progress(Progress(stage, 0, total))

    def _check(self) -> None:
        if self._is_cancelled():
            raise Cancelled()

    def advance(self, units: int = 1) -> None:
        self.done += units
        spent = time.monotonic() - self._started
        left = spent / self.done * max(0, self.total - self.done) if self.done else None
        self._on_progress(Progress(self.stage, self.done, self.total, left))
        self._check()
