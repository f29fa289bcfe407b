"""What processes count together: calls in a minute, work that has not ended, and what was asked before."""

from collections.abc import Mapping, Sequence
from typing import Protocol


class Tally(Protocol):
    """Counts by name. Methods raise ``BackendUnavailableError`` while the store does not answer."""

    async def hit(self, name: str, per_minute: int) -> float:
        """Count one call; 0 if it is within the limit, else the seconds to wait, and nothing is counted."""
        ...

    async def lease(self, member: str, limits: Mapping[str, int], lease_s: int) -> str | None:
        """Add ``member`` to every group, for ``lease_s`` seconds at most; a member counts once.

        ``limits`` are the sizes that the groups may have. If one is full, its name comes back and nothing is added.
        """
        ...

    async def oldest(self, group: str, count: int) -> list[str]:
        """The members that have been in the group for longest."""
        ...

    async def release(self, members: Sequence[str], group: str) -> None:
        """Take members out of the group; those that are not in it are no error."""
        ...

    async def remember(self, name: str, value: str, ttl_s: int) -> str:
        """Keep ``value`` under ``name`` unless there is one already; gives the one that is kept."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
