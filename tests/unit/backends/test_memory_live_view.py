"""Expiry, which only the twin shows without waiting."""

from backends.live_view import Entry, LiveViewSettings
from backends.memory_live_view import MemoryLiveView

ENTRY = Entry("delta", {"attempt": 1, "sequence": 0, "text": "a"})


async def test_entries_marks_and_attempts_expire_together_after_the_last_entry() -> None:
    now = 0.0
    view = MemoryLiveView(LiveViewSettings(ttl_s=10), clock=lambda: now)
    await view.append("r", [ENTRY], once="m")
    await view.begin_attempt("r")
    now = 9.0
    await view.append("r", [ENTRY])
    now = 18.0
    assert len(await view.read("r")) == 2
    assert not await view.append("r", [ENTRY], once="m")
    now = 40.0
    assert await view.read("r") == []
    assert await view.append("r", [ENTRY], once="m")
    assert await view.begin_attempt("r") == 1


async def test_ids_grow_when_the_clock_stands_still() -> None:
    view = MemoryLiveView(LiveViewSettings(), clock=lambda: 5.0)
    await view.append("r", [ENTRY, ENTRY])
    await view.append("r", [ENTRY])
    assert [stored.id for stored in await view.read("r")] == ["5000-0", "5000-1", "5000-2"]
