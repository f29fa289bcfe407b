from datetime import UTC, datetime, timedelta

import pytest

from schemas import codec
from schemas.events import (
    Answered,
    DocumentFailed,
    DocumentSubmitted,
    QueryAccepted,
    QueryAsked,
    RequestCancelled,
    RequestExpired,
    RequestFailed,
)
from schemas.examples import EXAMPLE_BY_TYPE
from schemas.headers import Headers, Origin, StageTime
from schemas.revision import document_revision
from schemas.values import Usage
from topics.names import Namespace
from topics.specs import DOCUMENTS, QUERIES, QUERIES_ACCEPTED
from workers.runtime import records
from workers.runtime.records import Incoming, Span
from workers.runtime.stage import PoisonError

NAMES = Namespace("test")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPAN = Span("query", 1000, 1500, attempt=2)


def make_record(key: bytes | None = b"r1", value: bytes | None = b'{"question": "q"}', **headers: object) -> Incoming:
    encoded = Headers.decode(Headers(**headers).encode() if headers else [])  # type: ignore[arg-type]
    return Incoming(Origin("test.rag.queries", 3, 42), key, value, encoded, NOW, 1000)


def make_answer() -> Answered:
    return Answered(
        request_id="r1",
        tenant="acme",
        question="q",
        answer="a",
        finish_reason="stop",
        sources=(),
        model="m",
        usage=Usage(),
    )


def test_a_plain_record_of_an_upstream_is_taken() -> None:
    delivery = records.deliver(make_record(), QUERIES, 1)
    assert delivery.key == "r1"
    assert delivery.event == QueryAsked(question="q")
    assert delivery.headers.id == records.deliver(make_record(), QUERIES, 2).headers.id


def test_a_missing_key_is_made_of_the_place() -> None:
    first = records.deliver(make_record(key=None), QUERIES, 1)
    assert first.key == records.deliver(make_record(key=b""), QUERIES, 1).key
    assert len(first.key) == 32


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        (b"\xff\xfe", b"{}", "key_not_text"),
        (b"x" * 129, b'{"question": "q"}', "request_id_too_long"),
        (b"r", b"{", "undecodable"),
        (b"r", None, "undecodable"),
    ],
)
def test_what_is_no_event_is_poison(key: bytes, value: bytes | None, code: str) -> None:
    with pytest.raises(PoisonError) as caught:
        records.deliver(make_record(key, value), QUERIES, 1)
    assert caught.value.code == code


def test_outputs_say_where_they_come_from() -> None:
    earlier = StageTime("upstream", 1, 2)
    record = make_record(id="in-1", timeline=(earlier,), tracestate="a=b", deadline_at=NOW)
    [made] = records.outgoing(record, [make_answer()], SPAN, NAMES)
    headers = Headers.decode(made.headers)
    assert (made.topic, made.key) == ("test.rag.answers", b"r1")
    assert headers.type == Answered.TYPE
    assert headers.subject == "r1"
    assert headers.source == "ragline/query"
    assert headers.origin == record.origin
    assert headers.timeline == (earlier, StageTime("query", 1000, 1500, 2))
    assert headers.attempt == 2
    assert headers.deadline_at == NOW
    assert (headers.tenant, headers.tracestate) == ("acme", "a=b")


def test_the_same_input_gives_the_same_ids_and_another_gives_others() -> None:
    def ids(record: Incoming) -> list[str | None]:
        made = records.outgoing(record, [make_answer(), make_answer()], SPAN, NAMES)
        return [Headers.decode(out.headers).id for out in made]

    assert ids(make_record(id="a")) == ids(make_record(id="a", attempt=3))
    assert len({*ids(make_record(id="a")), *ids(make_record(id="b"))}) == 4
    assert ids(make_record()) == ids(make_record(value=b"other"))


def test_a_dead_letter_keeps_the_bytes_and_says_why() -> None:
    record = make_record(value=b"\x00raw", id="a")
    letter = records.dead_letter(record, QUERIES, "query", PoisonError("bad", "It is bad."), 3, NAMES)
    headers = dict(letter.headers)
    assert (letter.topic, letter.key, letter.value) == ("test.rag.queries.dead-letters", b"r1", b"\x00raw")
    assert headers["ce_id"] == b"a"
    assert headers["ragline_dead_letter_code"] == b"bad"
    assert headers["ragline_dead_letter_message"] == b"It is bad."
    assert headers["ragline_dead_letter_attempts"] == b"3"
    assert headers["ragline_dead_letter_partition"] == b"3"


