"""What pymilvus and gRPC raise, as the two errors that a stage decides by."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc  # type: ignore[import-untyped]  # ships no types
from pymilvus import MilvusException
from pymilvus.exceptions import ConnectError, MilvusUnavailableException

from backends.errors import BackendRejectedError, BackendUnavailableError

# From merr in Milvus' pkg/util/merr/errors.go; 2 is also what pymilvus says when it cannot connect.
_SERVICE_UNAVAILABLE = 2
_RATE_LIMIT = 8
COLLECTION_NOT_FOUND = 100
COLLECTION_NOT_LOADED = 101
ALIAS_NOT_FOUND = 1600
_COLLECTION_NOT_FULLY_LOADED = 103
_PASSING = (_SERVICE_UNAVAILABLE, _RATE_LIMIT, COLLECTION_NOT_LOADED, _COLLECTION_NOT_FULLY_LOADED)
_AWAY = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.ABORTED,
)


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Raise ``BackendUnavailableError`` for an outage of Milvus at ``uri``, ``BackendRejectedError`` for the rest."""
    try:
        yield
    except grpc.RpcError as error:
        raise _decided(uri, error.code(), error.details() or "", passing=False) from error
    except MilvusException as error:
        passing = (
            error.retriable or error.code in _PASSING or isinstance(error, (ConnectError, MilvusUnavailableException))
        )
        raise _decided(uri, error.code, error.message, passing=passing) from error


def _decided(
    uri: str, code: int | grpc.StatusCode, message: str, *, passing: bool
) -> BackendUnavailableError | BackendRejectedError:
    if passing or code in _AWAY:
        return BackendUnavailableError(f"Milvus at {uri} does not answer: {message or code}")
    return BackendRejectedError(f"Milvus at {uri} refuses the request: {message or code}")
