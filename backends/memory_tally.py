"""The tally in this process's memory: the twin of the one in Redis."""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence

_MINUTE_S = 60.0


class MemoryTally:
    """``clock`` gives seconds and decides what is over."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hits: defaultdict[str, deque[float]] = defaultdict(deque)
        self._groups: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self._values: dict[str, tuple[str, float]] = {}

    async def hit(self, name: str, per_minute: int) -> float:
        now = self._clock()
        hits = self._hits[name]
        while hits and hits[0] <= now - _MINUTE_S:
            hits.popleft()
        if len(hits) >= per_minute:
            return hits[0] + _MINUTE_S - now
        hits.append(now)
        return 0.0

    async def lease(self, member: str, limits: Mapping[str, int], lease_s: int) -> str | None:
        now = self._clock()
        for group, limit in limits.items():
            kept = self._groups[group]
            for name in [name for name, until in kept.items() if until <= now]:
                del kept[name]
            if member not in kept and len(kept) >= limit:
                return group
        for group in limits:
            self._groups[group][member] = now + lease_s
        return None

    async def oldest(self, group: str, count: int) -> list[str]:
        kept = self._groups[group]
        return sorted(kept, key=kept.__getitem__)[:count]

    async def release(self, members: Sequence[str], group: str) -> None:
        for member in members:
            self._groups[group].pop(member, None)

    async def remember(self, name: str, value: str, ttl_s: int) -> str:
        now = self._clock()
        kept, until = self._values.get(name, (value, 0.0))
        if until > now:
            return kept
        self._values[name] = (value, now + ttl_s)
        return value

    async def close(self) -> None:
        """Nothing to let go of."""
