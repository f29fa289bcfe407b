"""Where finished work waits for its turn: what finishes during one turn goes into the next, as one group."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from workers.runtime.job import Completion
from workers.runtime.partition import LostPartitionError

_GATHER_S = 0.02
# Between two turns, as a share of the first one's time: when brokers are slow, fewer and larger turns serve everybody.
_REST = 0.5
_MOST_REST_S = 0.1


class Line:
    """Runs turns, one after the other, while there is something to deliver.

    ``turn`` takes what has finished since the last one, perhaps nothing. Its error ends the line and is handed to
    ``on_error``, with the completions that were not delivered.
    """

    def __init__(
        self,
        turn: Callable[[list[Completion]], Awaitable[None]],
        on_error: Callable[[Exception, list[Completion]], None],
    ) -> None:
        self._turn = turn
        self._on_error = on_error
        self._waiting: list[Completion] = []
        self._flushes: list[asyncio.Future[None]] = []
        self._arrived = asyncio.Event()
        self._hurry = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def closed(self) -> bool:
        """Whether nothing is delivered any more."""
        return self._task is None or self._task.done()

    def open(self) -> None:
        """Begin to take turns."""
        self._task = asyncio.create_task(self._run())

    def put(self, completion: Completion) -> None:
        """Have a completion delivered in the next turn."""
        self._waiting.append(completion)
        self._arrived.set()

    async def flush(self) -> None:
        """Wait for a turn that begins now or later.

        Raises:
            LostPartitionError: the line is closed.
        """
        if self.closed:
            raise LostPartitionError
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flushes.append(done)
        self._arrived.set()
        self._hurry.set()
        await done

    async def close(self) -> list[Completion]:
        """Take no more turns; gives what was not delivered."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        self._refuse()
        waiting, self._waiting = self._waiting, []
        return waiting

    async def _run(self) -> None:
        completions: list[Completion] = []
        flushes: list[asyncio.Future[None]] = []
        try:
            while True:
                await self._arrived.wait()
                await self._gather()
                self._arrived.clear()
                completions, self._waiting = self._waiting, []
                flushes, self._flushes = self._flushes, []
                began_s = time.monotonic()
                await self._turn(completions)
                for done in flushes:
                    if not done.done():
                        done.set_result(None)
                completions, flushes = [], []
                await self._rest(time.monotonic() - began_s)
        except Exception as error:  # noqa: BLE001 - handed on: the owner decides
            self._flushes += flushes
            self._refuse()
            waiting, self._waiting = self._waiting, []
            self._on_error(error, completions + waiting)
        except asyncio.CancelledError:
            self._flushes += flushes
            self._waiting = completions + self._waiting
            raise

    async def _gather(self) -> None:
        """Let what is about to finish come along: a group costs hardly more than a single one."""
        until_s = time.monotonic() + _GATHER_S
        count = -1
        while len(self._waiting) > count and time.monotonic() < until_s:
            count = len(self._waiting)
            await asyncio.sleep(0)

    async def _rest(self, turn_s: float) -> None:
        if not self._flushes:
            self._hurry.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(turn_s * _REST, _MOST_REST_S)):
                    await self._hurry.wait()

    def _refuse(self) -> None:
        for done in self._flushes:
            if not done.done():
                done.set_exception(LostPartitionError())
        self._flushes = []
