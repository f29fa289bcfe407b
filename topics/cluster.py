"""A cluster's topics over the wire: each call is tried again until a deadline."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import InvalidPartitionsError, KafkaConnectionError, KafkaError, TopicAlreadyExistsError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_before_delay, wait_random_exponential

from topics.plan import ActualTopic, Create, Mismatch, Plan

T = TypeVar("T")
Report = Callable[[str], None]

_REQUEST_TIMEOUT_MS = 15_000
# Kafka protocol, DescribeConfigs: the source of a value that is set on the topic itself.
_DYNAMIC_TOPIC_CONFIG = 1


class TopicsError(Exception):
    """The cluster's topics cannot be read or changed; the message says which and why."""


class KafkaConnection(Protocol):
    """How to reach a cluster, in the terms of aiokafka."""

    @property
    def bootstrap_servers(self) -> str:
        """Brokers, host:port, comma-separated."""
        ...

    def client_options(self) -> dict[str, Any]:
        """Keyword arguments common to aiokafka's clients."""
        ...


@dataclass(frozen=True, slots=True)
class PartitionState:
    """A partition as the cluster has it.

    ``first_offset`` is the oldest record's, ``next_offset`` the one that the next record will get; both are None, as
    ``leader`` is, while the partition has no leader.
    """

    topic: str
    partition: int
    leader: int | None
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]
    first_offset: int | None
    next_offset: int | None


class _NotYetError(Exception):
    """The cluster answers, but is not where it will be in a moment."""


@asynccontextmanager
async def connect(kafka: KafkaConnection, report: Report | None, timeout_s: float) -> AsyncIterator["Cluster"]:
    """A connection to the cluster for as long as the block runs; ``timeout_s`` bounds the whole block.

    Raises:
        TopicsError: from any of its calls, when the cluster did not answer in time or refused.
    """
    cluster = Cluster(kafka, report, timeout_s)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.client.close()


