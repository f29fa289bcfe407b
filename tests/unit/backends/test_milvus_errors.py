"""Which errors of pymilvus and gRPC count as an outage."""

import grpc
import pytest
from pymilvus import MilvusException
from pymilvus.exceptions import ConnectError, ParamError

from backends.errors import BackendError, BackendRejectedError, BackendUnavailableError
from backends.milvus_errors import translated


class CallFailed(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "the details"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (CallFailed(grpc.StatusCode.UNAVAILABLE), BackendUnavailableError),
        (CallFailed(grpc.StatusCode.DEADLINE_EXCEEDED), BackendUnavailableError),
        (CallFailed(grpc.StatusCode.RESOURCE_EXHAUSTED), BackendRejectedError),
        (CallFailed(grpc.StatusCode.UNAUTHENTICATED), BackendRejectedError),
        (MilvusException(grpc.StatusCode.UNAVAILABLE, "retries ended"), BackendUnavailableError),
        (MilvusException(8, "rate limit"), BackendUnavailableError),
        (MilvusException(1, "not ready", retriable=True), BackendUnavailableError),
        (ConnectError(message="no connection"), BackendUnavailableError),
        (MilvusException(1, "it is wrong"), BackendRejectedError),
        (MilvusException(6, "illegal argument"), BackendRejectedError),
        (ParamError(message="a parameter"), BackendRejectedError),
    ],
)
def test_an_outage_is_told_from_a_refusal(error: Exception, expected: type[BackendError]) -> None:
    sentence = r"^Milvus at http://m (does not answer|refuses the request): ."
    with pytest.raises(expected, match=sentence) as caught, translated("http://m"):
        raise error
    assert caught.value.__cause__ is error
