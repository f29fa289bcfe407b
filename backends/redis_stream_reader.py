"""One connection that reads all followed Redis streams, however many follow them."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import structlog
from redis.asyncio import Redis
from redis.backoff import EqualJitterBackoff

from backends.errors import BackendUnavailableError
from backends.live_view import position
from backends.redis_calls import calling

if TYPE_CHECKING:
    from redis.typing import KeyT, StreamIdT

# A follower that joined while the wake-up was lost is seen after this long at the latest.
BLOCK_MS = 1_000
ENTRIES_PER_READ = 256
BUFFERED_ENTRIES = 512
WAKE_TTL_S = 60
PAUSE_S = 0.000_02
LONGEST_PAUSE_S = 0.01

# The ID, then names and values of the fields in turn, as they were written.
RawEntry: TypeAlias = tuple[bytes, Sequence[bytes]]
Reply: TypeAlias = list[tuple[bytes, list[RawEntry]]]

log = structlog.get_logger(__name__)


def as_it_comes(client: Redis) -> None:
    """Leave entries of streams as they come: a dictionary for each takes as long as all else that is done to it."""
    for command in ("XREAD", "XRANGE", "XREVRANGE"):
        client.set_response_callback(command, _unchanged)


def _unchanged(response: Any, **kwargs: Any) -> Any:  # noqa: ARG001 - redis-py's signature
    return response


class _Follower:
    """One reader of one stream: how far it got, and what waits for it."""

    def __init__(self, key: str, after: str) -> None:
        self.key = key
        self.position = position(after)
        self.waiting: deque[RawEntry] = deque()
        self.changed = asyncio.Event()
        self.paused = False
        self.ended = False

    def offer(self, entries: Iterable[RawEntry]) -> None:
        """Take what is new among ``entries``: a stream is read for the follower that is furthest behind."""
        for entry_id, fields in entries:
            place = position(entry_id.decode())
            if place > self.position:
                self.position = place
                self.waiting.append((entry_id, fields))
        self.changed.set()

    def end(self) -> None:
        self.ended = True
        self.changed.set()


class StreamReader:
    """Reads streams with ``XREAD BLOCK`` for any number of followers.

    ``reading`` is the client whose one connection blocks; ``waking`` adds to the stream ``wake_key`` when there is more
    to read than the blocked call knows of. A follower that does not keep up is left out until it has caught up. While
    Redis does not answer, followers wait, and then go on after their last entry.
    """

    def __init__(self, reading: Redis, waking: Redis, wake_key: str) -> None:
        self._reading = reading
        as_it_comes(reading)
        self._waking = waking
        self._wake_key = wake_key
        self._wake_after = "0"
        self._wake_sent = True
        self._asked: dict[str, tuple[int, int]] = {}
        self._followers: dict[str, list[_Follower]] = {}
        self._any = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failures = 0
        self._backoff = EqualJitterBackoff(cap=2.0, base=0.1)

    async def follow(self, key: str, after: str) -> AsyncGenerator[RawEntry, None]:
        """Entries of the stream ``key`` after the ID ``after``, without end, until ``close``.

        Raises:
            ValueError: ``after`` is not an entry ID.
        """
        follower = _Follower(key, after)
        self._followers.setdefault(key, []).append(follower)
        self._any.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="redis-stream-reader")
        try:
            await self._wake()
            while True:
                while follower.waiting:
                    yield follower.waiting.popleft()
                    if follower.paused and len(follower.waiting) < BUFFERED_ENTRIES // 2:
                        follower.paused = False
                        await self._wake()
                if follower.ended:
                    return
                follower.changed.clear()
                await follower.changed.wait()
        finally:
            self._leave(follower)

    async def close(self) -> None:
        """Stop reading; followers end after what they have not yet seen."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._reading.aclose()

    def _leave(self, follower: _Follower) -> None:
        followers = self._followers[follower.key]
        followers.remove(follower)
        if not followers:
            del self._followers[follower.key]
        if not self._followers:
            self._any.clear()

    async def _wake(self) -> None:
        # True also while no call is blocked: the next one will know of everything.
        if self._wake_sent:
            return
        self._wake_sent = True
        try:
            with calling():
                async with self._waking.pipeline(transaction=True) as pipeline:
                    pipeline.xadd(self._wake_key, {"wake": ""}, maxlen=1, approximate=False)
                    pipeline.expire(self._wake_key, WAKE_TTL_S)
                    await pipeline.execute()
        except BackendUnavailableError:
            # The blocked call ends by itself, or has ended for the same reason.
            log.debug("live view: wake-up not sent")

    async def _run(self) -> None:
        try:
            while True:
                await self._any.wait()
                try:
                    reply = await self._read()
                except BackendUnavailableError as error:
                    await self._back_off(error)
                else:
                    self._go_on(reply)
                    # Naming all streams takes time, however little is new: with many of them, more comes together.
                    await asyncio.sleep(min(len(self._asked) * PAUSE_S, LONGEST_PAUSE_S))
        except Exception:
            log.exception("live view: the reader of streams failed, its followers end")
        finally:
            for follower in [follower for followers in self._followers.values() for follower in followers]:
                follower.end()

    async def _read(self) -> Reply:
        self._asked = {self._wake_key: position(self._wake_after)}
        for key, followers in self._followers.items():
            for follower in followers:
                follower.paused = follower.paused or len(follower.waiting) >= BUFFERED_ENTRIES
            behind = min((follower.position for follower in followers if not follower.paused), default=None)
            if behind is not None:
                self._asked[key] = behind
        streams: dict[KeyT, StreamIdT] = {key: f"{at[0]}-{at[1]}" for key, at in self._asked.items()}
        self._wake_sent = False
        try:
            with calling():
                reply = await self._reading.xread(streams, count=ENTRIES_PER_READ, block=BLOCK_MS)
        finally:
            self._wake_sent = True
        return cast("Reply", reply or [])

    def _go_on(self, reply: Reply) -> None:
        if self._failures:
            log.info("live view: Redis answers again", failures=self._failures)
            self._failures = 0
        for raw_key, entries in reply:
            key = raw_key.decode()
            if key == self._wake_key:
                self._wake_after = entries[-1][0].decode()
            for follower in self._followers.get(key, ()):
                # One that joined or caught up during the call may need entries before those asked for.
                if not follower.paused and follower.position >= self._asked[key]:
                    follower.offer(entries)

    async def _back_off(self, error: BackendUnavailableError) -> None:
        if not self._failures:
            log.warning("live view: Redis does not answer, followers wait", error=str(error))
        self._failures += 1
        await asyncio.sleep(self._backoff.compute(self._failures))
