"""Which errors of Qdrant's client count as an outage."""

import sqlite3

import httpx
import pytest
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from backends.errors import BackendError, BackendRejectedError, BackendUnavailableError
from backends.qdrant_errors import translated


def answered(status: int, content: bytes = b'{"status":{"error":"it is wrong"}}') -> UnexpectedResponse:
    return UnexpectedResponse(status, "Reason", content, httpx.Headers())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ResponseHandlingException(httpx.ConnectError("no connection")), BackendUnavailableError),
        (ResponseHandlingException(httpx.ReadTimeout("")), BackendUnavailableError),
        (ResponseHandlingException(ValueError("no answer of Qdrant's")), BackendRejectedError),
        (ResourceExhaustedResponse("slowly", 1), BackendUnavailableError),
        (answered(500), BackendUnavailableError),
        (answered(503, b"<html>"), BackendUnavailableError),
        (answered(429), BackendUnavailableError),
        (answered(400), BackendRejectedError),
        (answered(401, b"null"), BackendRejectedError),
        (sqlite3.OperationalError("disk is full"), BackendUnavailableError),
        (OSError("no space left"), BackendUnavailableError),
        (ValueError("a vector of another length"), BackendRejectedError),
        (RuntimeError("opened elsewhere"), BackendRejectedError),
    ],
)
def test_an_outage_is_told_from_a_refusal(error: Exception, expected: type[BackendError]) -> None:
    sentence = r"^Qdrant at http://q (does not answer|refuses the request): ."
    with pytest.raises(expected, match=sentence) as caught, translated("http://q"):
        raise error
    assert caught.value.__cause__ is error


def test_what_is_said_already_stays() -> None:
    with pytest.raises(BackendRejectedError, match=r"^said$"), translated("http://q"):
        raise BackendRejectedError("said")


def test_the_servers_own_words_are_said() -> None:
    with pytest.raises(BackendRejectedError, match=r"refuses the request: it is wrong$"), translated("http://q"):
        raise answered(400)
