from datetime import UTC, datetime

from bridge.publisher import headers_of
from schemas.events import QueryAsked
from schemas.headers import Headers

ASKED = QueryAsked(question="q")


def test_a_question_asked_again_is_the_same_event() -> None:
    first = headers_of("r", ASKED, "t", datetime(2026, 1, 1, tzinfo=UTC), None)
    again = headers_of("r", ASKED, "t", datetime(2026, 1, 2, tzinfo=UTC), None)
    other = headers_of("s", ASKED, "t", datetime(2026, 1, 1, tzinfo=UTC), None)
    of_another_tenant = headers_of("r", ASKED, "u", datetime(2026, 1, 1, tzinfo=UTC), None)
    assert len({first.id, other.id, of_another_tenant.id}) == 3
    assert first.id == again.id


def test_headers_say_what_it_is_and_carry_the_trace() -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    now = datetime(2026, 1, 1, tzinfo=UTC)
    headers = Headers.decode(headers_of("r", ASKED, "t", now, traceparent).encode())
    assert (headers.type, headers.source, headers.subject) == (QueryAsked.TYPE, "ragline/bridge", "r")
    assert (headers.time, headers.traceparent, headers.tenant) == (now, traceparent, "t")
