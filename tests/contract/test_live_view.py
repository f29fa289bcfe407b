"""What every live view keeps to: run on the twin in memory and on a real Valkey."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from backends.live_view import Entry, LiveView, LiveViewSettings, StoredEntry, position
from backends.memory_live_view import MemoryLiveView
from backends.redis_live_view import RedisLiveView
from topics.names import Namespace

DEADLINE_S = 10


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.servers)])
def url(request: pytest.FixtureRequest) -> str:
    """Address of the server; empty for the twin."""
    return "" if request.param == "memory" else str(request.getfixturevalue("redis_url"))


@pytest.fixture
async def view(url: str) -> AsyncIterator[LiveView]:
    settings = LiveViewSettings(url=url, max_entries=2_500)
    opened: LiveView = RedisLiveView(settings, Namespace(uuid.uuid4().hex)) if url else MemoryLiveView(settings)
    yield opened
    await opened.close()


def delta(sequence: int, text: str = "word ") -> Entry:
    return Entry("delta", {"attempt": 1, "sequence": sequence, "text": text})


TERMINAL = Entry("terminal", {"type": "t", "event": {"answer": "ä\u0000b"}, "timeline": []})


def entries(stored: list[StoredEntry]) -> list[Entry]:
    return [item.entry for item in stored]


async def until_terminal(view: LiveView, request_id: str, after: str = "0") -> list[StoredEntry]:
    seen: list[StoredEntry] = []
    async with asyncio.timeout(DEADLINE_S), aclosing(view.follow(request_id, after)) as stream:
        async for item in stream:
            seen.append(item)
            if item.entry.kind == "terminal":
                break
    return seen


async def test_reads_what_was_appended_in_order(view: LiveView) -> None:
    assert await view.append("r", [delta(0), delta(1)])
    assert await view.append("r", [TERMINAL])
    stored = await view.read("r")
    assert entries(stored) == [delta(0), delta(1), TERMINAL]
    assert [position(item.id) for item in stored] == sorted({position(item.id) for item in stored})


async def test_reads_on_after_an_entry(view: LiveView) -> None:
    await view.append("r", [delta(n) for n in range(3)])
    first, *rest = await view.read("r")
    assert await view.read("r", first.id) == rest
    assert await view.read("r", rest[-1].id) == []


async def test_finds_the_latest_entry(view: LiveView) -> None:
    assert await view.last("r") is None
    await view.append("r", [delta(n) for n in range(3)])
    stored = await view.read("r")
    assert await view.last("r") == stored[-1]
    for item in stored:
        assert await view.last("r", item.id) == item
    assert await view.last("r", "1-1") is None
    with pytest.raises(ValueError, match="not an entry ID"):
        await view.last("r", "x")


async def test_knows_nothing_of_other_requests(view: LiveView) -> None:
    await view.append("r", [delta(0)])
    assert await view.read("s") == []


async def test_request_ids_may_hold_any_text(view: LiveView) -> None:
    for request_id in ("}{", "a b\nc", "ü" * 128):
        await view.append(request_id, [delta(0, request_id)])
        assert entries(await view.read(request_id)) == [delta(0, request_id)]


async def test_a_mark_lets_entries_in_once(view: LiveView) -> None:
    assert await view.append("r", [delta(0)], once="m")
    assert not await view.append("r", [delta(0)], once="m")
    assert await view.append("r", [delta(1)], once="other")
    assert await view.append("s", [delta(0)], once="m")
    assert entries(await view.read("r")) == [delta(0), delta(1)]


async def test_a_mark_holds_against_appends_at_the_same_time(view: LiveView) -> None:
    added = await asyncio.gather(*(view.append("r", [delta(0)], once="m") for _ in range(20)))
    assert sorted(added) == [False] * 19 + [True]
    assert len(await view.read("r")) == 1


async def test_an_empty_mark_is_a_mark(view: LiveView) -> None:
    assert await view.append("r", [delta(0)], once="")
    assert not await view.append("r", [delta(0)], once="")


async def test_counts_attempts_per_request(view: LiveView) -> None:
    assert [await view.begin_attempt("r") for _ in range(3)] == [1, 2, 3]
    assert await view.begin_attempt("s") == 1
    assert await view.read("r") == []


async def test_a_long_stream_is_read_whole(view: LiveView) -> None:
    for start in range(0, 2_400, 300):
        await view.append("r", [delta(n) for n in range(start, start + 300)])
    assert entries(await view.read("r")) == [delta(n) for n in range(2_400)]


async def test_nothing_follows_a_terminal_entry_but_another(view: LiveView) -> None:
    await view.append("r", [delta(0), TERMINAL])
    # A worker that lags behind, and one that was taken for dead.
    assert not await view.append("r", [Entry("progress", {"stage": "prompt"})], once="prompt")
    assert not await view.append("r", [delta(1)])
    assert entries(await view.read("r")) == [delta(0), TERMINAL]
    again = [Entry("progress", {"stage": "generation"}), Entry("terminal", {"type": "u", "event": {}, "timeline": []})]
    assert await view.append("r", again)
    assert entries(await view.read("r")) == [delta(0), TERMINAL, *again]
    assert await view.append("another", [delta(0)])


async def test_the_oldest_entries_make_room(view: LiveView) -> None:
    await view.append("r", [delta(n) for n in range(2_510)])
    stored = await view.read("r")
    assert len(stored) == 2_500
    assert stored[-1].entry == delta(2_509)


async def test_follows_what_was_there_and_what_comes(view: LiveView) -> None:
    await view.append("r", [delta(0)])
    following = asyncio.create_task(until_terminal(view, "r"))
    for n in range(1, 5):
        await view.append("r", [delta(n)])
        await asyncio.sleep(0)
    await view.append("r", [TERMINAL])
    assert entries(await following) == [*(delta(n) for n in range(5)), TERMINAL]


async def test_follows_on_after_an_entry(view: LiveView) -> None:
    await view.append("r", [delta(0), delta(1), TERMINAL])
    first = (await view.read("r"))[0]
    assert entries(await until_terminal(view, "r", first.id)) == [delta(1), TERMINAL]


async def test_many_followers_join_while_others_are_served(view: LiveView) -> None:
    following = []
    for n in range(30):
        following.append(asyncio.create_task(until_terminal(view, f"r{n % 10}")))
        await view.append(f"r{n % 10}", [delta(n // 10)])
    for n in range(10):
        await view.append(f"r{n}", [TERMINAL])
    for seen in await asyncio.gather(*following):
        assert entries(seen) == [delta(0), delta(1), delta(2), TERMINAL]


async def test_a_follower_that_pauses_misses_nothing_and_holds_up_nobody(view: LiveView) -> None:
    async with asyncio.timeout(DEADLINE_S), aclosing(view.follow("slow")) as slow:
        await view.append("slow", [delta(0)])
        assert (await anext(slow)).entry == delta(0)
        await view.append("slow", [delta(n) for n in range(1, 2_000)])
        await view.append("quick", [TERMINAL])
        assert entries(await until_terminal(view, "quick")) == [TERMINAL]
        assert [(await anext(slow)).entry for _ in range(1, 2_000)] == [delta(n) for n in range(1, 2_000)]


async def test_two_followers_of_one_request_at_different_places(view: LiveView) -> None:
    await view.append("r", [delta(0), delta(1)])
    second = (await view.read("r"))[1]
    ahead = asyncio.create_task(until_terminal(view, "r", second.id))
    behind = asyncio.create_task(until_terminal(view, "r"))
    await view.append("r", [TERMINAL])
    assert entries(await ahead) == [TERMINAL]
    assert entries(await behind) == [delta(0), delta(1), TERMINAL]


async def test_closing_ends_followers(view: LiveView) -> None:
    await view.append("r", [delta(0)])
    stream = view.follow("r")
    async with asyncio.timeout(DEADLINE_S):
        assert (await anext(stream)).entry == delta(0)
        ending = asyncio.create_task(anext(stream, None))
        await asyncio.sleep(0)
        await view.close()
        assert await ending is None


@pytest.mark.parametrize("after", ["", "x", "-", "1-", "$", "+", "1-2-3", "18446744073709551616", "\u0661"])
async def test_refuses_what_is_no_entry_id(view: LiveView, after: str) -> None:
    with pytest.raises(ValueError, match="not an entry ID"):
        await view.read("r", after)
    with pytest.raises(ValueError, match="not an entry ID"):
        await anext(view.follow("r", after))
