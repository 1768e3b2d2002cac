"""Coded refusals as Dagster failures: the code and the sentence are in the run's metadata, and nothing retries in vain.

Belongs here: the translation, both ways. Does not belong here: what is refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import dagster as dg

from stem_pipeline.errors import CODES, Cancelled, RunFailed, StemPipelineError

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


def refusal_of(result: dg.ExecuteInProcessResult) -> StemPipelineError:
    """What made a run fail: `cancelled`, its coded refusal, the sentences of its failed checks, or `internal`."""
    for event in result.all_events:
        if event.event_type == dg.DagsterEventType.RUN_FAILURE:
            reason = event.job_failure_data.failure_reason
            if reason is not None and reason.value == "UNEXPECTED_TERMINATION":  # Ctrl-C or SIGTERM, in Dagster's words
                return Cancelled()
    for event in result.all_events:
        if event.event_type == dg.DagsterEventType.STEP_FAILURE:
            data = event.step_failure_data.user_failure_data
            metadata = data.metadata if data else {}
            if "code" in metadata and "message" in metadata and metadata["code"].value in CODES:
                return StemPipelineError(str(metadata["code"].value), str(metadata["message"].value))
    broken = [e.description or e.check_name for e in result.get_asset_check_evaluations() if not e.passed]
    if broken:
        return RunFailed("contract_broken", f"The stems failed their proof and are withheld: {'; '.join(broken)}.")
    return RunFailed("internal", "Something unexpected failed; the run's log in Dagster has the details.")
