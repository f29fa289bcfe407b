"""Which records of a partition are done, when they finish in any order.

A commit carries the watermark (the first offset that is not done) as Kafka's offset, and what is done beyond it
as the commit's metadata. Whoever reads the commit skips that.

Metadata: ``r1:`` and base64 of unsigned LEB128 numbers, in turn the length of a run that is not done and the
length of a run that is, counted from the watermark. Kafka keeps at most 4,096 bytes of metadata
(``offset.metadata.max.bytes``).
"""

import base64
import binascii
from collections import deque
from collections.abc import Iterable

METADATA_LIMIT_BYTES = 4096
# Each run that is done follows a run that is not, which holds an outstanding offset: there are at most as many
# pairs as outstanding offsets. A pair is two numbers of at most 3 bytes for runs under 2,097,152, and base64 takes
# 4 bytes for 3: 8 bytes a pair.
MAX_OUTSTANDING = (METADATA_LIMIT_BYTES - 96) // 8
_PREFIX = "r1:"


class Progress:
    """Progress on one partition, starting at the committed offset ``watermark``.

    Offsets must be begun in growing order; gaps (compaction, transaction markers) are taken as done.
    """

    def __init__(self, watermark: int, done: Iterable[range] = ()) -> None:
        self._next = watermark
        self._begun: deque[int] = deque()
        self._done: set[int] = set()
        self._skip = [run for run in done if run.stop > watermark]

    @classmethod
    def from_commit(cls, offset: int, metadata: str) -> "Progress":
        """Go on where a commit left off; metadata that is not ours counts as empty."""
        return cls(offset, decode_runs(offset, metadata))

    @property
    def next_offset(self) -> int:
        """The lowest offset that may be begun next."""
        return self._next

    @property
    def outstanding(self) -> int:
        """Offsets begun and not done."""
        return len(self._begun) - len(self._done)

    def begin(self, offset: int) -> bool:
        """Note that a record was fetched. False if it was done before (by this or an earlier owner).

        Raises:
            ValueError: the offset is lower than one begun before.
        """
        if offset < self._next:
            msg = f"offset {offset} was begun before (next is {self._next})"
            raise ValueError(msg)
        self._next = offset + 1
        self._begun.append(offset)
        if self._skip and any(offset in run for run in self._skip):
            self._done.add(offset)
            self._advance()
            return False
        return True

    def finish(self, offset: int) -> None:
        """Note that a record begun here is done; again is harmless."""
        if self._begun and offset >= self._begun[0]:
            self._done.add(offset)
            self._advance()

    def skip_to(self, offset: int) -> bool:
        """Note that there is no record before ``offset``; counts only while nothing is outstanding. Whether it changed
        anything.
        """
        if self._begun or offset <= self._next:
            return False
        self._next = offset
        return True

    def commit(self) -> tuple[int, str]:
        """What to commit: the watermark and the metadata."""
        watermark = self._begun[0] if self._begun else self._next
        return watermark, encode_runs(watermark, self._done_runs())

    def _advance(self) -> None:
        while self._begun and self._begun[0] in self._done:
            self._done.discard(self._begun.popleft())
        if self._skip and self._skip[-1].stop <= self._next:
            self._skip.clear()

    def _done_runs(self) -> list[range]:
        """Runs done beyond the watermark: what lies between outstanding offsets, and what an earlier owner did."""
        runs: list[range] = []
        previous: int | None = None
        for offset in self._begun:
            if offset in self._done:
                continue
            if previous is not None and offset > previous + 1:
                runs.append(range(previous + 1, offset))
            previous = offset
        if previous is not None and self._next > previous + 1:
            runs.append(range(previous + 1, self._next))
        runs.extend(range(max(run.start, self._next), run.stop) for run in self._skip if run.stop > self._next)
        return runs


def encode_runs(watermark: int, runs: Iterable[range]) -> str:
    """Write runs of done offsets beyond ``watermark``, in order, as commit metadata; nothing as an empty string."""
    numbers = bytearray()
    position = watermark
    for run in runs:
        numbers += _varint(run.start - position) + _varint(len(run))
        position = run.stop
    return _PREFIX + base64.b64encode(bytes(numbers)).decode("ascii") if numbers else ""


def decode_runs(watermark: int, metadata: str) -> list[range]:
    """Read what ``encode_runs`` wrote; anything else as no runs."""
    if not metadata.startswith(_PREFIX):
        return []
    try:
        numbers = _varints(base64.b64decode(metadata[len(_PREFIX) :], validate=True))
    except (binascii.Error, ValueError):
        return []
    runs: list[range] = []
    position = watermark
    for gap, length in zip(numbers[::2], numbers[1::2], strict=False):
        runs.append(range(position + gap, position + gap + length))
        position += gap + length
    return runs


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - LEB128: seven bits a byte
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _varints(data: bytes) -> list[int]:
    numbers: list[int] = []
    number = shift = 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        if byte & 0x80:
            shift += 7
        else:
            numbers.append(number)
            number = shift = 0
    return numbers
