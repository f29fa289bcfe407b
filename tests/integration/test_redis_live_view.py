"""What only a real server shows: expiry, namespaces, one connection for all followers, and an outage."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from backends.errors import BackendUnavailableError
from backends.live_view import Entry, LiveViewSettings, StoredEntry
from backends.redis_live_view import RedisLiveView
from infra.local.process import ProcessSpec
from infra.local.valkey import valkey_process
from tests.fixtures.pipeline import eventually
from tests.fixtures.servers import HOST, free_port, running
from topics.names import Namespace

pytestmark = pytest.mark.servers

DEADLINE_S = 20
TERMINAL = Entry("terminal", {"type": "t", "event": {}, "timeline": []})


def delta(sequence: int) -> Entry:
    return Entry("delta", {"attempt": 1, "sequence": sequence, "text": "word "})


@asynccontextmanager
async def live_view(url: str, names: Namespace | None = None, **settings: int) -> AsyncIterator[RedisLiveView]:
    view = RedisLiveView(LiveViewSettings(url=url, **settings), names or Namespace(uuid.uuid4().hex))
    try:
        yield view
    finally:
        await view.close()


@asynccontextmanager
async def redis(url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(url)
    try:
        yield client
    finally:
        await client.aclose()


@asynccontextmanager
async def served(spec: ProcessSpec, log: Path) -> AsyncIterator[None]:
    server = running(spec, log)
    await asyncio.to_thread(server.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(server.__exit__, None, None, None)


async def until_terminal(view: RedisLiveView, request_id: str) -> list[StoredEntry]:
    seen: list[StoredEntry] = []
    async with aclosing(view.follow(request_id)) as stream:
        async for item in stream:
            seen.append(item)
            if item.entry.kind == "terminal":
                break
    return seen


async def test_entries_and_marks_expire_together(redis_url: str) -> None:
    names = Namespace(uuid.uuid4().hex)
    async with live_view(redis_url, names, ttl_s=100) as view, redis(redis_url) as client:
        await view.append("r", [delta(0)], once="m")
        await view.begin_attempt("r")
        keys = [key async for key in client.scan_iter(match=f"{names.prefix}*")]
        assert len(keys) == 2
        for key in keys:
            await client.expire(key, 50)
        await view.append("r", [delta(1)])
        assert [await client.ttl(key) for key in keys] == [100, 100]


async def test_namespaces_do_not_see_each_other(redis_url: str) -> None:
    async with live_view(redis_url) as one, live_view(redis_url) as other:
        await one.append("r", [delta(0)])
        assert await other.read("r") == []
        assert await other.begin_attempt("r") == 1


async def test_all_followers_share_one_connection(redis_url: str) -> None:
    async with live_view(redis_url) as view, redis(redis_url) as client:
        before = len(await client.client_list())
        following = [asyncio.create_task(until_terminal(view, f"r{number}")) for number in range(50)]
        blocked = 0
        while not blocked:
            clients = await client.client_list()
            blocked = sum(item["cmd"] == "xread" for item in clients)
            assert len(clients) <= before + 2  # the one that reads, and the one that wakes it
        assert blocked == 1
        for number in range(50):
            await view.append(f"r{number}", [TERMINAL])
        await asyncio.wait_for(asyncio.gather(*following), DEADLINE_S)


async def test_followers_are_served_at_once(redis_url: str) -> None:
    async with live_view(redis_url) as view:
        patient = asyncio.create_task(until_terminal(view, "patient"))
        async with asyncio.timeout(DEADLINE_S):
            for number in range(100):
                await view.append(f"r{number}", [TERMINAL])
                began = asyncio.get_running_loop().time()
                await until_terminal(view, f"r{number}")
                # Far below the time after which a blocked read would end by itself.
                assert asyncio.get_running_loop().time() - began < 0.9
            await view.append("patient", [TERMINAL])
            await patient


async def test_an_outage_is_an_error_to_callers_and_a_wait_to_followers(tmp_path: Path) -> None:
    port = free_port()
    spec = valkey_process(tmp_path / "data", HOST, port)
    async with live_view(f"redis://{HOST}:{port}/0", timeout_ms=500) as view:
        async with served(spec, tmp_path / "log"):
            await view.append("r", [delta(0)])
            stream = view.follow("r")
            assert (await anext(stream)).entry == delta(0)
            following = asyncio.create_task(anext(stream))
            later = asyncio.create_task(until_terminal(view, "s"))
        for call in (view.append("r", [delta(1)]), view.begin_attempt("r"), view.read("r")):
            with pytest.raises(BackendUnavailableError, match="Redis does not answer"):
                await call
        assert not following.done()
        # It comes back empty; an entry after the last one seen is what the follower waits for.
        async with served(spec, tmp_path / "log"):
            await eventually(lambda: _appended(view, "r", delta(1)), DEADLINE_S)
            assert (await asyncio.wait_for(following, DEADLINE_S)).entry == delta(1)
            await view.append("s", [TERMINAL])
            await asyncio.wait_for(later, DEADLINE_S)
            await stream.aclose()


async def _appended(view: RedisLiveView, request_id: str, entry: Entry) -> bool:
    try:
        return await view.append(request_id, [entry])
    except BackendUnavailableError:
        return False


async def test_a_server_that_is_not_there_is_unavailable_within_the_timeout() -> None:
    async with live_view(f"redis://{HOST}:{free_port()}/0", timeout_ms=500) as view:
        with pytest.raises(BackendUnavailableError, match="Redis does not answer"):
            await asyncio.wait_for(view.read("r"), DEADLINE_S)
