"""Sends many records at once, and says which of them did not arrive."""

import asyncio
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError, RecordListTooLargeError

from workers.runtime.records import Outgoing

log = structlog.get_logger(__name__)

RESEND_WAIT_S = 1.0
# Larger ones are sent alone: what a topic takes is a limit for a whole batch.
_ALONE_BYTES = 64 * 1024
BATCH_BYTES = 256 * 1024
_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
# For keys of up to 255 bytes, the words of each length.
_WORDS = [struct.Struct(f"<{count}I") for count in range(64)]


@dataclass(slots=True)
class _Batch:
    """Records for one partition, and which groups they belong to."""

    builder: Any
    groups: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a group of records did not arrive, or not whole.

    It never will if it is ``too_large``. If it was ``in_company``, a batch was too large, perhaps for another's sake.
    """

    cause: BaseException
    too_large: bool = False
    in_company: bool = False


async def send_all(
    producer: AIOKafkaProducer, groups: Sequence[Sequence[Outgoing]], *, alone: bool = False
) -> dict[int, Failed]:
    """Send groups of records, those of a partition in order, and wait until every one is acknowledged or refused.

    Gives the groups that failed, by index. A batch that is too large takes all of its groups down with it: those that
    are not to blame arrive when they are sent ``alone``, each record in a batch of its own.
    """
    failed: dict[int, Failed] = {}
    sent: list[tuple[asyncio.Future[Any], list[int]]] = []
    for (topic, partition), records in (await _by_partition(producer, groups, failed)).items():
        for batch in _batches(producer, records, alone=alone):
            try:
                sent.append((await producer.send_batch(batch.builder, topic, partition=partition), batch.groups))
            except KafkaError as error:
                _note(failed, batch.groups, error, alone=alone)
    if sent:
        await asyncio.wait([acknowledged for acknowledged, _ in sent])
    for acknowledged, members in sent:
        if (refusal := acknowledged.exception()) is not None:
            _note(failed, members, refusal, alone=alone)
    return failed


def was_refused(failed: Mapping[int, Failed]) -> bool:
    """Whether a batch was too large.

    The producer is of no use then: aiokafka counts the sequence numbers of a refused batch as used, so the broker takes
    nothing more from it for that partition.
    """
    return any(failure.too_large or failure.in_company for failure in failed.values())


def raise_unless_passing(failed: Mapping[int, Failed]) -> None:
    """Raise a cause that sending again cannot mend; aiokafka marks those that can, but not its own time-out."""
    for cause in (failure.cause for failure in failed.values()):
        if not (isinstance(cause, KafkaTimeoutError) or (isinstance(cause, KafkaError) and cause.retriable)):
            raise cause
        log.warning("not produced yet, trying again", reason=str(cause) or repr(cause))


def partition_of(key: bytes, count: int) -> int:
    """The partition of a key among ``count``, as Kafka's own clients choose it.

    Murmur2 as in ``org.apache.kafka.common.utils.Utils.murmur2``; aiokafka's takes three times as long.
    """
    if count == 1:
        return 0
    length = len(key)
    words, rest = divmod(length, 4)
    hashed = 0x9747B28C ^ length
    unpack = _WORDS[words] if words < len(_WORDS) else struct.Struct(f"<{words}I")
    for word in unpack.unpack_from(key):
        mixed = word * 0x5BD1E995 & 0xFFFFFFFF
        hashed = (hashed * 0x5BD1E995 ^ (mixed ^ mixed >> 24) * 0x5BD1E995) & 0xFFFFFFFF
    if rest:
        hashed = (hashed ^ int.from_bytes(key[-rest:], "little")) * 0x5BD1E995 & 0xFFFFFFFF
    hashed = (hashed ^ hashed >> 13) * 0x5BD1E995 & 0xFFFFFFFF
    return ((hashed ^ hashed >> 15) & 0x7FFFFFFF) % count


async def _by_partition(
    producer: AIOKafkaProducer, groups: Sequence[Sequence[Outgoing]], failed: dict[int, Failed]
) -> dict[tuple[str, int], list[tuple[int, Outgoing]]]:
    counts: dict[str, int] = {}
    records: dict[tuple[str, int], list[tuple[int, Outgoing]]] = {}
    for index, group in enumerate(groups):
        for record in group:
            count = counts.get(record.topic)
            if count is None:
                try:
                    count = counts[record.topic] = len(await producer.partitions_for(record.topic))
                except KafkaError as error:
                    _note(failed, [index], error, alone=False)
                    continue
            place = record.topic, partition_of(record.key, count)
            records.setdefault(place, []).append((index, record))
    return records


def _batches(producer: AIOKafkaProducer, records: Sequence[tuple[int, Outgoing]], *, alone: bool) -> list[_Batch]:
    batches: list[_Batch] = []
    now_ms = time.time_ns() // 1_000_000
    closed = True
    for index, (_, key, value, headers) in records:
        large = alone or (value is not None and len(value) > _ALONE_BYTES)
        if (
            closed
            or large
            or batches[-1].builder.append(timestamp=now_ms, key=key, value=value, headers=headers) is None
        ):
            batches.append(_Batch(producer.create_batch()))
            batches[-1].builder.append(timestamp=now_ms, key=key, value=value, headers=headers)
        closed = large
        batches[-1].groups.append(index)
    return batches


def _note(failed: dict[int, Failed], groups: Sequence[int], error: BaseException, *, alone: bool) -> None:
    refused = isinstance(error, _TOO_LARGE)
    to_blame = refused and (alone or len(groups) == 1)
    for index in groups:
        if index not in failed or to_blame:
            failed[index] = Failed(error, too_large=to_blame, in_company=refused and not to_blame)
