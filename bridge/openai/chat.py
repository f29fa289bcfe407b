"""``/v1/chat/completions``: a question in a conversation, answered whole or as it is generated.

A chat completion can be asked for once and not again, and to close its connection is the only way to stop it: a client
that leaves cancels its request. With an ``Idempotency-Key`` it may come back, and the request goes on.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import StreamingResponse
from starlette.responses import Response

from backends.errors import BackendUnavailableError
from bridge.access import Asker, Principal
from bridge.core import Core
from bridge.errors import BridgeError
from bridge.following import messages
from bridge.leaving import CLIENT_LEFT, ClientLeftError, unless_client_leaves
from bridge.messages import Delta, Message, Sources, TerminalReached, traceparent_or_none
from bridge.openai.chat_request import ChatRequest
from bridge.openai.chat_response import (
    AnswerMessage,
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    DeltaMessage,
    Finish,
    TokenUsage,
    finish_reason,
)
from bridge.openai.errors import (
    OpenAIError,
    OpenAIErrorBody,
    OpenAIRoute,
    documented,
    failed,
    in_openai_words,
    unknown_model,
)
from bridge.openai.ids import CHAT, created_s
from bridge.openai.steady import RestartedError, SteadyText
from bridge.openai.streams import KEEPALIVE_COMMENT, cancel_unread, require_room, sse
from bridge.summary import QuerySummary, ended
from schemas.values import Source

_RESTARTED = "The answer was begun anew with other words than were sent: ask again."


def chat_routes() -> APIRouter:
    """Routes under ``/v1/chat``."""
    router = APIRouter(prefix="/v1/chat", tags=["openai"], route_class=OpenAIRoute)

    @router.post(
        "/completions",
        summary="Ask in a conversation",
        response_model=ChatCompletion,
        responses=documented(404, 408, 409, 413, 422, 500, 504)
        | {
            200: {
                "description": "The answer; with `stream`, server-sent events of pieces and `[DONE]`.",
                "content": {"text/event-stream": {}},
            }
        },
    )
    async def complete(
        request: Request,
        principal: Asker,
        body: ChatRequest,
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
        traceparent: Annotated[str | None, Header()] = None,
    ) -> Response | ChatCompletion:
        """OpenAI's chat completions. The last user message is the question; `sources` are the passages cited as [n].

        Closing the connection cancels the question, unless there is an `Idempotency-Key`.
        """
        core: Core = request.app.state.core
        if body.model not in core.models:
            raise unknown_model(body.model)
        require_room(core)
        question, trace = body.question(), traceparent_or_none(traceparent)
        if idempotency_key is None:
            request_id = await core.ask(principal, question, traceparent=trace, via="openai")
        else:
            request_id = await core.ask_once(principal, question, idempotency_key, trace)
        chat = _Chat(core, principal, request_id, body, keeps_on=idempotency_key is not None)
        headers = {"x-request-id": request_id, "Cache-Control": "no-store"}
        try:
            if not body.stream:
                answer = await unless_client_leaves(request, chat.whole())
                return Response(answer.model_dump_json(), media_type="application/json", headers=headers)
            events = chat.events()
            # Until there is something to say, an error still has a status of its own.
            first = await unless_client_leaves(request, anext(events))
        except ClientLeftError:
            chat.leave()
            return Response(status_code=CLIENT_LEFT)
        return StreamingResponse(chat.all(first, events), media_type="text/event-stream", headers=headers)

    return router


class _Chat:
    """One completion under way."""

    def __init__(self, core: Core, principal: Principal, request_id: str, body: ChatRequest, *, keeps_on: bool) -> None:
        self._core = core
        self._principal = principal
        self._request_id = request_id
        self._model = body.model
        self._with_usage = bool(body.stream_options and body.stream_options.include_usage)
        self._keeps_on = keeps_on
        self._id = CHAT.of(request_id)
        self._created = created_s(request_id)

    async def whole(self) -> ChatCompletion:
        """The answer, when it is there.

        Raises:
            OpenAIError: there will be none.
        """
        async with aclosing(messages(self._core, self._principal, self._request_id)) as coming:
            async for message in coming:
                if isinstance(message, TerminalReached):
                    return self._completion(_answer(message))
        raise BackendUnavailableError("The live view has stopped.")

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Server-sent events; the first comes with the first thing to say, or when there is none for a while.

        Raises:
            OpenAIError, BridgeError, BackendUnavailableError: before the first event; later ones are an event.
        """
        text = SteadyText()
        opened = False
        try:
            async with aclosing(messages(self._core, self._principal, self._request_id)) as coming:
                async for message in coming:
                    told = self._told(message, text)
                    if opened and message is None:
                        yield KEEPALIVE_COMMENT
                    elif message is None or told:
                        if not opened and not isinstance(message, Sources):
                            yield self._chunk(DeltaMessage(role="assistant", content=""))
                        opened = True
                    for event in told:
                        yield event
        except RestartedError:
            refusal = OpenAIError(500, "answer_restarted", _RESTARTED)
            yield sse(data_str=OpenAIErrorBody(error=refusal.detail).model_dump_json())
        except (OpenAIError, BridgeError, BackendUnavailableError) as error:
            if not opened:
                raise
            refusal = in_openai_words(error)
            yield sse(data_str=OpenAIErrorBody(error=refusal.detail).model_dump_json())

    async def all(self, first: bytes, events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """The stream from its first event on; a client that leaves it stops the request."""
        ended = False
        try:
            async with aclosing(events):
                yield first
                async for event in events:
                    yield event
                ended = True
        finally:
            if not ended:
                self.leave()

    def leave(self) -> None:
        """The client has gone: cancel what nobody will read, unless it said that it may come back."""
        if not self._keeps_on:
            cancel_unread(self._core, self._principal, self._request_id)

    def _told(self, message: Message | None, text: SteadyText) -> list[bytes]:
        """What a message is to the client."""
        match message:
            case Sources():
                return [self._chunk(DeltaMessage(role="assistant", content=""), sources=message.sources)]
            case Delta():
                new = text.take(message)
                return [self._chunk(DeltaMessage(content=new))] if new else []
            case TerminalReached():
                return self._ending(_answer(message), text)
            case _:
                return []

    def _ending(self, answer: QuerySummary, text: SteadyText) -> list[bytes]:
        events = [self._chunk(DeltaMessage(content=rest))] if (rest := text.finish(answer.answer)) else []
        events.append(self._chunk(DeltaMessage(), finish=finish_reason(answer)))
        if self._with_usage:
            events.append(self._piece((), usage=TokenUsage.of(answer.usage)))
        return [*events, sse(data_str="[DONE]")]

    def _chunk(
        self, delta: DeltaMessage, *, finish: Finish | None = None, sources: tuple[Source, ...] | None = None
    ) -> bytes:
        return self._piece((ChunkChoice(delta=delta, finish_reason=finish),), sources=sources)

    def _piece(
        self,
        choices: tuple[ChunkChoice, ...],
        *,
        usage: TokenUsage | None = None,
        sources: tuple[Source, ...] | None = None,
    ) -> bytes:
        chunk = ChatCompletionChunk(
            id=self._id, created=self._created, model=self._model, choices=choices, usage=usage, sources=sources
        )
        return sse(data_str=chunk.model_dump_json())

    def _completion(self, answer: QuerySummary) -> ChatCompletion:
        return ChatCompletion(
            id=self._id,
            created=self._created,
            model=answer.model or self._model,
            choices=(Choice(message=AnswerMessage(content=answer.answer), finish_reason=finish_reason(answer)),),
            usage=TokenUsage.of(answer.usage),
            sources=answer.sources,
        )


def _answer(message: TerminalReached) -> QuerySummary:
    summary = ended(message)
    if summary.failure is not None:
        raise failed(summary.failure)
    return summary
