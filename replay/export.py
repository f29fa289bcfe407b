"""Makes a run's rows of what is in topics; of a request that went twice through a stage, the first time counts."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import IntFlag

from aiokafka.structs import ConsumerRecord

from backends.kafka import KafkaSettings
from replay.recording import Recording
from replay.requests import REPLAYED_FROM, incoming, request_id
from replay.run_folder.from_events import answer_row, passage_rows, request_row, stamp_rows
from replay.run_folder.rows import RequestRow, Row
from replay.run_folder.writer import RunWriter
from replay.selection import Span
from replay.topology import Way
from replay.tracker import name_of
from schemas import codec
from schemas.events import Event, PassagesRetrieved, PromptBuilt, QueryAccepted, QueryAsked, QueryStageEvent, Terminal
from topics.names import Namespace
from topics.specs import ANSWERS, PASSAGES_RETRIEVED, PROMPTS_BUILT, QUERIES, QUERIES_ACCEPTED, TopicSpec
from workers.runtime.records import Incoming

# Whether a record counts, by its request ID and its time (Unix time in milliseconds).
Wanted = Callable[[str, int], bool]


class _Part(IntFlag):
    """What the run has of a request."""

    REQUEST = 1
    PASSAGES = 2
    ENDING = 4


class Export:
    """Adds to a run what topics of a namespace say of requests from a way's source on.

    ``wanted`` says which records of the source count, among those of ``spans``, where they are given. Nothing counts
    until the writer's next checkpoint. ``requests`` and ``endings`` count what was added.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        names: Namespace,
        way: Way,
        writer: RunWriter,
        wanted: Wanted = lambda *_: True,
        spans: Mapping[int, Span] | None = None,
    ) -> None:
        self._kafka = kafka
        self._names = names
        self._way = way
        self._writer = writer
        self._wanted = wanted
        self._spans = spans
        self._parts: dict[int, int] = {}
        self.requests = 0
        self.endings = 0

    async def run(self) -> None:
        """Read the topics, one after the other.

        Raises:
            ReplayError: Kafka does not answer, or a topic is missing.
            OSError: the disk is full.
        """
        source = self._way.source
        if source is QUERIES and self._spans is None:
            # What was decided of it; of a question that the query stage refused, only what was asked is known.
            await self._read(QUERIES_ACCEPTED, _Part.REQUEST)
        await self._read(source, _Part.REQUEST, self._spans)
        # Without a topic of passages, those of the prompt are all there are.
        of_way = (source, *self._way.outputs)
        await self._read(PASSAGES_RETRIEVED if PASSAGES_RETRIEVED in of_way else PROMPTS_BUILT, _Part.PASSAGES)
        await self._read(ANSWERS, _Part.ENDING)

    async def _read(self, spec: TopicSpec, part: _Part, spans: Mapping[int, Span] | None = None) -> None:
        async with Recording(self._kafka, self._names.topic(spec)) as recording:
            async for records in recording.read(spans or await recording.whole()):
                # Decoding and compressing some hundred records takes long enough for heartbeats to be late.
                await asyncio.to_thread(self._add, spec, part, records)

    def _add(self, spec: TopicSpec, part: _Part, records: Sequence[ConsumerRecord]) -> None:
        for record in records:
            came = incoming(record)
            name = request_id(came)
            if not self._is_first(part, name, record.timestamp):
                continue
            try:
                event = codec.decode(came.value, came.headers.type, spec.events)
            except codec.UndecodableError:
                # It has its own ending in the run, which says so.
                continue
            self._writer.add(_rows(part, name, came, event))
            self.requests += part is _Part.REQUEST
            self.endings += part is _Part.ENDING

    def _is_first(self, part: _Part, request: str, at_ms: int) -> bool:
        name = name_of(request)
        had = self._parts.get(name, 0)
        if had & part or not (self._wanted(request, at_ms) if part is _Part.REQUEST else had):
            return False
        self._parts[name] = had | part
        return True


def _rows(part: _Part, request: str, record: Incoming, event: Event) -> Iterator[Row]:
    match event:
        case _ if part is _Part.REQUEST:
            yield _request(request, record, event)
        case PassagesRetrieved():
            yield from passage_rows(request, event.passages)
        case PromptBuilt():
            yield from passage_rows(request, [source.passage for source in event.sources])
        case Terminal():
            yield answer_row(event, int(record.timestamp.timestamp() * 1000))
            yield from stamp_rows(request, record.headers.timeline)


def _request(request: str, record: Incoming, event: Event) -> RequestRow:
    partition, offset = _place(record)
    match event:
        case QueryAccepted():
            return request_row(event, partition=partition, offset=offset)
        case QueryStageEvent(query=query):
            return request_row(query, partition=partition, offset=offset)
    question, tenant = (event.question, event.tenant) if isinstance(event, QueryAsked) else ("", None)
    return RequestRow(
        request_id=request,
        query_id=request,
        tenant=tenant or record.headers.tenant or "",
        question=question,
        partition=partition,
        offset=offset,
    )


def _place(record: Incoming) -> tuple[int | None, int | None]:
    """Where the record was recorded; None of one that a stage of the replay has written."""
    replayed_from = record.headers.raw.get(REPLAYED_FROM)
    if replayed_from is None:
        return (None, None) if record.headers.replay else (record.origin.partition, record.origin.offset)
    _, partition, offset = replayed_from.decode("utf-8", "replace").rsplit("/", 2)
    return int(partition), int(offset)
