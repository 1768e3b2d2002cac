"""Every way the product says no: a stable code, a sentence for a person, an HTTP status and an exit status.

Belongs here: the exception classes and the table of codes. Does not belong here: catching them, wording for one caller.
The codes are part of the public contract: add, never rename. A message says what to do and names no path of the host,
no secret and no traceback.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ErrorCode:
    """One refusal. `http_status` as an API answers it, `exit_status` as the command line ends with it (sysexits.h)."""

    code: str
    http_status: int
    exit_status: int
    meaning: str


_DATA, _UNAVAILABLE, _SOFTWARE, _IO, _USAGE, _NOPERM = 65, 69, 70, 74, 64, 77

CODES: dict[str, ErrorCode] = {
    e.code: e
    for e in (
        # The song cannot be used.
        ErrorCode("audio_not_found", 404, 66, "there is no such file"),
        ErrorCode("audio_empty", 422, _DATA, "the file has no bytes"),
        ErrorCode("audio_no_stream", 422, _DATA, "the file has no audio stream"),
        ErrorCode("audio_undecodable", 422, _DATA, "the file is not audio, or is damaged beyond decoding"),
        ErrorCode("audio_truncated_header", 422, _DATA, "the file ends inside its header"),
        ErrorCode("audio_no_samples", 422, _DATA, "the audio stream decodes to no samples"),
        ErrorCode("audio_not_finite", 422, _DATA, "the audio contains NaN or infinity"),
        ErrorCode("audio_too_long", 413, _DATA, "the song is longer than the limit"),
        ErrorCode("audio_too_large", 413, _DATA, "the file is larger than the limit"),
        ErrorCode("audio_rate_unsupported", 422, _DATA, "the sample rate is outside what is supported"),
        ErrorCode("audio_channels_unsupported", 422, _DATA, "the number of channels is outside what is supported"),
        ErrorCode("audio_format_changes", 422, _DATA, "the sample rate or number of channels changes inside the song"),
        # The request cannot be met.
        ErrorCode("stem_unknown", 422, _USAGE, "no stem has this name"),
        ErrorCode("format_unknown", 422, _USAGE, "no output format has this name"),
        ErrorCode("format_cannot_hold", 422, _DATA, "the output format cannot hold this rate or number of channels"),
        ErrorCode("option_invalid", 422, _USAGE, "an option has a value that cannot be used"),
        # Models.
        ErrorCode("model_unknown", 422, _USAGE, "no model has this name"),
        ErrorCode("model_unavailable", 503, _UNAVAILABLE, "the model's weights could not be had from anywhere"),
        ErrorCode("model_damaged", 500, _DATA, "the weights are not the published ones (sha256 differs)"),
        ErrorCode("model_licence_refused", 403, _NOPERM, "this installation refuses weights of this licence"),
        # Running.
        ErrorCode("cancelled", 409, 130, "the work was cancelled"),
        ErrorCode("device_unavailable", 503, _UNAVAILABLE, "the device asked for is not there"),
        ErrorCode("device_out_of_memory", 503, _UNAVAILABLE, "the device has too little memory, at half the batch too"),
        ErrorCode("disk_full", 507, _IO, "there is too little disk space for the result"),
        ErrorCode("storage_failed", 503, _IO, "the storage did not take or give the object"),
        ErrorCode("contract_broken", 500, _SOFTWARE, "a result failed its own proof and is withheld"),
        ErrorCode("result_invalid", 422, _DATA, "a result folder does not hold against its source"),
        ErrorCode("internal", 500, _SOFTWARE, "something unexpected failed"),
    )
}


class StemPipelineError(Exception):
    """Base of all coded refusals.

    >>> StemPipelineError("audio_empty", "The file is empty: send one that has audio in it.").http_status
    422
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.spec = CODES[code]
        self.message = message

    @property
    def code(self) -> str:
        return self.spec.code

    @property
    def http_status(self) -> int:
        return self.spec.http_status

    @property
    def exit_status(self) -> int:
        return self.spec.exit_status

    def as_dict(self) -> dict[str, str]:
        return {"code": self.code, "message": self.message}

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return (type(self), (self.code, self.message))


class AudioRefused(StemPipelineError):
    """The file cannot be a song."""


class RequestRefused(StemPipelineError):
    """The song may be fine; what is asked of it cannot be done."""


class ModelRefused(StemPipelineError):
    """Weights are missing, damaged, or of a licence that is refused."""


class Cancelled(StemPipelineError):
    """Somebody asked to stop; nothing was published."""

    def __init__(
        self, code: str = "cancelled", message: str = "The separation was cancelled; nothing was written."
    ) -> None:
        super().__init__(code, message)


class RunFailed(StemPipelineError):
    """The machine, the device or the storage failed while working."""
