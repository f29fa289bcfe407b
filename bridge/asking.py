"""Takes a question on its way: into Kafka, and into the live view."""

import time

import structlog

from backends.errors import BackendUnavailableError
from backends.live_view import Entry, LiveView
from bridge.messages import Question
from bridge.publisher import QueryPublisher

STAGE = "bridge"

log = structlog.get_logger(__name__)


async def ask(
    request_id: str, question: Question, publisher: QueryPublisher, live_view: LiveView, traceparent: str | None
) -> None:
    """Publish a question and show that it was: from then on the request is known by its ID.

    Raises:
        BackendUnavailableError: Kafka did not take it. That the live view is down is no reason to refuse a question.
    """
    started_ms = _now_ms()
    await publisher.publish(request_id, question.event(), traceparent=traceparent)
    progress = {"stage": STAGE, "started_ms": started_ms, "finished_ms": _now_ms(), "attempt": 1}
    try:
        await live_view.append(request_id, [Entry("progress", progress)], once=STAGE)
    except BackendUnavailableError as error:
        log.warning("asked, but not shown in the live view", request_id=request_id, error=str(error))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
