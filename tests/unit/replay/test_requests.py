from datetime import UTC, datetime, timedelta

from replay.overrides import OptionChanges
from replay.requests import REPLAYED_FROM, maker, request_id
from schemas import codec
from schemas.events import QueryAsked
from schemas.headers import Headers, Origin
from topics.specs import PASSAGES_RETRIEVED, QUERIES
from workers.query import QueryStage
from workers.runtime.records import Incoming, deliver
from workers.runtime.stage import Produce
from workers.settings import QuerySettings

THEN = datetime(2026, 1, 1, tzinfo=UTC)
NO_CHANGES = OptionChanges()


def record(value: bytes | None = b"{}", key: bytes | None = b"r", headers: Headers | None = None) -> Incoming:
    return Incoming(Origin("rag.queries", 2, 7), key, value, headers or Headers.decode([]), THEN, 0)


def test_a_copy_keeps_key_value_and_headers_and_says_where_it_is_from() -> None:
    headers = Headers(id="e", type="t", time=THEN, deadline_at=THEN, tenant="x")
    made = maker(QUERIES, "run.rag.queries", "run", NO_CHANGES)(record(b"as it was", b"r", headers))
    assert (made.topic, made.key, made.value) == ("run.rag.queries", b"r", b"as it was")
    copied = Headers.decode(made.headers)
    assert (copied.id, copied.type, copied.deadline_at, copied.tenant) == ("e", "t", THEN, "x")
    assert copied.replay == "run"
    assert copied.raw[REPLAYED_FROM] == b"rag.queries/2/7"


def test_a_copy_is_no_redrive_and_not_part_of_a_trace() -> None:
    headers = Headers(id="e", redrives=2, redriven_for="query", traceparent="00-a-b-01", tracestate="x=y")
    copied = Headers.decode(maker(QUERIES, "t", "run", NO_CHANGES)(record(headers=headers)).headers)
    assert (copied.redrives, copied.redriven_for, copied.traceparent, copied.tracestate) == (0, None, None, None)


def test_what_production_made_of_place_and_time_is_written_down() -> None:
    plain = record(b'{"question": "Why?"}', key=None)
    made = maker(QUERIES, "t", "run", NO_CHANGES)(plain)
    original = deliver(plain, QUERIES, 1)
    copy = deliver(
        Incoming(Origin("elsewhere", 0, 0), made.key, made.value, Headers.decode(made.headers), datetime.now(UTC), 0),
        QUERIES,
        1,
    )
    assert copy.key == original.key == request_id(plain)
    assert copy.headers.id == original.headers.id
    assert copy.headers.time == THEN


def test_what_cannot_be_decoded_stays_as_it_is() -> None:
    changes = OptionChanges(options={"template": "brief"})
    assert maker(PASSAGES_RETRIEVED, "t", "run", changes)(record(b"broken")).value == b"broken"


async def test_the_query_stage_says_what_it_said_then_though_the_deadline_is_over() -> None:
    stage = QueryStage(QuerySettings(timeout_ms=1000), ["default"])
    asked = record(codec.encode(QueryAsked(question="Why?")))
    (expired,) = _events(await stage.handle(deliver(asked, QUERIES, 1)))  # type: ignore[arg-type]
    assert expired.TYPE == "ragline.request.expired.v1"
    made = maker(QUERIES, "t", "run", NO_CHANGES)(asked)
    delivery = deliver(asked._replace(headers=Headers.decode(made.headers)), QUERIES, 1)
    assert delivery.deadline_at is None
    (accepted,) = _events(await stage.handle(delivery))  # type: ignore[arg-type]
    assert accepted.deadline_at == THEN + timedelta(seconds=1)


def _events(outcome: object) -> tuple[object, ...]:
    assert isinstance(outcome, Produce)
    return outcome.events
