"""Rows made of events, as they are in the topics."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

import orjson
from pydantic import JsonValue

from replay.run_folder.rows import AnswerRow, PassageRow, RequestRow, SourceRef, StampRow
from schemas.events import (
    Answered,
    Event,
    PassagesRetrieved,
    PromptBuilt,
    QueryAccepted,
    QueryEmbedded,
    RequestCancelled,
    RequestExpired,
    RequestFailed,
    Terminal,
)
from schemas.headers import Headers, StageTime
from schemas.values import Passage, Source


def request_row(
    query: QueryAccepted, query_id: str | None = None, partition: int | None = None, offset: int | None = None
) -> RequestRow:
    """The request of an accepted query; ``query_id`` is its request ID, unless the run knows it by another."""
    history = orjson.dumps([message.model_dump() for message in query.history]).decode() if query.history else ""
    return RequestRow(
        request_id=query.request_id,
        query_id=query.request_id if query_id is None else query_id,
        tenant=query.tenant,
        question=query.question,
        asked_at_ms=_milliseconds(query.asked_at),
        lane=query.lane,
        options=query.options.model_dump_json(),
        history=history,
        partition=partition,
        offset=offset,
    )


def passage_rows(request_id: str, passages: Iterable[Passage]) -> Iterator[PassageRow]:
    """The passages found for a request, which come best first."""
    for rank, passage in enumerate(passages, start=1):
        yield PassageRow(
            request_id=request_id,
            rank=rank,
            chunk_id=passage.chunk_id,
            document_id=passage.document_id,
            title=passage.title,
            text=passage.text,
            source=passage.source,
            ordinal=passage.ordinal,
            score=passage.score,
        )


def answer_row(event: Terminal, answered_at_ms: int | None = None) -> AnswerRow:
    """How a request ended; ``answered_at_ms`` is the record's timestamp.

    Raises:
        TypeError: the event ends no request.
    """
    match event:
        case Answered():
            return AnswerRow(
                request_id=event.request_id,
                state="answered",
                text=event.answer,
                finish_reason=event.finish_reason,
                model=event.model,
                prompt_tokens=event.usage.prompt_tokens,
                completion_tokens=event.usage.completion_tokens,
                attempt=event.attempt,
                answered_at_ms=answered_at_ms,
                sources=source_refs(event.sources),
            )
        case RequestFailed(request_id=request_id, stage=stage, code=code, message=message):
            return AnswerRow(
                request_id, "failed", stage=stage, code=code, message=message, answered_at_ms=answered_at_ms
            )
        case RequestExpired(request_id=request_id, stage=stage):
            return AnswerRow(request_id, "expired", stage=stage, code="expired", answered_at_ms=answered_at_ms)
        case RequestCancelled(request_id=request_id, stage=stage, reason=reason):
            return AnswerRow(
                request_id, "cancelled", stage=stage, code="cancelled", message=reason, answered_at_ms=answered_at_ms
            )
        case _:
            raise TypeError(f"{type(event).__name__} ends no request")


def source_refs(sources: Sequence[Source]) -> tuple[SourceRef, ...]:
    """The sources of a prompt, by number and chunk."""
    return tuple(SourceRef(source.number, source.passage.chunk_id) for source in sources)


def stamp_rows(
    request_id: str, timeline: Sequence[StageTime], stamps: dict[str, str] | None = None
) -> Iterator[StampRow]:
    """When each stage had the request, with its stamp (a JSON object) by stage.

    A stamp of a stage that the timeline does not know gets a row without times.
    """
    stamps = stamps or {}
    for time in timeline:
        stamp = stamps.get(time.stage, "")
        yield StampRow(request_id, time.stage, time.started_ms, time.finished_ms, time.attempt, stamp)
    seen = {time.stage for time in timeline}
    for stage, stamp in stamps.items():
        if stage not in seen:
            yield StampRow(request_id, stage, stamp=stamp)


def event_stamp(event: Event, headers: Headers) -> tuple[str, str] | None:
    """What an event and its stamp say of what decided it: the stage that made it, or the step that it was, and a JSON
    object; None where they say nothing.
    """
    timeline = headers.timeline
    stage, facts = _facts(event)
    said = facts | headers.stamp
    stage = timeline[-1].stage if timeline else stage
    return (stage, orjson.dumps(said).decode()) if stage and said else None


def _facts(event: Event) -> tuple[str, dict[str, JsonValue]]:
    """The stage that makes such events, and what they say themselves of what decided them."""
    match event:
        case QueryEmbedded(embedding=embedding):
            return "embedding", {"embedding_model": embedding.model}
        case PassagesRetrieved(collection=collection, embedding_model=model, query=query):
            options = query.options.retrieval.model_dump(mode="json") | {"top_k": query.options.top_k}
            return "retrieval", {"collection": collection, "embedding_model": model, **options}
        case PromptBuilt(template=template, template_hash=template_hash):
            return "prompt", {"template": template, "template_hash": template_hash}
        case Answered(model=model):
            return "generation", {"model": model}
        case _:
            return "", {}


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
