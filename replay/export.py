"""Makes a run's rows of what is in topics; of a request that went twice through a stage, the first time counts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from aiokafka.structs import ConsumerRecord

from backends.kafka import KafkaSettings
from replay.recording import Recording
from replay.requests import REPLAYED_FROM, incoming, request_id
from replay.run_folder.from_events import answer_row, event_stamp, passage_rows, request_row, stamp_rows
from replay.run_folder.rows import RequestRow, Row
from replay.run_folder.writer import RunWriter
from replay.selection import Span
from replay.topology import Way
from replay.tracker import name_of
from schemas import codec
from schemas.events import Event, PassagesRetrieved, PromptBuilt, QueryAccepted, QueryAsked, QueryStageEvent, Terminal
from schemas.headers import Headers
from topics.names import Namespace
from topics.specs import TopicSpec
from workers.runtime.records import Incoming

# Whether a record of the source counts, by its request ID and its time (Unix time in milliseconds).
Wanted = Callable[[str, int], bool]
_REQUEST = 1


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
        # A bit for the request itself, and one for each topic that has said something of it.
        self._seen: dict[int, int] = {}
        self.requests = 0
        self.endings = 0

    async def run(self) -> None:
        """Read the topics, one after the other.

        Raises:
            ReplayError: Kafka does not answer, or a topic is missing.
            OSError: the disk is full.
        """
        source = self._way.source
        await self._read(source, _REQUEST, self._spans)
        for number, spec in enumerate(self._way.outputs, start=1):
            await self._read(spec, _REQUEST << number)

    async def _read(self, spec: TopicSpec, bit: int, spans: Mapping[int, Span] | None = None) -> None:
        async with Recording(self._kafka, self._names.topic(spec)) as recording:
            async for _ in recording.read_with(partial(self._add, spec, bit), spans or await recording.whole()):
                pass

    def _add(self, spec: TopicSpec, bit: int, records: Sequence[ConsumerRecord]) -> None:
        for record in records:
            came = incoming(record)
            name = request_id(came)
            if not self._is_first(bit, name, record.timestamp):
                continue
            try:
                event = codec.decode(came.value, came.headers.type, spec.events)
            except codec.UndecodableError:
                # Its stage has said so, in an ending of its own.
                continue
            self._writer.add(self._rows(spec, name, came, event))
            self.endings += isinstance(event, Terminal)

    def _is_first(self, bit: int, request: str, at_ms: int) -> bool:
        name = name_of(request)
        had = self._seen.get(name, 0)
        if had & bit or not (self._wanted(request, at_ms) if bit == _REQUEST else had):
            return False
        self._seen[name] = had | bit
        return True

    def _rows(self, spec: TopicSpec, request: str, record: Incoming, event: Event) -> Iterator[Row]:
        is_source = spec is self._way.source
        timeline = record.headers.timeline
        if is_source:
            self.requests += 1
            yield _request(request, record, event)
        match event:
            case PassagesRetrieved():
                yield from passage_rows(request, event.passages)
            case PromptBuilt() if is_source:
                # Those of the prompt are all there are.
                yield from passage_rows(request, [source.passage for source in event.sources])
            case Terminal():
                yield answer_row(event, int(record.timestamp.timestamp() * 1000))
        # Whoever wrote a record has the last entry of its timeline; the source says it of all stages before, too.
        yield from stamp_rows(request, timeline if is_source else timeline[-1:], _stamps(event, record.headers))


def _stamps(event: Event, headers: Headers) -> dict[str, str]:
    stamp = event_stamp(event, headers)
    return dict([stamp]) if stamp else {}


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
        asked_at_ms=int((record.headers.time or record.timestamp).timestamp() * 1000),
        partition=partition,
        offset=offset,
    )


def _place(record: Incoming) -> tuple[int, int]:
    """Where the record was recorded."""
    replayed_from = record.headers.raw.get(REPLAYED_FROM)
    if replayed_from is None:
        return record.origin.partition, record.origin.offset
    _, partition, offset = replayed_from.decode("utf-8", "replace").rsplit("/", 2)
    return int(partition), int(offset)
