"""A request as server-sent events.

Source: HTML Living Standard, section 9.2: a client connects again by itself, with the ID of the last event it saw, and
stops doing so once it is answered 204.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.responses import StreamingResponse

from backends.errors import BackendUnavailableError
from bridge.access import Principal
from bridge.core import ENDING_ID, Core
from bridge.errors import NotFoundError, OverloadedError, UnauthorizedError
from bridge.following import messages
from bridge.messages import Message, Problem, TerminalReached

_RECONNECT_MS = 1_000
_RETRY_AFTER_S = 5


class EventStream(StreamingResponse):
    """A response that goes on. FastAPI's own class wants the route to be a generator, which cannot answer 404."""

    media_type = "text/event-stream"


async def events_after(
    core: Core, principal: Principal, request_id: str, after: str
) -> AsyncGenerator[bytes, None] | None:
    """The events of a request after the one with the ID ``after``; None if there will never be any.

    Raises:
        NotFoundError: the tenant has no such request.
        OverloadedError: too many streams are open.
        BackendUnavailableError: it cannot be looked up now.
    """
    if core.streams >= core.settings.max_streams or core.draining.is_set():
        raise OverloadedError("This bridge has as many streams as it takes.", retry_after_s=_RETRY_AFTER_S)
    if await core.is_shown(principal, request_id):
        if await core.has_seen_all(principal, request_id, after):
            return None
        return _live(core, principal, request_id, after)
    if after == ENDING_ID:
        return None
    ending = await core.ending(principal, request_id)
    if ending is None:
        raise NotFoundError(f"Request {request_id} is not known here, or no longer.")
    return _only(ending)


async def _only(ending: TerminalReached) -> AsyncGenerator[bytes, None]:
    yield _event(ending)


async def _live(core: Core, principal: Principal, request_id: str, after: str) -> AsyncGenerator[bytes, None]:
    try:
        async with aclosing(messages(core, principal, request_id, after)) as coming:
            async for message in coming:
                yield KEEPALIVE_COMMENT if message is None else _event(message)
    except (OverloadedError, UnauthorizedError):
        yield format_sse_event(comment="connect again", retry=_RECONNECT_MS)
    except BackendUnavailableError as error:
        problem = Problem(request_id=request_id, code="unavailable", message=str(error))
        # Not "error": that is the name of what clients raise when a connection fails.
        yield format_sse_event(data_str=problem.model_dump_json(), event="problem", retry=_RECONNECT_MS)


def _event(message: Message) -> bytes:
    return format_sse_event(data_str=message.model_dump_json(), event=message.kind, id=message.id)
