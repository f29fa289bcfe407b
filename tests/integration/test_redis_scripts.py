"""Calls of a script that share round trips, on a real server."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from backends.errors import BackendUnavailableError
from backends.redis_calls import connect
from backends.redis_scripts import SharedScript
from tests.fixtures.pipeline import eventually

pytestmark = pytest.mark.servers

DEADLINE_S = 20
TIMEOUT_MS = 500
# Gives how long the list is; a negative value is refused.
APPEND = """
if tonumber(ARGV[1]) < 0 then return redis.error_reply('negative') end
return redis.call('RPUSH', KEYS[1], ARGV[1])
"""


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    made = connect(redis_url, max_connections=2, timeout_ms=TIMEOUT_MS)
    yield made
    await made.aclose()


@pytest.fixture
async def script(client: Redis) -> AsyncIterator[SharedScript]:
    # A comment makes it a script that no server has seen.
    made = SharedScript(client, f"{APPEND}-- {uuid.uuid4().hex}")
    yield made
    await made.close()


@pytest.fixture
def key() -> str:
    return uuid.uuid4().hex


async def test_calls_at_the_same_time_are_carried_out_once_each_and_in_order(
    client: Redis, script: SharedScript, key: str
) -> None:
    async with asyncio.timeout(DEADLINE_S):
        replies = await asyncio.gather(*(script.call([key], [value]) for value in range(1_000)))
    assert replies == list(range(1, 1_001))
    assert await client.lrange(key, 0, -1) == [str(value).encode() for value in range(1_000)]


async def test_they_share_round_trips(client: Redis, script: SharedScript, key: str) -> None:
    await script.call([key], [0])
    before = await reads(client)
    await asyncio.gather(*(script.call([key], [value]) for value in range(100)))
    # Other tests' clients may read a little from the same server.
    assert await reads(client) - before < 50


async def reads(client: Redis) -> int:
    return int((await client.info("stats"))["total_reads_processed"])


async def test_a_server_that_has_forgotten_the_script_is_told_it_again(
    client: Redis, script: SharedScript, key: str
) -> None:
    assert await script.call([key], [1]) == 1
    await client.script_flush()
    assert list(await asyncio.gather(script.call([key], [2]), script.call([key], [3]))) == [2, 3]


async def test_a_refused_call_fails_alone(script: SharedScript, key: str) -> None:
    replies = await asyncio.gather(
        script.call([key], [1]), script.call([key], [-1]), script.call([key], [2]), return_exceptions=True
    )
    assert [replies[0], replies[2]] == [1, 2]
    assert isinstance(replies[1], BackendUnavailableError)


async def test_a_cancelled_call_does_not_touch_the_others(script: SharedScript, key: str) -> None:
    cancelled = asyncio.create_task(script.call([key], [1]))
    kept = asyncio.create_task(script.call([key], [2]))
    await asyncio.sleep(0)
    cancelled.cancel()
    async with asyncio.timeout(DEADLINE_S):
        assert await kept in {1, 2}
    assert cancelled.cancelled()


async def test_while_the_server_does_not_answer_every_call_fails_and_later_ones_go_on(
    client: Redis, script: SharedScript, key: str
) -> None:
    await script.call([key], [1])
    async with asyncio.timeout(DEADLINE_S):
        await client.client_pause(3 * TIMEOUT_MS)
        failed = await asyncio.gather(*(script.call([key], [value]) for value in range(5)), return_exceptions=True)
        assert all(isinstance(reply, BackendUnavailableError) for reply in failed)
        await eventually(lambda: answers(script, key))


async def answers(script: SharedScript, key: str) -> bool:
    try:
        await script.call([key], [9])
    except BackendUnavailableError:
        return False
    return True


async def test_calls_that_wait_fail_when_the_client_is_closed(client: Redis, key: str) -> None:
    script = SharedScript(client, APPEND)
    await client.client_pause(3 * TIMEOUT_MS)
    calls = [asyncio.create_task(script.call([key], [value])) for value in range(3)]
    await asyncio.sleep(0)
    await script.close()
    async with asyncio.timeout(DEADLINE_S):
        replies = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(reply, BackendUnavailableError) for reply in replies)
