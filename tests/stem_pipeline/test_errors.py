"""Every refusal has a stable code, a sentence, an HTTP status and an exit status, and survives a process border."""

from __future__ import annotations

import pickle

import pytest

from stem_pipeline import errors
from stem_pipeline.errors import CODES, Cancelled, StemPipelineError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, StemPipelineError)]
# Part of the public contract: a code may be added, never renamed or given another meaning.
PUBLISHED = {
    "audio_not_found": (404, 66),
    "audio_too_long": (413, 65),
    "audio_undecodable": (422, 65),
    "audio_no_stream": (422, 65),
    "audio_no_samples": (422, 65),
    "audio_not_finite": (422, 65),
    "stem_unknown": (422, 64),
    "format_unknown": (422, 64),
    "option_invalid": (422, 64),
    "model_unknown": (422, 64),
    "model_unavailable": (503, 69),
    "model_damaged": (500, 65),
    "model_licence_refused": (403, 77),
    "cancelled": (409, 130),
    "device_out_of_memory": (503, 69),
    "disk_full": (507, 74),
    "contract_broken": (500, 70),
    "result_invalid": (422, 65),
    "internal": (500, 70),
}


@pytest.mark.parametrize("code", list(PUBLISHED))
def test_a_published_code_keeps_its_http_and_exit_status(code: str) -> None:
    assert (CODES[code].http_status, CODES[code].exit_status) == PUBLISHED[code]


def test_every_code_is_an_identifier_with_a_meaning_and_statuses_that_say_failure() -> None:
    for code, spec in CODES.items():
        assert code == spec.code
        assert code.isidentifier()
        assert code == code.lower()
        assert spec.meaning
        assert 400 <= spec.http_status < 600
        assert 1 <= spec.exit_status <= 130


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_crosses_a_process_border_whole(kind: type[StemPipelineError]) -> None:
    error = kind("audio_empty", "The file is empty.")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (again.code, again.message, str(again)) == ("audio_empty", "The file is empty.", "The file is empty.")
    assert (again.http_status, again.exit_status) == (422, 65)
    assert again.as_dict() == {"code": "audio_empty", "message": "The file is empty."}


def test_a_code_that_is_not_in_the_table_cannot_be_raised() -> None:
    with pytest.raises(KeyError):
        StemPipelineError("something_new", "…")


def test_a_cancel_says_that_nothing_was_written() -> None:
    assert Cancelled().code == "cancelled"
    assert "nothing was written" in Cancelled().message
