"""Removes what a replay has made on the cluster and in Redis: all of a run's namespace, and nothing else."""

import asyncio
import time
from collections.abc import Iterable

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupIdNotFound, KafkaError, NoError, NonEmptyGroup, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.admin import DeleteGroupsRequest

from backends.kafka import KafkaSettings
from backends.live_view import LiveViewSettings
from backends.redis_keys import remove_keys
from replay.errors import ReplayError
from replay.recording import answering
from topics.names import Namespace

# Of a member that was killed, the group hears only when its session has timed out.
_GROUP_TIMEOUT_S = 30.0
_WAIT_S = 0.5


async def remove_namespace(kafka: KafkaSettings, redis: LiveViewSettings, names: Namespace) -> None:
    """Remove the topics, consumer groups and Redis keys of a namespace; what is not there is no error.

    Raises:
        ReplayError: the namespace is the whole cluster's, a group still has members, or Kafka does not answer.
        BackendUnavailableError: Redis does not answer.
    """
    if not names.prefix:
        raise ReplayError("only what is in a namespace of its own can be removed")
    beginning = names.of("")
    admin = AIOKafkaAdminClient(**kafka.client_options())
    try:
        with answering(kafka.bootstrap_servers):
            await admin.start()
            await _remove_groups(admin, beginning)
            await _remove_topics(admin, [name for name in await admin.list_topics() if name.startswith(beginning)])
    finally:
        await admin.close()
    await remove_keys(redis, beginning)


async def _remove_topics(admin: AIOKafkaAdminClient, topics: list[str]) -> None:
    if not topics:
        return
    response = await admin.delete_topics(topics)
    for topic, code, *_ in response.topic_error_codes:
        error = for_code(code)
        if error not in {NoError, UnknownTopicOrPartitionError}:
            raise error(topic)


async def _remove_groups(admin: AIOKafkaAdminClient, beginning: str) -> None:
    deadline = time.monotonic() + _GROUP_TIMEOUT_S
    while True:
        groups = [group for group, *_ in await admin.list_consumer_groups() if group.startswith(beginning)]
        busy = [group for group in groups if not await _remove_group(admin, group)]
        if not busy:
            return
        if time.monotonic() > deadline:
            raise ReplayError(f"{_listed(busy)} still {'has' if len(busy) == 1 else 'have'} workers; stop them first")
        await asyncio.sleep(_WAIT_S)


async def _remove_group(admin: AIOKafkaAdminClient, group: str) -> bool:
    """Whether it is gone; False while it has members."""
    coordinator = await admin.find_coordinator(group)
    # aiokafka knows the request, and has no method for it.
    response = await admin._send_request(DeleteGroupsRequest([group]), coordinator)  # noqa: SLF001
    for _, code in response.results:
        error: type[KafkaError] = for_code(code)
        if error is NonEmptyGroup:
            return False
        if error not in {NoError, GroupIdNotFound}:
            raise error(group)
    return True


def _listed(groups: Iterable[str]) -> str:
    return ", ".join(sorted(groups))
