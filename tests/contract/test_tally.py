"""What every tally keeps to: run on the twin in memory and on a real Valkey."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest

from backends.live_view import LiveViewSettings
from backends.memory_tally import MemoryTally
from backends.redis_tally import RedisTally
from backends.tally import Tally
from tests.fixtures.pipeline import eventually
from topics.names import Namespace


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.servers)])
def tally_url(request: pytest.FixtureRequest) -> str:
    """Address of the server; empty for the twin."""
    return "" if request.param == "memory" else str(request.getfixturevalue("redis_url"))


@pytest.fixture
async def tally(tally_url: str) -> AsyncIterator[Tally]:
    settings = LiveViewSettings(url=tally_url)
    opened: Tally = RedisTally(settings, Namespace(uuid.uuid4().hex)) if tally_url else MemoryTally()
    yield opened
    await opened.close()


async def test_calls_are_counted_by_name_up_to_the_limit(tally: Tally) -> None:
    assert [await tally.hit("a", 3) for _ in range(3)] == [0, 0, 0]
    wait_s = await tally.hit("a", 3)
    assert 0 < wait_s <= 120
    assert await tally.hit("b", 3) == 0


async def test_a_member_is_in_all_groups_or_none(tally: Tally) -> None:
    assert await tally.lease("1", {"small": 1, "large": 2}, 60) is None
    assert await tally.lease("2", {"small": 1, "large": 2}, 60) == "small"
    assert await tally.lease("2", {"other": 1, "large": 2}, 60) is None
    assert await tally.lease("3", {"third": 1, "large": 2}, 60) == "large"
    assert await tally.oldest("third", 10) == []
    assert await tally.oldest("large", 10) == ["1", "2"]
    assert await tally.oldest("large", 1) == ["1"]


async def test_a_member_counts_once(tally: Tally) -> None:
    for _ in range(3):
        assert await tally.lease("1", {"g": 1}, 60) is None
    assert await tally.oldest("g", 10) == ["1"]


async def test_what_is_released_makes_room(tally: Tally) -> None:
    await tally.lease("1", {"g": 1}, 60)
    await tally.release(["1", "nobody"], "g")
    await tally.release([], "g")
    assert await tally.lease("2", {"g": 1}, 60) is None


async def test_a_lease_ends_by_itself(tally: Tally) -> None:
    await tally.lease("1", {"g": 1}, 1)

    async def room() -> bool:
        return await tally.lease("2", {"g": 1}, 60) is None

    await eventually(room, 10)


async def test_of_many_at_the_same_time_no_more_get_in_than_may(tally: Tally) -> None:
    got = await asyncio.gather(*(tally.lease(str(number), {"g": 5}, 60) for number in range(20)))
    assert got.count(None) == 5


async def test_the_first_value_is_remembered(tally: Tally) -> None:
    assert await tally.remember("n", "first", 60) == "first"
    assert await tally.remember("n", "second", 60) == "first"
    assert await tally.remember("m", "second", 60) == "second"
