"""Reads where a group stands, so that nothing committed before is missed.

aiokafka's own reader speaks version 3 of OffsetFetch: it takes a coordinator that answers with an error for the whole
request as one without commits, and it does not ask for stable offsets (KIP-447, version 7). Without that a coordinator
that has just taken over may answer from before the last commit.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, OffsetAndMetadata, TopicPartition
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NoError,
    NotCoordinatorForGroupError,
    for_code,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

log = structlog.get_logger(__name__)

_RETRY_WAIT_S = 0.1
_UNSTABLE_OFFSET_COMMIT = 88
_ELSEWHERE = (GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError)
_NONE = -1


class _Response(Response):  # type: ignore[misc]  # aiokafka is untyped
    API_KEY = 9
    API_VERSION = 7
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", CompactString("utf-8")),
                        ("error_code", Int16),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("error_code", Int16),
        ("tags", TaggedFields),
    )


class _Struct(RequestStruct):  # type: ignore[misc]  # aiokafka is untyped
    FLEXIBLE_VERSION = True
    API_KEY = 9
    API_VERSION = 7
    RESPONSE_TYPE = _Response
    SCHEMA = Schema(
        ("consumer_group", CompactString("utf-8")),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)
            ),
        ),
        ("require_stable", Boolean),
        ("tags", TaggedFields),
    )


class _OffsetFetch(Request[_Struct]):  # type: ignore[misc]  # aiokafka is untyped
    API_KEY = 9

    def __init__(self, group: str, partitions: Iterable[TopicPartition]) -> None:
        self._group = group
        self._numbers: dict[str, list[int]] = {}
        for tp in partitions:
            self._numbers.setdefault(tp.topic, []).append(tp.partition)

    def build(self, request_struct_class: type[_Struct]) -> _Struct:
        topics: list[tuple[str, list[int], dict[int, bytes]]] = [
            (topic, numbers, {}) for topic, numbers in self._numbers.items()
        ]
        return request_struct_class(self._group, topics, True, {})  # noqa: FBT003 - fields by position


async def read_committed(
    consumer: AIOKafkaConsumer, group: str, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, OffsetAndMetadata]:
    """What the group has committed for those of the partitions where it has; waits until that is certain.

    Raises:
        KafkaError: the brokers say that it will never be known, for example without authorization.
    """
    wanted = list(partitions)
    coordinator = consumer._coordinator  # noqa: SLF001 - the only way to the group's coordinator
    while wanted:
        await coordinator.ensure_coordinator_known()
        try:
            return _commits(await coordinator._send_req(_OffsetFetch(group, wanted)))  # noqa: SLF001
        except KafkaError as error:
            if not error.retriable:
                raise
            if isinstance(error, _ELSEWHERE):
                coordinator.coordinator_dead()
            log.info("committed offsets are not known yet", reason=str(error) or repr(error))
            await asyncio.sleep(_RETRY_WAIT_S)
    return {}


def _commits(response: Any) -> dict[TopicPartition, OffsetAndMetadata]:
    _raise_error(response.error_code)
    commits = {}
    for topic, partitions, _ in response.topics:
        for partition, offset, _, metadata, error_code, _ in partitions:
            _raise_error(error_code)
            if offset != _NONE:
                commits[TopicPartition(topic, partition)] = OffsetAndMetadata(offset, metadata or "")
    return commits


def _raise_error(code: int) -> None:
    if code == _UNSTABLE_OFFSET_COMMIT:
        # Unknown to aiokafka. A transaction is being completed.
        raise GroupLoadInProgressError
    kind = for_code(code)
    if kind is not NoError:
        raise kind
