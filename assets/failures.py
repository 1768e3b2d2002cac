"""Coded refusals as Dagster failures: the code and the sentence are in the run's metadata, and nothing retries in vain.

Belongs here: the translation, both ways. Does not belong here: what is refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import dagster as dg

from stem_pipeline.errors import CODES, StemPipelineError

_RETRYABLE = {"storage_failed", "model_unavailable"}
"""The outside world may be back in a moment; a bad song or a full device will not change."""


@contextlib.contextmanager
def coded_failures() -> Iterator[None]:
    """Turns a `StemPipelineError` into `dg.Failure` with metadata `code`."""
    try:
        yield
    except StemPipelineError as error:
        raise dg.Failure(
            description=f"{error.code}: {error.message}",
            metadata={"code": error.code, "message": error.message},
            allow_retries=error.code in _RETRYABLE,
        ) from error


def coded_error(failure: dg.Failure) -> StemPipelineError:
    """The refusal inside a failure, or `internal` when there is none."""
    code = failure.metadata.get("code")
    message = failure.metadata.get("message")
    if code is not None and message is not None and code.value in CODES:
        return StemPipelineError(str(code.value), str(message.value))
    return StemPipelineError("internal", "Something unexpected failed; the run's log in Dagster has the details.")
