"""Re-indexes, and goes back: fills a version of the index beside the live one, looks at it, and lets it take over."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient

from backends.index_topic import read_index
from backends.vector_store import VectorStore
from infra.local.lag import members
from ragline.reindex.errors import ReindexError
from ragline.reindex.filling import catch_up, check_failures, remove_orphans
from ragline.reindex.fleet import Fleet
from ragline.reindex.options import Options, with_options
from ragline.reindex.plan import Plan, plan_reindex
from ragline.reindex.reader import TallyReader, reading
from ragline.reindex.session import Change, Session, now
from ragline.reindex.tally import Tally
from ragline.reindex.verification import Checked, verify
from ragline.reindex.waiting import until
from ragline.settings import Settings
from ragline.versions import state_of, with_version
from schemas.events import IndexChanged, IndexVersion
from topics.admin import apply_topics
from topics.names import INGEST_STAGES
from topics.specs import index_topics

_HANDOVER_TIMEOUT_S = 120.0
_HANDOVER_POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class Systems:
    """What a re-index works with besides what it changes: collections by settings, the workers that fill one, and who
    is told, in sentences and by the tally as it grows. It looks for ``samples`` chunks, and gives up when nothing moves
    for ``timeout_s`` seconds.
    """

    make_store: Callable[[Settings], VectorStore]
    fleet: Fleet
    report: Callable[[str], None]
    progress: Callable[[Tally], None]
    samples: int = 50
    timeout_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Summary:
    """What a re-index or rollback has done. ``failed`` are documents that could not be made searchable, and why."""

    version: int
    collection: str
    previous: str
    documents: int
    chunks: int
    failed: Mapping[str, str]
    checked: Checked
    seconds: float

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"ok": True, **asdict(self), "failed": dict(self.failed)}


@dataclass(frozen=True, slots=True)
class Preview:
    """What a re-index would do, with the settings of the live version and of the new one."""

    plan: Plan
    live: Settings
    wanted: Settings
    tally: Tally


async def preview(settings: Settings, options: Options) -> Preview:
    """Look what a re-index would do; changes nothing.

    Raises:
        ReindexError: it would not begin.
        SettingsError: the options are wrong.
        KafkaError: Kafka does not answer.
        OSError: the topic of the versions is missing.
    """
    state = state_of(settings, await read_index(settings.kafka, settings.names), now())
    live, wanted = _wanted(settings, state, options)
    plan = plan_reindex(state, wanted, now())
    async with reading(settings.kafka, settings.names.of_index(plan.target.version)) as reader:
        await reader.beside(reader.read_all())
    return Preview(plan, live, wanted, reader.tally)


async def reindex(change: Change, systems: Systems, options: Options) -> Summary:
    """Fill a new version of the index with all documents, and make it live.

    Cancelled or killed at any moment, questions are answered as before; the same options again go on from there.

    Raises:
        ReindexError: it cannot begin, does not go on, or the new version is not as it should be.
        SettingsError: the options are wrong.
        KafkaError: Kafka does not answer, or another re-index has taken over.
        BackendError: the vector store does not answer, or refuses.
        OSError: the topic of the versions is missing.
    """
    async with Session(change) as session:
        _, wanted = _wanted(change.settings, session.state, options)
        plan = plan_reindex(session.state, wanted, now())
        if plan.removes:
            systems.report(f"removing {plan.removes.collection}, which was begun with other settings")
            await session.remove(plan.removes.collection)
        if plan.resumes:
            systems.report(f"going on with {plan.target.collection}")
        return await _Filling(change.settings, systems, session, plan.target).run()


async def rollback(change: Change, systems: Systems) -> Summary:
    """Make the version live again that was so before, once it has what has come since.

    Raises as ``reindex`` does.
    """
    async with Session(change) as session:
        if session.state.previous is None:
            raise ReindexError("no version is kept that one could go back to")
        return await _Filling(change.settings, systems, session, session.state.previous).run()


def _wanted(settings: Settings, state: IndexChanged, options: Options) -> tuple[Settings, Settings]:
    """The settings of the live version, and of the one that the options ask for."""
    live = with_version(settings, state.live)
    live = live.model_copy(update={"milvus": live.milvus.model_copy(update={"collection": state.alias})})
    return live, with_options(live, options)


class _Filling:
    """One version on its way to being live."""

    def __init__(self, settings: Settings, systems: Systems, session: Session, target: IndexVersion) -> None:
        self._settings = settings
        self._systems = systems
        self._session = session
        self._target = target
        self._live = session.state.live
        self._names = settings.names.of_index(target.version)
        self._began = time.monotonic()

    async def run(self) -> Summary:
        settings, systems = self._settings, self._systems
        await apply_topics(settings.kafka, settings.topics, self._names, specs=index_topics(), report=systems.report)
        async with reading(settings.kafka, self._names) as reader:
            await reader.beside(reader.read_all())
            if not reader.tally.documents:
                raise ReindexError("there are no documents to index; see: ragline documents list")
            await self._session.begin(self._target)
            async with systems.fleet(self._target.version) as workers:
                checked = await reader.beside(self._fill(reader))
                await self._take_over(workers)
        return self._summary(reader.tally, checked)

    async def _fill(self, reader: TallyReader) -> Checked:
        systems, tally = self._systems, reader.tally
        await catch_up(reader, systems.progress, systems.timeout_s)
        orphans = await remove_orphans(self._session.producer, self._names, tally, systems.timeout_s)
        if orphans:
            systems.report(f"removed {orphans} documents that were deleted long ago")
        await check_failures(self._settings.kafka, self._settings.names.of_index(self._live.version), tally)
        systems.report("all documents are in; looking whether they are found")
        aimed = with_version(self._settings, self._target)
        store = systems.make_store(aimed)
        try:
            await store.flush()
            checked = await verify(store, reader, systems.samples, aimed.milvus.language)
        finally:
            await store.close()
        await catch_up(reader, systems.progress, systems.timeout_s)
        return checked

    async def _take_over(self, workers: Mapping[str, int]) -> None:
        """Let the version take over, and work for it until those who worked for the one before do so."""
        kafka, names = self._settings.kafka, self._settings.names.of_index(self._live.version)
        admin = AIOKafkaAdminClient(**kafka.client_options())
        await admin.start()
        try:
            busy = [stage for stage in INGEST_STAGES if await members(admin, names.group(stage))]

            async def have_come() -> bool:
                new = [(await members(admin, self._names.group(stage)), workers[stage]) for stage in busy]
                return all(found > own for found, own in new)

            await self._session.activate(self._target)
            self._systems.report(f"{self._target.collection} is live; {self._live.collection} is kept")
            try:
                async with asyncio.timeout(_HANDOVER_TIMEOUT_S):
                    await until(have_come, _HANDOVER_POLL_S)
            except TimeoutError:
                self._systems.report("the ingest workers do not work for it yet; new documents wait for them")
        finally:
            await admin.close()

    def _summary(self, tally: Tally, checked: Checked) -> Summary:
        return Summary(
            version=self._target.version,
            collection=self._target.collection,
            previous=self._live.collection,
            documents=tally.searchable,
            chunks=tally.chunks.total(),
            failed=tally.failures,
            checked=checked,
            seconds=round(time.monotonic() - self._began, 1),
        )
