"""Which records of a topic are replayed: pure, on plain values."""

import hashlib
import heapq
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from replay.errors import ReplayError

_OFFSETS = re.compile(r"(\d{1,9}):(\d{0,18})-(\d{0,18})", re.ASCII)
_HASH_BYTES = 8


class Bounds(NamedTuple):
    """What a partition holds: offsets from ``first`` up to, without it, ``end``, the last stable offset.

    ``first_ms`` is the time of its first record (Unix time in milliseconds), None where there is none.
    """

    first: int
    end: int
    first_ms: int | None = None


class Span(NamedTuple):
    """Offsets of a partition from ``first`` up to, without it, ``end``. Not every offset has a record."""

    first: int
    end: int

    def __len__(self) -> int:
        return max(0, self.end - self.first)


Asked = Mapping[int, tuple[int | None, int | None]]


def parse_offsets(text: str) -> dict[int, tuple[int | None, int | None]]:
    """Read ``PARTITION:FIRST-LAST,…``, both offsets included; one that is left out is the partition's own.

    Raises:
        ReplayError: not of that form, a partition is named twice, or LAST is before FIRST.
    """
    asked: dict[int, tuple[int | None, int | None]] = {}
    for item in text.split(","):
        match = _OFFSETS.fullmatch(item.strip())
        if match is None:
            raise ReplayError(f"--offsets takes PARTITION:FIRST-LAST, such as 0:100-199,1:50-, not {item!r}")
        partition, first, last = (int(number) if number else None for number in match.groups())
        assert partition is not None  # noqa: S101 - the pattern wants a digit there
        if partition in asked:
            raise ReplayError(f"--offsets names partition {partition} twice")
        if first is not None and last is not None and last < first:
            raise ReplayError(f"--offsets {item.strip()} ends before it begins")
        asked[partition] = first, last
    return asked


def spans_of_offsets(topic: str, asked: Asked, bounds: Mapping[int, Bounds]) -> dict[int, Span]:
    """The spans that ``--offsets`` means.

    Raises:
        ReplayError: a partition is not there, retention has deleted some of it, or nothing is left.
    """
    spans = {}
    for partition, (first, last) in asked.items():
        kept = bounds.get(partition)
        if kept is None:
            raise ReplayError(f"{topic} has no partition {partition}; it has {', '.join(map(str, sorted(bounds)))}")
        if first is not None and first < kept.first:
            raise ReplayError(
                f"retention has deleted the records of {topic} before offset {kept.first} of partition {partition}"
                f"{_from_when(kept)}; ask for {partition}:{kept.first}-"
            )
        end = kept.end if last is None else min(last + 1, kept.end)
        spans[partition] = Span(kept.first if first is None else first, end)
    return _some(topic, spans, bounds)


def spans_of_times(
    topic: str,
    bounds: Mapping[int, Bounds],
    since_ms: int | None,
    found_since: Mapping[int, int | None],
    found_until: Mapping[int, int | None],
    kept_since_ms: int | None = None,
) -> dict[int, Span]:
    """The spans between two times; without them everything that is there.

    ``found_since`` and ``found_until`` are each partition's first offset at or after the time, None where there is
    none; empty where the time is not given. What is younger than ``kept_since_ms`` retention cannot have deleted.

    Raises:
        ReplayError: retention has deleted some of it, or nothing is left.
    """
    if since_ms is not None and (kept_since_ms is None or since_ms < kept_since_ms):
        times = [
            kept.first_ms
            for kept in bounds.values()
            if kept.first and kept.first_ms is not None and kept.first_ms > since_ms
        ]
        if times:
            raise ReplayError(
                f"retention has deleted records of {topic} from before {_moment(max(times))}; "
                f"say --since {_moment(max(times))} or later"
            )
    spans = {}
    for partition, kept in bounds.items():
        first = kept.first if since_ms is None else _or(found_since.get(partition), kept.end)
        end = _or(found_until.get(partition), kept.end)
        spans[partition] = Span(max(first, kept.first), min(end, kept.end))
    return _some(topic, spans, bounds)


def deleted_before_ms(bounds: Mapping[int, Bounds]) -> int | None:
    """From when on a topic that retention has partly deleted is whole; None where nothing was deleted."""
    times = [kept.first_ms for kept in bounds.values() if kept.first and kept.first_ms is not None]
    return max(times, default=None)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which of the records in the spans are replayed; what is None lets everything through.

    ``since_ms`` and ``until_ms`` (not included) bound a record's own time, since a topic need not be in its order.
    ``ids`` are request IDs. Of a sample, ``seed`` orders the requests and ``last_rank`` is the rank of its last one.
    """

    since_ms: int | None = None
    until_ms: int | None = None
    ids: frozenset[str] | None = None
    seed: int = 0
    last_rank: int | None = None

    def takes(self, request_id: str, timestamp_ms: int) -> bool:
        """Whether a request is replayed."""
        return (
            (self.since_ms is None or timestamp_ms >= self.since_ms)
            and (self.until_ms is None or timestamp_ms < self.until_ms)
            and (self.ids is None or request_id in self.ids)
            and (self.last_rank is None or rank(self.seed, request_id) <= self.last_rank)
        )


def rank(seed: int, request_id: str) -> int:
    """A request's place in a sample's order: the same for the same seed, whatever else is in the topic."""
    text = f"{seed}:{request_id}".encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(text, digest_size=_HASH_BYTES).digest())


def last_rank_of(size: int, seed: int, request_ids: Iterable[str]) -> int | None:
    """The rank of the last one of a sample of ``size``; None where there are no more than that.

    An ID that comes twice counts once. It holds ``size`` ranks in memory.
    """
    lowest: list[int] = []
    held: set[int] = set()
    more = False
    for request_id in request_ids:
        place = rank(seed, request_id)
        if place in held:
            continue
        if len(lowest) < size:
            heapq.heappush(lowest, -place)
            held.add(place)
        elif place < -lowest[0]:
            held.discard(-heapq.heapreplace(lowest, -place))
            held.add(place)
            more = True
        else:
            more = True
    return -lowest[0] if more and lowest else None


def _some(topic: str, spans: Mapping[int, Span], bounds: Mapping[int, Bounds]) -> dict[int, Span]:
    left = {partition: span for partition, span in spans.items() if len(span)}
    if not left:
        if not any(kept.end > kept.first for kept in bounds.values()):
            deleted = any(kept.first for kept in bounds.values())
            raise ReplayError(f"{topic} is empty{': retention has deleted all of it' if deleted else ''}")
        raise ReplayError(f"{topic} has no record in the range that was asked for")
    return left


def _or(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value


def _from_when(kept: Bounds) -> str:
    return "" if kept.first_ms is None else f" (kept from {_moment(kept.first_ms)})"


def _moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
