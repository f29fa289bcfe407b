"""The right to change which versions of the index there are, and the changes."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from backends.aliases import Aliases
from backends.index_topic import index_writer, read_index, write_index
from ragline.reindex.claim import claimed
from ragline.reindex.plan import activated, begun, without
from ragline.settings import Settings
from ragline.versions import state_of
from schemas.events import IndexChanged, IndexVersion
from topics.specs import index_topics


def now() -> datetime:
    """The time in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Change:
    """Who changes what: the settings, the names of collections, and who it is."""

    settings: Settings
    aliases: Aliases
    by: str


class Session:
    """A context within which nobody else changes the versions; ``state`` is what holds.

    Raises:
        ReindexError: somebody else has the right.
        KafkaError: Kafka does not answer; later, somebody else has taken the right over.
        OSError: the topic of the versions is missing.
    """

    def __init__(self, change: Change) -> None:
        self._change = change
        self._stack = AsyncExitStack()
        self.state: IndexChanged
        self.producer: AIOKafkaProducer

    async def __aenter__(self) -> Self:
        settings = self._change.settings
        kafka, names = settings.kafka, settings.names
        async with AsyncExitStack() as stack:
            # Before all else, for it says in a sentence that the topic is missing.
            await read_index(kafka, names)
            await stack.enter_async_context(claimed(kafka, names))
            self.producer = await stack.enter_async_context(index_writer(kafka, names))
            self.state = state_of(settings, await read_index(kafka, names), now())
            await self._mend_alias()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def begin(self, target: IndexVersion) -> None:
        """Note that the target is being filled."""
        if target not in self.state.versions:
            await self._say(lambda state, by, at: begun(state, target, by, at))

    async def activate(self, target: IndexVersion) -> None:
        """Make the target live. Killed in between, only the alias is ahead, and the next session takes it back."""
        await self._change.aliases.point(self.state.alias, target.collection)
        await self._say(lambda state, by, at: activated(state, target, by, at))

    async def remove(self, collection: str) -> None:
        """Forget a version, then remove what it leaves. Killed in between, its collection is only in the way.

        Raises:
            ReindexError: it is the live one, or none of the index.
        """
        version = next((known for known in self.state.versions if known.collection == collection), None)
        await self._say(lambda state, by, at: without(state, collection, by, at))
        await self._change.aliases.drop(collection)
        if version is not None and version.version > 1:
            await self._delete_topics(version.version)

    async def _say(self, change: Callable[[IndexChanged, str, datetime], IndexChanged]) -> None:
        state = change(self.state, self._change.by, now())
        await write_index(self.producer, self._change.settings.names, state)
        self.state = state

    async def _mend_alias(self) -> None:
        stands_for = await self._change.aliases.target(self.state.alias)
        if stands_for not in {None, self.state.live.collection}:
            await self._change.aliases.point(self.state.alias, self.state.live.collection)

    async def _delete_topics(self, version: int) -> None:
        settings = self._change.settings
        names = settings.names.of_index(version)
        admin = AIOKafkaAdminClient(**settings.kafka.client_options())
        await admin.start()
        try:
            there = set(await admin.list_topics())
            await admin.delete_topics([topic for topic in map(names.topic, index_topics()) if topic in there])
        finally:
            await admin.close()
