from datetime import UTC, datetime

from bridge.publisher import query_headers
from schemas.events import QueryAsked
from schemas.headers import Headers


def test_a_question_asked_again_is_the_same_event() -> None:
    first = query_headers("r", datetime(2026, 1, 1, tzinfo=UTC), None)
    again = query_headers("r", datetime(2026, 1, 2, tzinfo=UTC), None)
    other = query_headers("s", datetime(2026, 1, 1, tzinfo=UTC), None)
    assert first.id == again.id != other.id


def test_headers_say_what_it_is_and_carry_the_trace() -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    now = datetime(2026, 1, 1, tzinfo=UTC)
    headers = Headers.decode(query_headers("r", now, traceparent).encode())
    assert (headers.type, headers.source, headers.subject) == (QueryAsked.TYPE, "ragline/bridge", "r")
    assert (headers.time, headers.traceparent) == (now, traceparent)
