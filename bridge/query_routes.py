"""Questions over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request
from starlette.responses import Response

from bridge.access import Asker
from bridge.core import Core
from bridge.errors import documented
from bridge.event_stream import EventStream, events_after
from bridge.messages import (
    CancelBody,
    EntryId,
    QueryAcceptedBody,
    Question,
    RequestId,
    traceparent_or_none,
)
from bridge.summary import QuerySummary

_IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=255, description="The same question with the same key is asked once."),
]
_Id = Annotated[RequestId, Path()]
_BEGINNING = "0"


def query_routes() -> APIRouter:
    """Routes under ``/v1/queries``."""
    router = APIRouter(prefix="/v1/queries", tags=["queries"])

    @router.post("", status_code=202, summary="Ask a question", responses=documented(400, 408, 413))
    async def ask_question(
        request: Request,
        principal: Asker,
        question: Question,
        idempotency_key: _IdempotencyKey = None,
        traceparent: Annotated[str | None, Header()] = None,
    ) -> QueryAcceptedBody:
        """The answer is at `GET /v1/queries/{request_id}`. Asking again with the same `id` is answered once."""
        core, trace = _core(request), traceparent_or_none(traceparent)
        if idempotency_key is None:
            request_id = await core.ask(principal, question, traceparent=trace)
        else:
            request_id = await core.ask_once(principal, question, idempotency_key, trace)
        return QueryAcceptedBody(request_id=request_id)

    @router.get("/{request_id}", summary="See what has become of a question", responses=documented(404))
    async def see_query(request: Request, principal: Asker, request_id: _Id) -> QuerySummary:
        """The stages passed, the sources found, the answer so far, and how it ended."""
        return await _core(request).find(principal, request_id)

    @router.get(
        "/{request_id}/events",
        summary="Follow a question",
        # Errors are JSON all the same.
        response_class=Response,
        responses=documented(404)
        | {
            200: {"description": "Events.", "content": {"text/event-stream": {}}},
            204: {"description": "Everything has been sent before: do not connect again."},
        },
    )
    async def follow_query(
        request: Request,
        principal: Asker,
        request_id: _Id,
        last_event_id: Annotated[EntryId, Header(description="Go on after this event.")] = _BEGINNING,
        after: Annotated[EntryId, Query(description="The same, for clients that cannot set headers.")] = _BEGINNING,
    ) -> Response:
        """Server-sent events: the messages of the websocket, each named by its kind. After `terminal` it ends."""
        core = _core(request)
        seen = after if last_event_id == _BEGINNING else last_event_id
        events = await events_after(core, principal, request_id, seen)
        if events is None:
            return Response(status_code=204)
        return EventStream(events, headers={"Cache-Control": "no-store"})

    @router.delete("/{request_id}", status_code=202, summary="Cancel a question", responses=documented(404))
    async def cancel_query(request: Request, principal: Asker, request_id: _Id) -> CancelBody:
        """It ends as cancelled, unless it has ended already."""
        await _core(request).cancel(principal, request_id)
        return CancelBody(request_id=request_id)

    return router


def _core(request: Request) -> Core:
    core: Core = request.app.state.core
    return core
