"""Following a request over HTTP, whatever the words in which it is told."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from bridge.access import Principal
from bridge.core import Core
from bridge.errors import BridgeError, OverloadedError, UnauthorizedError
from bridge.messages import Message

PING_S = 15.0


async def messages(
    core: Core, principal: Principal, request_id: str, after: str = "0"
) -> AsyncGenerator[Message | None, None]:
    """What happens to a request after the entry ``after``, to its end; None whenever nothing has for ``PING_S``.

    Raises:
        OverloadedError: the bridge is about to stop.
        UnauthorizedError: the credential is valid no longer.
        BackendUnavailableError: the live view does not answer.
    """
    revoked = asyncio.Event()
    with core.streaming(), core.access.watching(principal, revoked.set):
        async with aclosing(core.follow(principal, request_id, after)) as coming:
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
