"""What a websocket connection decides, apart from its socket."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, IntEnum

from pydantic import ValidationError

from backends.live_view import StoredEntry
from bridge.messages import (
    CLIENT_MESSAGE,
    Ask,
    Cancel,
    Delta,
    Message,
    Problem,
    Progress,
    Resume,
    Sources,
    TerminalReached,
)


class CloseCode(IntEnum):
    """Why the bridge closes a websocket: RFC 6455, section 7.4, and private ones that speak HTTP's language."""

    INVALID_TEXT = 1007
    TOO_LARGE = 1009
    # The bridge stops: connect again, elsewhere, and resume.
    RESTART = 1012
    # The reader was too slow: connect again and resume.
    TOO_SLOW = 1013
    ACCESS_ENDED = 4401
    IDLE = 4408
    UNREADABLE = 4429


class State(Enum):
    """Where a connection stands. It only moves down the list."""

    CONNECTING = "connecting"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


@dataclass
class Followed:
    """One request as one client sees it: attempts never mix, and no delta comes twice."""

    request_id: str
    attempt: int = 0
    sequence: int = 0
    done: bool = False

    def take(self, stored: StoredEntry) -> Message | None:
        """The message for an entry, or None for one that the client must not see."""
        entry = {**stored.entry.body, "request_id": self.request_id, "id": stored.id}
        if stored.entry.kind == "delta":
            delta = Delta.model_validate(entry)
            return delta if self._is_next(delta) else None
        if stored.entry.kind == "progress":
            return Progress.model_validate(entry)
        if stored.entry.kind == "sources":
            return Sources.model_validate(entry)
        self.done = True
        return TerminalReached.model_validate(entry)

    def _is_next(self, delta: Delta) -> bool:
        if (delta.attempt, delta.sequence) < (self.attempt, self.sequence):
            return False
        self.attempt, self.sequence = delta.attempt, delta.sequence + 1
        return True


@dataclass
class Connection:
    """One websocket: its state and the requests it follows. ``new_request_id`` makes IDs for questions without one."""

    max_requests: int
    new_request_id: Callable[[], str]
    state: State = State.CONNECTING
    following: dict[str, Followed] = field(default_factory=dict)
    unreadable: int = 0

    def receive(self, text: str | None) -> Ask | Resume | Cancel | Problem:
        """What to do about a frame: ask or resume (the request is then followed), cancel, or the problem to tell.

        ``text`` None is a binary frame. An ``Ask`` comes back with its ``id`` filled in.
        """
        message = self._read(text)
        self.unreadable += isinstance(message, Problem)
        return message

    def _read(self, text: str | None) -> Ask | Resume | Cancel | Problem:
        if text is None:
            return Problem(code="invalid_message", message="Binary frames are not read: send JSON as text.")
        try:
            message = CLIENT_MESSAGE.validate_json(text)
        except ValidationError as error:
            return _problem(error)
        if isinstance(message, Cancel):
            return message
        if isinstance(message, Ask):
            message = message.model_copy(update={"id": message.id or self.new_request_id()})
            request_id = str(message.id)
        else:
            request_id = message.request_id
        if request_id in self.following:
            return Problem(code="already_followed", message=f"Request {request_id} is already followed here.")
        if len(self.following) >= self.max_requests:
            return Problem(
                request_id=request_id,
                code="too_many_requests",
                message=f"This connection follows {self.max_requests} requests already: wait for one to end.",
            )
        self.following[request_id] = Followed(request_id)
        return message

    def finish(self, request_id: str) -> None:
        """The request is no longer followed."""
        self.following.pop(request_id, None)


def may_connect(origin: str | None, host: str | None, allowed: tuple[str, ...]) -> bool:
    """Whether a page of ``origin`` may open a websocket to ``host``: its own pages may, and those allowed.

    Browsers send the origin and no page can forge it; other clients send none.
    """
    return origin is None or origin in allowed or (bool(host) and origin in {f"http://{host}", f"https://{host}"})


def _problem(error: ValidationError) -> Problem:
    first, *_ = error.errors(include_url=False, include_input=False)
    if first["type"] == "json_invalid":
        return Problem(code="invalid_json", message=f"The message is not JSON: {first['msg']}.")
    if first["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        return Problem(code="unknown_kind", message='The message needs a "kind": "ask", "resume" or "cancel".')
    return Problem(code="invalid_message", message=sentence(first["loc"][1:], first["msg"]))


def sentence(location: tuple[int | str, ...], message: str) -> str:
    """One validation problem for people: where, then what."""
    where = ".".join(str(part) for part in location)
    return f"{where}: {message}" if where else message
