"""Waits for what nobody announces."""

import asyncio
from collections.abc import Awaitable, Callable


async def until(condition: Callable[[], Awaitable[bool]], every_s: float) -> None:
    """Wait until the condition holds, looking every so many seconds."""
    while True:
        if await condition():
            return
        await asyncio.sleep(every_s)
