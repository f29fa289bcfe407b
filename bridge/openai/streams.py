"""What streams of either API share: following a request, comments that keep a connection open, and the ends."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import structlog
from fastapi.sse import KEEPALIVE_COMMENT
from fastapi.sse import format_sse_event as sse

from backends.errors import BackendUnavailableError
from bridge.access import Principal
from bridge.core import Core
from bridge.errors import BridgeError, OverloadedError, UnauthorizedError
from bridge.messages import Message

__all__ = ["KEEPALIVE_COMMENT", "cancel_soon", "messages", "require_room", "sse"]

PING_S = 15.0
RETRY_AFTER_S = 5

log = structlog.get_logger(__name__)


def require_room(core: Core) -> None:
    """See to it that one more request may be followed.

    Raises:
        OverloadedError: too many are.
    """
    if core.streams >= core.settings.max_streams:
        raise OverloadedError("This bridge has as many streams as it takes.", retry_after_s=RETRY_AFTER_S)


async def messages(core: Core, principal: Principal, request_id: str) -> AsyncGenerator[Message | None, None]:
    """What happens to a request, from its beginning to its end; None whenever nothing has for a while.

    Raises:
        OverloadedError: the bridge is about to stop.
        UnauthorizedError: the credential is valid no longer.
        BackendUnavailableError: the live view does not answer.
    """
    revoked = asyncio.Event()
    with core.streaming(), core.access.watching(principal, revoked.set):
        async with aclosing(core.follow(principal, request_id)) as coming:
            stops: dict[asyncio.Task[Any], BridgeError] = {
                asyncio.create_task(core.draining.wait()): OverloadedError(
                    "This bridge is about to stop; the request goes on.", retry_after_s=1
                ),
                asyncio.create_task(revoked.wait()): UnauthorizedError("The credential is valid no longer."),
            }
            following = asyncio.ensure_future(anext(coming, None))
            try:
                while True:
                    done, _ = await asyncio.wait(
                        {following, *stops}, timeout=PING_S, return_when=asyncio.FIRST_COMPLETED
                    )
                    for stop in done & stops.keys():
                        raise stops[stop]
                    if not done:
                        yield None
                        continue
                    message = following.result()
                    if message is None:
                        return
                    yield message
                    following = asyncio.ensure_future(anext(coming, None))
            finally:
                tasks = {following, *stops}
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)


def cancel_soon(core: Core, principal: Principal, request_id: str, reason: str) -> None:
    """Cancel a request whose client has gone; whoever served it is being cancelled, so it is done by a task apart."""
    task = asyncio.create_task(_cancel(core, principal, request_id, reason), name=f"cancel {request_id}")
    _cancelling.add(task)
    task.add_done_callback(_cancelling.discard)


# The event loop itself keeps tasks by weak references.
_cancelling: set[asyncio.Task[None]] = set()


async def _cancel(core: Core, principal: Principal, request_id: str, reason: str) -> None:
    try:
        await core.cancel(principal, request_id, reason)
    except (BridgeError, BackendUnavailableError) as error:
        log.warning("request not cancelled", request_id=request_id, error=str(error))
