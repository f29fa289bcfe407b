"""``/v1/responses``: questions that may be left alone, come back to, and cancelled.

A response is stored unless it says otherwise, so a client that leaves cancels nothing; it goes on where it was with
``starting_after``, at any bridge.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import StreamingResponse
from starlette.responses import Response

from backends.errors import BackendUnavailableError
from bridge.access import Asker, Principal
from bridge.core import Core
from bridge.errors import BridgeError
from bridge.following import messages
from bridge.kept import beside, keep, kept
from bridge.leaving import CLIENT_LEFT, ClientLeftError, unless_client_leaves
from bridge.messages import TerminalReached, traceparent_or_none
from bridge.openai.errors import OpenAIError, OpenAIRoute, documented, in_openai_words, unknown_model
from bridge.openai.ids import RESPONSE
from bridge.openai.response_events import Event, ResponseEvents
from bridge.openai.response_object import ResponseObject, begun, response
from bridge.openai.response_request import AskedResponse, ResponseRequest
from bridge.openai.streams import KEEPALIVE_COMMENT, cancel_unread, require_room, sse
from bridge.summary import ended
from schemas.values import ChatMessage

_CANCEL_WAIT_S = 3.0
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The response; with `stream`, server-sent events, each with its `sequence_number`.",
        "content": {"text/event-stream": {}},
    }
}
_LINKS = {
    name: {"operationId": name, "parameters": {"response_id": "$response.body#/id"}}
    for name in ("see_response", "cancel_response")
}
_Id = Annotated[str, Path(min_length=1, max_length=200)]


def response_routes() -> APIRouter:
    """Routes under ``/v1/responses``."""
    router = APIRouter(prefix="/v1/responses", tags=["openai"], route_class=OpenAIRoute)

    @router.post(
        "",
        summary="Ask for a response",
        response_model=ResponseObject,
        responses=documented(404, 408, 413, 422) | {200: {**_STREAM[200], "links": _LINKS}},
    )
    async def respond(
        request: Request,
        principal: Asker,
        body: ResponseRequest,
        traceparent: Annotated[str | None, Header()] = None,
    ) -> Response | ResponseObject:
        """OpenAI's responses: whole, as a stream, or in the background. `sources` are the passages cited as [n]."""
        desk = _Desk(request.app.state.core, principal)
        request_id, asked = await desk.ask(body, traceparent_or_none(traceparent))
        stays = body.store is not False
        if body.stream:
            return _streamed(desk.stream(request_id, asked, stays=stays))
        if body.background:
            return begun(request_id, asked, "queued")
        try:
            return await unless_client_leaves(request, desk.whole(request_id, asked))
        except ClientLeftError:
            desk.leave(request_id, stays=stays)
            return Response(status_code=CLIENT_LEFT)

    @router.get(
        "/{response_id}",
        operation_id="see_response",
        summary="See what has become of a response",
        response_model=ResponseObject,
        responses=documented(404, 422) | _STREAM,
    )
    async def see_response(
        request: Request,
        principal: Asker,
        response_id: _Id,
        stream: Annotated[bool, Query(description="Follow it, from its beginning.")] = False,  # noqa: FBT002 - a query
        starting_after: Annotated[
            int | None, Query(ge=0, le=2**53, description="Follow it after the event of this number.")
        ] = None,
    ) -> Response | ResponseObject:
        """The response as it stands, or its events."""
        desk = _Desk(request.app.state.core, principal)
        request_id = _request_id(response_id)
        asked = await desk.asked(request_id)
        if not stream:
            return response(asked, await desk.core.find(principal, request_id))
        await desk.require_events(request_id)
        return _streamed(desk.stream(request_id, asked, after=-1 if starting_after is None else starting_after))

    @router.post(
        "/{response_id}/cancel",
        operation_id="cancel_response",
        summary="Cancel a response",
        responses=documented(404, 422),
    )
    async def cancel_response(request: Request, principal: Asker, response_id: _Id) -> ResponseObject:
        """It ends as cancelled, unless it has ended already; this is how it stands a moment after."""
        desk = _Desk(request.app.state.core, principal)
        request_id = _request_id(response_id)
        await desk.core.cancel(principal, request_id, "The client cancelled the response.")
        await desk.settle(request_id)
        return response(await desk.asked(request_id), await desk.core.find(principal, request_id))

    return router


def _streamed(events: AsyncGenerator[bytes, None]) -> StreamingResponse:
    return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


def _request_id(response_id: str) -> str:
    request_id = RESPONSE.request_id(response_id)
    if not request_id:
        raise OpenAIError(404, "not_found", f"Response {response_id} is not known here.", param="response_id")
    return request_id


