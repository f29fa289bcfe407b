"""Clients that close their connection while something is done for them alone."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

T = TypeVar("T")

# As nginx names it in its log; no client sees it.
CLIENT_LEFT = 499


class ClientLeftError(Exception):
    """The client has closed its connection: nobody waits for the response."""


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do the work, unless the client closes its connection first.

    Raises:
        ClientLeftError: it did, and the work was cancelled.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientLeftError
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.wait({working, leaving})


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
