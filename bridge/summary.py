"""What has become of a request, told from the entries of its stream alone."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from backends.live_view import StoredEntry
from bridge.messages import Delta, Progress, Sources, StageTiming, TerminalReached
from bridge.protocol import Followed
from schemas.events import EVENT_BY_TYPE, Answered, RequestCancelled, RequestExpired, RequestFailed
from schemas.values import Source, Usage, Value

# The stage that the bridge itself counts as.
BRIDGE = "bridge"

RequestState: TypeAlias = Literal["queued", "running", "answered", "failed", "expired", "cancelled"]


class Failure(Value):
    """Why there is no answer."""

    stage: str
    code: str
    message: str


class QuerySummary(Value):
    """A request as it stands.

    ``answer`` is the text so far while the request runs and the whole text once it is answered. ``stages`` are those
    that have done their part, in the order in which they finished.
    """

    request_id: str
    state: RequestState
    stages: tuple[StageTiming, ...] = ()
    sources: tuple[Source, ...] = ()
    answer: str = ""
    finish_reason: str | None = None
    model: str | None = None
    usage: Usage | None = None
    failure: Failure | None = None


def summary(request_id: str, entries: Sequence[StoredEntry]) -> QuerySummary | None:
    """The request's state by its entries, oldest first; None without any."""
    if not entries:
        return None
    view = Followed(request_id)
    messages = [message for stored in entries if (message := view.take(stored)) is not None]
    timings = [message for message in messages if isinstance(message, Progress)]
    deltas = [message for message in messages if isinstance(message, Delta)]
    running = QuerySummary(
        request_id=request_id,
        state="running" if deltas or any(timing.stage != BRIDGE for timing in timings) else "queued",
        stages=tuple(StageTiming.model_validate(timing.model_dump()) for timing in timings),
        sources=next((message.sources for message in reversed(messages) if isinstance(message, Sources)), ()),
        answer="".join(delta.text for delta in deltas if delta.attempt == view.attempt),
    )
    # Of a request that was redriven the later one holds.
    terminal = next((message for message in reversed(messages) if isinstance(message, TerminalReached)), None)
    if terminal is None:
        return running
    # A stage whose progress came too late to be shown is in the terminal event's timeline; notes are in what was shown.
    each = {(timing.stage, timing.started_ms): timing for timing in (*terminal.timeline, *running.stages)}
    stages = tuple(sorted(each.values(), key=lambda timing: timing.finished_ms))
    return running.model_copy(update=_ending(terminal) | {"stages": stages})


def ended(terminal: TerminalReached) -> QuerySummary:
    """The request's state by its terminal event alone."""
    passed = QuerySummary(request_id=terminal.request_id, state="running", stages=terminal.timeline)
    return passed.model_copy(update=_ending(terminal))


def _ending(terminal: TerminalReached) -> dict[str, object]:
    match EVENT_BY_TYPE[terminal.type].model_validate(terminal.event):
        case Answered() as event:
            return {
                "state": "answered",
                "sources": event.sources,
                "answer": event.answer,
                "finish_reason": event.finish_reason,
                "model": event.model,
                "usage": event.usage,
            }
        case RequestFailed() as event:
            return {
                "state": "failed",
                "failure": Failure(stage=event.stage, code=event.code, message=event.message),
            }
        case RequestExpired() as event:
            message = f"The deadline, {event.deadline_at.isoformat()}, passed before the answer was ready."
            return {"state": "expired", "failure": Failure(stage=event.stage, code="expired", message=message)}
        case RequestCancelled() as event:
            message = event.reason or "The request was cancelled."
            return {"state": "cancelled", "failure": Failure(stage=event.stage, code="cancelled", message=message)}
        case event:
            msg = f"{type(event).__name__} does not end a request"
            raise TypeError(msg)
