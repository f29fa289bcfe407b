"""What Qdrant's client raises, as the two errors that a stage decides by."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import orjson
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from backends.errors import BackendError, BackendRejectedError, BackendUnavailableError

NOT_FOUND = 404
_PASSING = (408, 429)
_FIRST_SERVER_ERROR = 500


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Raise ``BackendUnavailableError`` for an outage of Qdrant at ``place``, a URL or a folder, and
    ``BackendRejectedError`` for what it refuses.
    """
    try:
        yield
    except BackendError:
        raise
    except UnexpectedResponse as error:
        status = error.status_code or 0
        is_passing = status in _PASSING or status >= _FIRST_SERVER_ERROR
        raise _decided(place, _reason(error), is_passing=is_passing) from error
    except ResponseHandlingException as error:
        raise _decided(place, error.source, is_passing=isinstance(error.source, httpx.TransportError)) from error
    except (ResourceExhaustedResponse, sqlite3.OperationalError, OSError) as error:
        raise _decided(place, error, is_passing=True) from error
    # What the embedded Qdrant refuses with.
    except (ValueError, RuntimeError, sqlite3.Error) as error:
        raise _decided(place, error, is_passing=False) from error


def _decided(place: str, reason: object, *, is_passing: bool) -> BackendError:
    said = str(reason) or type(reason).__name__
    if is_passing:
        return BackendUnavailableError(f"Qdrant at {place} does not answer: {said}")
    return BackendRejectedError(f"Qdrant at {place} refuses the request: {said}")


def _reason(error: UnexpectedResponse) -> str:
    """What the server says is wrong; a proxy before it may say it in another way."""
    try:
        return str(orjson.loads(error.content)["status"]["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return f"{error.status_code} {error.reason_phrase}".strip()
