"""The live view of requests: what has happened so far, for those who watch.

One append-only stream per request, with a time to live. Losing it loses no answer.
"""

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field

EntryKind = Literal["progress", "sources", "delta", "terminal", "kept"]

_ENTRY_ID = re.compile(r"([0-9]{1,20})(?:-([0-9]{1,20}))?", re.ASCII)
_MAX_ID_PART = 2**64 - 1


class LiveViewSettings(BaseModel):
    """Where Redis (or Valkey) is and how long a request stays visible."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field("", description="Address of Redis or Valkey; empty takes the local stack's.")
    ttl_s: int = Field(3600, gt=0, description="How long a request stays visible after its last entry, in seconds.")
    max_entries: int = Field(10_000, gt=0, description="Longest stream of one request.")
    timeout_ms: int = Field(2_000, gt=0, description="Longest wait for one call.")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. ``body`` is JSON.

    - ``progress``: ``{stage, started_ms, finished_ms, attempt}``, with a ``note`` where something is to be said of it
    - ``sources``: ``{sources: [Source…]}``
    - ``delta``: ``{attempt, sequence, text}``; sequence counts from 0 within an attempt
    - ``terminal``: ``{type, event, timeline}``, the terminal event whole
    - ``kept``: what the bridge keeps for itself about a request or a document, in a stream beside
    """

    kind: EntryKind
    body: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry with its place in the request's stream: ``id`` grows, and reading goes on after it."""

    id: str
    entry: Entry


def position(entry_id: str) -> tuple[int, int]:
    """The place an entry ID names, as numbers that compare; ``"0"`` is before every entry.

    An ID is Redis' ``milliseconds-sequence``, both unsigned 64-bit.

    Raises:
        ValueError: not an entry ID.
    """
    match = _ENTRY_ID.fullmatch(entry_id)
    milliseconds, sequence = (int(match[1]), int(match[2] or 0)) if match else (-1, -1)
    if not match or max(milliseconds, sequence) > _MAX_ID_PART:
        msg = f"{entry_id[:50]!r} is not an entry ID"
        raise ValueError(msg)
    return milliseconds, sequence


def stream_of(tenant: str, request_id: str) -> str:
    """The name of a request's stream. Tenants never meet: the same request ID of another one is another stream."""
    return f"{quote(tenant, safe='')}/{request_id}"


class LiveView(Protocol):
    """Streams of entries by name, which ``stream_of`` makes from tenant and request ID.

    Methods raise ``BackendUnavailableError`` while the store does not answer, but for followers, who wait until it does
    and then go on from where they were. An ``after`` that is not an entry ID raises ``ValueError``.
    """

    async def append(self, stream: str, entries: Sequence[Entry], *, once: str | None = None) -> bool:
        """Add entries in order, together; a terminal one comes last. Behind it nothing is added but another terminal
        one: what a slow worker still has to say changes nothing. With ``once``, a second call with the same mark for
        the stream adds nothing. False where nothing was added.
        """
        ...

    async def begin_attempt(self, stream: str) -> int:
        """Count one more attempt at generating this request's answer: 1 the first time. Whoever reads the stream drops
        the deltas of lower attempts.
        """
        ...

    async def read(self, stream: str, after: str = "0") -> list[StoredEntry]:
        """Everything after the entry ID ``after``; ``"0"`` reads from the beginning."""
        ...

    async def last(self, stream: str, until: str = "") -> StoredEntry | None:
        """The latest entry, of those up to the entry ID ``until`` if one is given; None without any."""
        ...

    def follow(self, stream: str, after: str = "0") -> AsyncGenerator[StoredEntry, None]:
        """Everything after ``after``, then what comes, without end; the reader stops at the terminal entry and closes
        the generator. All followers of one object share one connection.
        """
        ...

    async def close(self) -> None:
        """Let go of connections; followers end."""
        ...
