"""Puts together what a request's records say: pure, without I/O."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import TypeAlias, TypeVar

import orjson
from pydantic import JsonValue

from ragline.explain.explanation import DeadLetter, Ending, Explanation, FoundPassage, SeenRecord, State, Step
from ragline.explain.reading import LETTERS, Recorded
from ragline.letters import read_letter
from replay.run_folder.from_events import event_stamp
from schemas import codec
from schemas.events import (
    Answered,
    CancellationRequested,
    Event,
    PassagesRetrieved,
    PromptBuilt,
    QueryAccepted,
    QueryAsked,
    QueryExpanded,
    QueryStageEvent,
    RequestCancelled,
    RequestExpired,
    RequestFailed,
    Terminal,
)
from schemas.headers import StageTime

E = TypeVar("E", bound=Event)
_Read: TypeAlias = tuple[Recorded, Event | None, str | None]

_STATES: dict[type[Event], State] = {
    Answered: "answered",
    RequestFailed: "failed",
    RequestExpired: "expired",
    RequestCancelled: "cancelled",
}


def explain(request_id: str, found: Sequence[Recorded]) -> Explanation:
    """Put together what the records of a request say; ``found`` has at least one."""
    found = sorted(found, key=lambda item: (item.record.headers.redrives, item.record.timestamp))
    letters = [_letter(item) for item in found if item.spec.name in LETTERS]
    events = [(item, *_decoded(item)) for item in found if item.spec.name not in LETTERS]
    said = [event for _, event, _ in events if event]
    asked, accepted = _last(said, QueryAsked), _accepted(said)
    retrieved, prompt, terminal = _last(said, PassagesRetrieved), _last(said, PromptBuilt), _last(said, Terminal)
    expanded = _last(said, QueryExpanded)
    asked_at = _asked_at(events, accepted)
    ended_at = next((item.record.timestamp for item, event, _ in reversed(events) if event is terminal), None)
    return Explanation(
        request_id=request_id,
        state=_STATES.get(type(terminal), "open") if terminal else "open",
        tenant=_tenant(asked, accepted, terminal),
        question=accepted.question if accepted else asked.question if asked else None,
        asked_at=asked_at,
        deadline_at=accepted.deadline_at if accepted else None,
        total_ms=_ms(asked_at, ended_at) if asked_at and ended_at else None,
        lane=accepted.lane if accepted else None,
        options=accepted.options if accepted else None,
        history=accepted.history if accepted else (),
        steps=tuple(_steps(events, asked_at)),
        expansions=expanded.texts if expanded else (),
        notes=tuple(_notes(said, terminal)),
        passages=tuple(_passages(retrieved, prompt)),
        prompt=prompt.messages if prompt else (),
        prompt_tokens=prompt.prompt_tokens if prompt else None,
        ending=_ending(terminal, ended_at) if terminal and ended_at else None,
        dead_letters=tuple(letters),
        records=tuple(_seen(item, problem) for item, _, problem in [*events, *_undecoded(found)]),
    )


def _decoded(item: Recorded) -> tuple[Event | None, str | None]:
    try:
        return codec.decode(item.record.value, item.record.headers.type, item.spec.events), None
    except codec.UndecodableError as error:
        return None, str(error)


def _undecoded(found: Iterable[Recorded]) -> list[_Read]:
    return [(item, None, None) for item in found if item.spec.name in LETTERS]


def _last(events: Sequence[Event], kind: type[E]) -> E | None:
    return next((event for event in reversed(events) if isinstance(event, kind)), None)


def _accepted(events: Sequence[Event]) -> QueryAccepted | None:
    if accepted := _last(events, QueryAccepted):
        return accepted
    # Its own topic may have forgotten it before the others do, or an expansion came instead.
    stage_event = _last(events, QueryStageEvent)
    return stage_event.query if stage_event else None


def _tenant(asked: QueryAsked | None, accepted: QueryAccepted | None, terminal: Terminal | None) -> str | None:
    said = [event.tenant for event in (accepted, terminal, asked) if event]
    return next((tenant for tenant in said if tenant), None)


def _asked_at(events: Sequence[_Read], accepted: QueryAccepted | None) -> datetime | None:
    """When the question was written to its topic, whatever its producer says; else as it says."""
    moments = [item.record.timestamp for item, event, _ in events if isinstance(event, QueryAsked)]
    return min(moments) if moments else accepted.asked_at if accepted else None


def _steps(events: Sequence[_Read], asked_at: datetime | None) -> Iterable[Step]:
    stamps: dict[StageTime, dict[str, JsonValue]] = {}
    for item, event, _ in events:
        headers = item.record.headers
        for time in headers.timeline:
            stamps.setdefault(time, {})
        if headers.timeline and event is not None:
            stamp = event_stamp(event, headers)
            stamps[headers.timeline[-1]] |= orjson.loads(stamp[1]) if stamp else {}
    times = sorted(stamps, key=lambda time: (time.started_ms, time.finished_ms))
    if not times:
        return
    began_ms = int(asked_at.timestamp() * 1000) if asked_at else times[0].started_ms
    before = StageTime("", began_ms, began_ms)
    for last, time in pairwise([before, *times]):
        yield Step(
            stage=time.stage,
            attempt=time.attempt,
            started_at=datetime.fromtimestamp(time.started_ms / 1000, UTC),
            waited_ms=max(0, time.started_ms - last.finished_ms),
            took_ms=max(0, time.finished_ms - time.started_ms),
            stamp=stamps[time],
        )


def _notes(events: Sequence[Event], terminal: Terminal | None) -> Iterable[str]:
    for event in events:
        if isinstance(event, QueryExpanded) and event.fallback:
            yield f"The question was searched for alone: {event.fallback}"
        if isinstance(event, CancellationRequested):
            reason = f": {event.reason}" if event.reason else "."
            yield f"Somebody asked for its cancellation{reason}"
    endings = sum(isinstance(event, Terminal) for event in events)
    if endings > 1:
        yield f"There are {endings} endings; the last one is shown."
    if terminal is None:
        yield "It has not ended yet, or its ending is no longer kept."


def _passages(retrieved: PassagesRetrieved | None, prompt: PromptBuilt | None) -> Iterable[FoundPassage]:
    sources = prompt.sources if prompt else ()
    numbers = {source.passage.chunk_id: source.number for source in sources}
    # Those of the prompt are all there are, where the topic of the others has forgotten them.
    passages = retrieved.passages if retrieved else tuple(source.passage for source in sources)
    for rank, passage in enumerate(passages, start=1):
        yield FoundPassage(rank=rank, number=numbers.get(passage.chunk_id), passage=passage)


def _ending(event: Terminal, at: datetime) -> Ending:
    match event:
        case Answered():
            return Ending(
                at=at,
                answer=event.answer,
                finish_reason=event.finish_reason,
                model=event.model,
                usage=event.usage,
                attempt=event.attempt,
            )
        case RequestFailed():
            return Ending(at=at, stage=event.stage, code=event.code, message=event.message)
        case RequestExpired():
            message = f"The deadline {event.deadline_at.isoformat()} passed."
            return Ending(at=at, stage=event.stage, code="expired", message=message)
        case RequestCancelled():
            return Ending(at=at, stage=event.stage, code="cancelled", message=event.reason)
        case _:
            return Ending(at=at)


def _letter(item: Recorded) -> DeadLetter:
    record = item.record
    letter = read_letter(
        LETTERS[item.spec.name],
        record.origin,
        record.key,
        record.value,
        [(name, value) for name, value in record.headers.encode() if value is not None],
        record.timestamp,
    )
    return DeadLetter(
        id=letter.id,
        stage=letter.stage,
        code=letter.code,
        message=letter.message,
        attempts=letter.attempts,
        failed_at=letter.failed_at,
        place=str(letter.place),
    )


def _seen(item: Recorded, problem: str | None) -> SeenRecord:
    record = item.record
    return SeenRecord(
        place=str(record.origin),
        type=record.headers.type or QueryAsked.TYPE,
        written_at=record.timestamp,
        redrives=record.headers.redrives,
        problem=problem,
    )


def _ms(since: datetime, until: datetime) -> int:
    return max(0, int((until - since).total_seconds() * 1000))
