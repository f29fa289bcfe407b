"""How many chunks collections hold, without asking for each question."""

import asyncio
import math
import time
from collections.abc import Callable

import structlog

from backends.errors import BackendError
from backends.vector_store import VectorStore

log = structlog.get_logger(__name__)

_FIRST_WAIT_S = 1.0


class RowCounts:
    """Row counts of collections, no older than ``max_age_s`` and the time of one count.

    Only the first of a collection is waited for, and for a second at most.
    """

    def __init__(self, max_age_s: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_age_s = max_age_s
        self._clock = clock
        self._rows: dict[str, int] = {}
        self._wanted_at: dict[str, float] = {}
        self._asked_at: dict[str, float] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def of(self, name: str, store: VectorStore) -> int | None:
        """The chunks of the collection ``name``, all of ``store``'s; None while that is not known."""
        now = self._clock()
        if now - self._asked_at.get(name, -math.inf) >= self._max_age_s:
            self._ask(name, store)
        wait_s = self._wanted_at.setdefault(name, now) + _FIRST_WAIT_S - now
        if name not in self._rows and name in self._asking and wait_s > 0:
            await asyncio.wait({self._asking[name]}, timeout=wait_s)
        return self._rows.get(name)

    async def close(self) -> None:
        """Ask for nothing more."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    def _ask(self, name: str, store: VectorStore) -> None:
        if name in self._asking:
            return
        self._asked_at[name] = self._clock()
        task = asyncio.create_task(self._count(name, store), name="row-count")
        self._asking[name] = task
        task.add_done_callback(lambda _: self._asking.pop(name))

    async def _count(self, name: str, store: VectorStore) -> None:
        try:
            self._rows[name] = await store.count()
        except BackendError as error:
            log.debug("the collection's rows were not counted", collection=name, error=str(error))