class _Desk:
    """Serves one tenant's responses."""

    def __init__(self, core: Core, principal: Principal) -> None:
        self.core = core
        self._principal = principal

    async def ask(self, body: ResponseRequest, traceparent: str | None) -> tuple[str, AskedResponse]:
        """Publish the question; gives its request ID and what is kept of it.

        Raises:
            OpenAIError: the model, the input or the previous response cannot be used.
        """
        if body.model not in self.core.models:
            raise unknown_model(body.model)
        if body.stream:
            require_room(self.core)
        before = await self._before(body.previous_response_id) if body.previous_response_id else []
        question = body.question(before)
        asked = AskedResponse.of(body, question)
        request_id = await self.core.ask(self._principal, question, traceparent=traceparent, via="openai")
        if body.store is not False:
            await keep(self.core.live_view, self._beside(request_id), asked)
        return request_id, asked

    async def asked(self, request_id: str) -> AskedResponse:
        """What is kept of a request; what little can be said of one of which nothing is."""
        try:
            found = await kept(self.core.live_view, self._beside(request_id), AskedResponse)
        except BackendUnavailableError:
            found = None
        return found or AskedResponse(model="unknown")

    async def whole(self, request_id: str, asked: AskedResponse) -> ResponseObject:
        """The response, once it has ended."""
        async with aclosing(messages(self.core, self._principal, request_id)) as coming:
            async for message in coming:
                if isinstance(message, TerminalReached):
                    return response(asked, ended(message))
        raise BackendUnavailableError("The live view has stopped.")

    async def settle(self, request_id: str) -> None:
        """Wait a moment for the request's end."""
        with suppress(TimeoutError, BackendUnavailableError):
            async with asyncio.timeout(_CANCEL_WAIT_S):
                async with aclosing(self.core.follow(self._principal, request_id)) as coming:
                    async for _ in coming:
                        pass

    async def require_events(self, request_id: str) -> None:
        """See to it that the events of a response can still be told.

        Raises:
            NotFoundError: the tenant has no such response.
            OpenAIError: it has ended so long ago that only the whole is left.
            OverloadedError: too many streams are open.
        """
        require_room(self.core)
        if not await self.core.is_shown(self._principal, request_id):
            await self.core.find(self._principal, request_id)
            message = "The events of this response are no longer kept: retrieve it without stream."
            raise OpenAIError(400, "events_expired", message, param="stream")

    async def stream(
        self, request_id: str, asked: AskedResponse, *, after: int = -1, stays: bool = True
    ) -> AsyncGenerator[bytes, None]:
        """Server-sent events numbered above ``after``. A client that leaves one that does not stay cancels it."""
        events = ResponseEvents(request_id, asked)
        try:
            async with aclosing(self._events(request_id, events)) as coming:
                async for event in coming:
                    if event is None:
                        yield KEEPALIVE_COMMENT
                    elif event.sequence_number > after or event.type == "error":
                        yield sse(data_str=orjson.dumps(event.data).decode(), event=event.type)
        finally:
            if not events.done:
                self.leave(request_id, stays=stays)

    def leave(self, request_id: str, *, stays: bool) -> None:
        """The client has gone."""
        if not stays:
            cancel_unread(self.core, self._principal, request_id)

    async def _events(self, request_id: str, events: ResponseEvents) -> AsyncGenerator[Event | None, None]:
        for event in events.opening():
            yield event
        try:
            async with aclosing(messages(self.core, self._principal, request_id)) as coming:
                async for message in coming:
                    if message is None:
                        yield None
                        continue
                    for event in events.take(message):
                        yield event
                    if events.done:
                        return
        except (BridgeError, BackendUnavailableError) as error:
            refusal = in_openai_words(error)
            yield events.error(refusal.detail.code or "error", str(refusal))

    async def _before(self, response_id: str) -> list[ChatMessage]:
        """The conversation up to a response, with its answer."""
        param = "previous_response_id"
        request_id = RESPONSE.request_id(response_id)
        asked = request_id and await kept(self.core.live_view, self._beside(request_id), AskedResponse)
        if not asked or not request_id:
            message = f"Previous response {response_id} is not known here, or no longer."
            raise OpenAIError(400, "previous_response_not_found", message, param=param)
        summary = await self.core.find(self._principal, request_id)
        if summary.state in {"queued", "running"}:
            message = f"Previous response {response_id} is still in progress."
            raise OpenAIError(400, "previous_response_in_progress", message, param=param)
        answer = [ChatMessage(role="assistant", content=summary.answer)] if summary.answer else []
        return [*asked.conversation, *answer]

    def _beside(self, request_id: str) -> str:
        return beside("responses", self._principal.tenant, request_id)