class Cluster:
    """A started admin client; every call to the cluster is tried again until the deadline."""

    def __init__(self, kafka: KafkaConnection, report: Report | None, timeout_s: float) -> None:
        self._kafka = kafka
        self._report = report
        self._deadline = asyncio.get_running_loop().time() + timeout_s
        self._timeout_s = timeout_s
        self._last: BaseException | None = None
        self.client = AIOKafkaAdminClient(**kafka.client_options(), request_timeout_ms=_REQUEST_TIMEOUT_MS)

    async def start(self) -> None:
        await self._persist(self.client.start)

    async def read(self, topics: Sequence[str], *, complete: bool = False) -> dict[str, ActualTopic]:
        """The cluster's topics of these names; with ``complete``, tried again until all are there and have leaders."""

        async def read_once() -> dict[str, ActualTopic]:
            there = await self._metadata(topics)
            if complete:
                _check_complete(topics, there)
            if not there:
                return {}
            resources = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in there]
            responses = await self.client.describe_configs(resources)
            return _actual(there, [answer for response in responses for answer in response.resources])

        return await self._persist(read_once)

    async def create(self, creates: Sequence[Create]) -> tuple[str, ...]:
        """Create topics; returns those that were not there already."""
        created: set[str] = set()

        async def create_once() -> None:
            await self._check_controller()
            response = await self.client.create_topics(
                [
                    NewTopic(new.topic, new.partitions, new.replication_factor, topic_configs=dict(new.configs))
                    for new in creates
                ]
            )
            created.update(_created(response.topic_errors))

        if creates:
            await self._persist(create_once)
        return tuple(new.topic for new in creates if new.topic in created)

    async def change(self, found: Plan) -> tuple[str, ...]:
        """Grow partitions and set configs; returns the topics changed."""
        by_topic: dict[str, list[Mismatch]] = {}
        for mismatch in found.mismatches:
            if mismatch.fixable:
                by_topic.setdefault(mismatch.topic, []).append(mismatch)
        if found.grows:
            await self._persist(lambda: self._grow({grow.topic: grow.wanted for grow in found.grows}))
        for topic, mismatches in by_topic.items():
            await self._set_configs(topic, {mismatch.setting: mismatch.wanted for mismatch in mismatches})
        return tuple(dict.fromkeys([*(grow.topic for grow in found.grows), *by_topic]))

    async def _grow(self, partitions: Mapping[str, int]) -> None:
        await self._check_controller()
        # Someone else may have grown the topic meanwhile; what still differs is read again afterwards.
        with suppress(InvalidPartitionsError):
            await self.client.create_partitions({topic: NewPartitions(count) for topic, count in partitions.items()})

    async def _check_controller(self) -> None:
        # The admin client takes for granted that there is one.
        if (await self.client.describe_cluster())["controller_id"] < 0:
            msg = "the cluster has no controller"
            raise _NotYetError(msg)

    async def _set_configs(self, topic: str, configs: Mapping[str, str]) -> None:
        """Change some configs of a topic. Kafka's AlterConfigs drops what it is not sent, so all of them are."""
        overrides = dict((await self.read([topic], complete=True))[topic].overrides)

        async def set_once() -> None:
            resource = ConfigResource(ConfigResourceType.TOPIC, topic, {**overrides, **configs})
            for response in await self.client.alter_configs([resource]):
                for error_code, message, *_ in response.resources:
                    if error_code:
                        msg = f"the configs of {topic} could not be set: {message or f'error {error_code}'}"
                        raise TopicsError(msg)

        await self._persist(set_once)

    async def describe(self, topics: Sequence[str]) -> list[PartitionState]:
        there = await self._persist(lambda: self._metadata(topics))
        led = [
            TopicPartition(topic, part["partition"])
            for topic, parts in there.items()
            for part in parts
            if part["leader"] >= 0
        ]
        first, following = await self._persist(lambda: self._offsets(led))
        return [
            _partition_state(topic, part, first, following)
            for topic in topics
            for part in sorted(there.get(topic, ()), key=lambda part: int(part["partition"]))
        ]

    async def _metadata(self, topics: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        # Asking for a topic by name would create it where the broker's auto-creation is on.
        wanted = set(topics)
        return {
            found["topic"]: found["partitions"]
            for found in await self.client.describe_topics()
            if found["topic"] in wanted and not found["error_code"]
        }

    async def _offsets(
        self, partitions: Sequence[TopicPartition]
    ) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        if not partitions:
            return {}, {}
        consumer = AIOKafkaConsumer(
            **self._kafka.client_options(),
            request_timeout_ms=_REQUEST_TIMEOUT_MS,
            # It waits this long once for each topic that it has not heard of.
            retry_backoff_ms=10,
        )
        try:
            await consumer.start()
            return await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        finally:
            await consumer.stop()

    async def _persist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Await ``call`` until it succeeds, fails for good, or the deadline passes."""
        left_s = max(0.0, self._deadline - asyncio.get_running_loop().time())
        retrying = AsyncRetrying(
            retry=retry_if_exception(_may_pass),
            wait=wait_random_exponential(multiplier=0.05, max=1),
            stop=stop_before_delay(left_s),
            before_sleep=self._say,
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    async with asyncio.timeout_at(self._deadline):
                        return await call()
        except (KafkaError, OSError, _NotYetError) as error:
            if not _may_pass(error):
                msg = f"Kafka at {self._kafka.bootstrap_servers} refused: {_reason(error)}"
                raise TopicsError(msg) from error
            # Where the time ran out in the middle of a try, the one before says more.
            cause = self._last if isinstance(error, TimeoutError) and self._last else error
            msg = (
                f"Kafka at {self._kafka.bootstrap_servers} was not ready within {self._timeout_s:g} s: {_reason(cause)}"
            )
            raise TopicsError(msg) from error
        raise AssertionError

    def _say(self, state: RetryCallState) -> None:
        self._last = state.outcome.exception() if state.outcome else None
        if self._report and self._last:
            self._report(f"waiting for Kafka at {self._kafka.bootstrap_servers}: {_reason(self._last)}")


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, KafkaConnectionError | _NotYetError | TimeoutError | OSError) or (
        isinstance(error, KafkaError) and bool(error.retriable)
    )


def _check_complete(topics: Iterable[str], there: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    for topic in topics:
        if topic not in there:
            msg = f"topic {topic} is not known to every broker yet"
            raise _NotYetError(msg)
        if any(part["leader"] < 0 for part in there[topic]):
            msg = f"topic {topic} has a partition without a leader"
            raise _NotYetError(msg)


def _created(answers: Iterable[tuple[str, int, str | None]]) -> list[str]:
    created: list[str] = []
    refused: dict[str, list[str]] = {}
    for topic, code, message in answers:
        if code == 0:
            created.append(topic)
        elif code != TopicAlreadyExistsError.errno:
            refused.setdefault(message or f"error {code}", []).append(topic)
    if refused:
        reasons = [f"{message} ({', '.join(topics)})" for message, topics in refused.items()]
        msg = f"Kafka refused to create topics: {'; '.join(reasons)}"
        raise TopicsError(msg)
    return created


def _actual(
    there: Mapping[str, Sequence[Mapping[str, Any]]], answers: Iterable[Sequence[Any]]
) -> dict[str, ActualTopic]:
    actual: dict[str, ActualTopic] = {}
    for error_code, message, _, topic, entries in answers:
        if error_code:
            msg = f"the configs of {topic} could not be read: {message or f'error {error_code}'}"
            raise _NotYetError(msg)
        # An entry is name, value, read-only, source, sensitive, synonyms.
        values = {entry[0]: entry[1] for entry in entries if entry[1] is not None}
        own = {entry[0] for entry in entries if entry[3] == _DYNAMIC_TOPIC_CONFIG}
        partitions = there[topic]
        actual[topic] = ActualTopic(
            partitions=len(partitions),
            replication_factor=min(len(part["replicas"]) for part in partitions),
            configs=values,
            overrides={name: value for name, value in values.items() if name in own},
        )
    return actual


def _partition_state(
    topic: str,
    part: Mapping[str, Any],
    first: Mapping[TopicPartition, int],
    following: Mapping[TopicPartition, int],
) -> PartitionState:
    place = TopicPartition(topic, part["partition"])
    return PartitionState(
        topic=topic,
        partition=part["partition"],
        leader=part["leader"] if part["leader"] >= 0 else None,
        replicas=tuple(part["replicas"]),
        in_sync=tuple(part["isr"]),
        first_offset=first.get(place),
        next_offset=following.get(place),
    )
