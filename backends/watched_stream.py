"""Waits for an engine's next output, but not for an engine that hangs."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import TypeVar

from backends.engine import EngineDeadError
from backends.token_watch import TokenWatch

T = TypeVar("T")


async def next_watched(stream: AsyncGenerator[T, None], watch: TokenWatch, engine: str) -> T | None:
    """The next output of one request, None after the last; cancelling it closes the stream.

    ``watch`` is the one of all the engine's requests; ``engine`` names it in the error.

    Raises:
        EngineDeadError: no request got a token for too long.
    """
    since = time.monotonic()
    step = asyncio.create_task(_anext(stream))
    try:
        while not step.done():
            await asyncio.wait({step}, timeout=watch.seconds_left(time.monotonic(), since))
            if not step.done() and not watch.seconds_left(time.monotonic(), since):
                msg = f"engine {engine} has brought no token for {watch.timeout_s * 1000:.0f} ms"
                raise EngineDeadError(msg)
    finally:
        if not step.done():
            step.cancel()
            await asyncio.wait({step})
    watch.token(time.monotonic())
    return step.result()


async def _anext(stream: AsyncGenerator[T, None]) -> T | None:
    return await anext(stream, None)