def test_failures_end_what_they_belong_to() -> None:
    error = PoisonError("bad", "It is bad.")
    [request] = records.failure(make_record(tenant="acme"), None, "request", "query", error)
    assert request == RequestFailed(request_id="r1", tenant="acme", stage="query", code="bad", message="It is bad.")
    document = DocumentSubmitted(text="text")
    [failed] = records.failure(make_record(), document, "document", "chunking", error)
    assert isinstance(failed, DocumentFailed)
    assert failed.revision == document_revision(document)
    # Without the text of a document nobody knows its revision.
    by_reference = make_record(dataref="s3://b/k")
    [failed] = records.failure(by_reference, DocumentSubmitted(text=""), "document", "chunking", error)
    assert isinstance(failed, DocumentFailed)
    assert failed.revision == ""
    assert records.failure(make_record(), None, None, "projector", error) == ()


def test_a_failure_of_a_key_too_long_can_still_be_said() -> None:
    [failed] = records.failure(make_record(key=b"x" * 500), None, "request", "query", PoisonError("a", "b"))
    assert len(failed.key) == 128


def test_the_earlier_deadline_holds() -> None:
    later = NOW + timedelta(hours=1)
    delivery = records.deliver(make_record(deadline_at=later), QUERIES, 1)
    assert delivery.deadline_at == later
    assert records.deliver(make_record(), QUERIES, 1).deadline_at is None
    [expired] = records.expired(delivery, "query", later)
    assert expired == RequestExpired(request_id="r1", stage="query", deadline_at=later)


def test_a_null_value_withdraws_a_document() -> None:
    delivery = records.deliver(make_record(b"doc", None), DOCUMENTS, 1)
    assert delivery.event.TYPE == "ragline.document.withdrawn.v1"


def test_a_cancelled_request_ends_with_the_reason() -> None:
    delivery = records.deliver(make_record(tenant="acme"), QUERIES, 1)
    [cancelled] = records.cancelled(delivery, "query", "the client left")
    assert cancelled == RequestCancelled(request_id="r1", tenant="acme", stage="query", reason="the client left")


def test_a_redriven_record_is_for_the_stage_that_failed() -> None:
    assert records.is_for(make_record(), "prompt")
    assert records.is_for(make_record(redrives=1, redriven_for="prompt"), "prompt")
    assert not records.is_for(make_record(redrives=1, redriven_for="prompt"), "projector")


def test_outputs_of_a_redriven_record_are_others_and_count_it() -> None:
    later = NOW + timedelta(hours=1)
    first, second, again = (
        Headers.decode(records.outgoing(record, [make_answer()], SPAN, NAMES)[0].headers)
        for record in (
            make_record(id="a"),
            make_record(id="a", redrives=1, redriven_for="query", deadline_at=later),
            make_record(id="a", redrives=1, redriven_for="query", deadline_at=later),
        )
    )
    assert first.id != second.id == again.id
    assert (second.redrives, second.redriven_for, second.deadline_at) == (1, None, later)


def test_a_redrive_s_deadline_replaces_the_event_s() -> None:
    later = NOW + timedelta(hours=1)
    query = EXAMPLE_BY_TYPE[QueryAccepted.TYPE]
    value = codec.encode(query)
    old = records.deliver(make_record(value=value, type=query.TYPE), QUERIES_ACCEPTED, 1)
    assert old.deadline_at == query.expires_at
    redriven = make_record(value=value, type=query.TYPE, redrives=1, deadline_at=later)
    assert records.deliver(redriven, QUERIES_ACCEPTED, 1).deadline_at == later


def test_a_replayed_request_stays_one_and_has_no_deadline() -> None:
    query = EXAMPLE_BY_TYPE[QueryAccepted.TYPE]
    replayed = make_record(
        value=codec.encode(query), type=query.TYPE, replay="run", deadline_at=NOW - timedelta(days=1)
    )
    assert records.deliver(replayed, QUERIES_ACCEPTED, 1).deadline_at is None
    (output,) = records.outgoing(replayed, [query], SPAN, NAMES)
    assert Headers.decode(output.headers).replay == "run"


def test_outputs_say_what_decided_them_and_not_what_decided_their_input() -> None:
    record = make_record(id="e1")
    record.headers.raw["ragline_stamp"] = b'{"model":"old"}'
    [stamped] = records.outgoing(record, [make_answer()], SPAN, NAMES, b'{"model":"new"}')
    assert Headers.decode(stamped.headers).stamp == {"model": "new"}
    [plain] = records.outgoing(record, [make_answer()], SPAN, NAMES)
    assert Headers.decode(plain.headers).stamp == {}
    assert plain.value == stamped.value
