"""What waits to be sent on one websocket: bounded, and merged where that loses nothing."""

from collections import deque
from dataclasses import dataclass, field

from bridge.messages import Delta, ServerMessage

# A merged delta grows no further than this.
_MAX_MERGED_CHARS = 16 * 1024
# What a message weighs besides its text.
_OVERHEAD = 200


@dataclass(slots=True)
class _Waiting:
    """One message to come. ``pieces`` are the texts of a delta, the others' messages are written already."""

    message: ServerMessage
    pieces: list[str] = field(default_factory=list)
    written: str = ""
    size: int = 0

    def text(self) -> str:
        if isinstance(self.message, Delta) and len(self.pieces) > 1:
            return self.message.model_copy(update={"text": "".join(self.pieces)}).model_dump_json()
        return self.written or self.message.model_dump_json()


class Outbox:
    """Messages in order, of each request; a delta that follows one still waiting is put into it.

    It is full from ``max_messages`` messages or ``max_bytes`` of text on; merging does not make it fuller by a message.
    """

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._waiting: deque[_Waiting] = deque()
        # The last message of each request, as long as it waits.
        self._last: dict[str | None, _Waiting] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether nothing should be put in until something was taken."""
        return len(self._waiting) >= self._max_messages or self._bytes >= self._max_bytes

    def put(self, message: ServerMessage) -> None:
        """Add a message, whether there is room or not: who puts looks first."""
        last = self._last.get(message.request_id)
        if isinstance(message, Delta):
            if last is not None and _merges(last, message):
                last.message = message
                last.pieces.append(message.text)
                last.size += len(message.text)
                self._bytes += len(message.text)
                return
            waiting = _Waiting(message, [message.text], size=len(message.text) + _OVERHEAD)
        else:
            written = message.model_dump_json()
            waiting = _Waiting(message, written=written, size=len(written))
        self._waiting.append(waiting)
        self._last[message.request_id] = waiting
        self._bytes += waiting.size

    def take(self) -> tuple[str, str]:
        """The kind and the JSON of the next message.

        Raises:
            IndexError: there is none.
        """
        waiting = self._waiting.popleft()
        self._bytes -= waiting.size
        request_id = waiting.message.request_id
        if self._last.get(request_id) is waiting:
            del self._last[request_id]
        return waiting.message.kind, waiting.text()


def _merges(last: _Waiting, delta: Delta) -> bool:
    waiting = last.message
    return isinstance(waiting, Delta) and waiting.attempt == delta.attempt and last.size < _MAX_MERGED_CHARS
