from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ragline import letters
from ragline.letters import Filter, Letter
from schemas import codec
from schemas.events import DeadLetterDropped, DeadLetterRedriven, PromptBuilt
from schemas.headers import Headers, Origin, RawHeaders
from topics.names import Namespace
from topics.specs import CHUNKS, DOCUMENTS, PROMPTS_BUILT, QUERIES, TopicSpec
from workers.runtime import records
from workers.runtime.records import Incoming
from workers.runtime.stage import PoisonError

NOW = datetime(2026, 1, 2, tzinfo=UTC)
NAMES = Namespace("test")
PLACE = Origin("test.rag.prompts.built.dead-letters", 1, 7)
TIMEOUT = timedelta(minutes=1)


def dead_record(
    headers: RawHeaders = (), value: bytes | None = b"raw", spec: TopicSpec = PROMPTS_BUILT
) -> tuple[bytes, bytes | None, RawHeaders]:
    """A dead letter as a worker writes it: key, value, headers."""
    record = Incoming(Origin(NAMES.topic(spec), 3, 42), b"r1", value, Headers.decode(headers), NOW, 0)
    made = records.dead_letter(record, spec, "generation", PoisonError("bad", "It is bad."), 2, NAMES)
    return made.key, made.value, made.headers


def letter(
    headers: RawHeaders = (), value: bytes | None = b"raw", place: Origin = PLACE, spec: TopicSpec = PROMPTS_BUILT
) -> Letter:
    key, kept, made = dead_record(headers, value, spec)
    return letters.read_letter(spec, place, key, kept, made, NOW)


def test_a_letter_says_what_failed_where_and_why() -> None:
    read = letter()
    assert (read.key, read.stage, read.code, read.message) == ("r1", "generation", "bad", "It is bad.")
    assert (read.attempts, read.redrives, read.state) == ("2", 0, "open")
    assert read.origin == Origin("test.rag.prompts.built", 3, 42)
    assert read.place == PLACE


def test_a_letter_written_twice_is_one_and_another_failure_is_another() -> None:
    again = letter(place=PLACE._replace(offset=8))
    assert again.id == letter().id
    assert letter(value=b"other").id != letter().id
    assert letter(value=None).id == letter(value=b"").id


def test_a_record_of_somebody_else_is_shown_too() -> None:
    read = letters.read_letter(QUERIES, PLACE, None, None, [("ragline_dead_letter_offset", b"x")], NOW)
    assert (read.key, read.stage, read.origin) == ("", "", None)
    other = letters.read_letter(QUERIES, PLACE._replace(offset=8), None, None, [], NOW)
    assert read.id != other.id


def test_a_redriven_record_has_its_headers_again_and_says_who_redrove_it() -> None:
    own = [("x", b"1"), ("x", b"2"), *Headers(id="a", type=PromptBuilt.TYPE, tenant="acme").encode()]
    _, _, kept = dead_record(own)
    headers = letters.redriven_headers(letter(own), kept, "ana@ops", NOW, TIMEOUT)
    assert headers[: len(own)] == own
    assert dict(headers[len(own) :]) == {
        "ragline_redrives": b"1",
        "ragline_redriven_for": b"generation",
        "ragline_redriven_by": b"ana@ops",
        "ragline_redriven_at": b"2026-01-02T00:00:00+00:00",
        "ragline_redriven_from_topic": b"test.rag.prompts.built.dead-letters",
        "ragline_redriven_from_partition": b"1",
        "ragline_redriven_from_offset": b"7",
        "ragline_deadline": b"2026-01-02T00:01:00+00:00",
    }


def test_redrives_are_counted_and_the_earlier_ones_leave_no_trace() -> None:
    headers: RawHeaders = [("x", b"1")]
    for redrives in (1, 2, 3):
        _, _, kept = dead_record(headers)
        read = letter(headers)
        assert read.redrives == redrives - 1
        headers = letters.redriven_headers(read, kept, f"ana{redrives}", NOW, TIMEOUT)
        assert [name for name, _ in headers].count("ragline_redriven_by") == 1
        assert dict(headers)["ragline_redriven_by"] == f"ana{redrives}".encode()
        assert Headers.decode(headers).redrives == redrives
        assert not any(name.startswith("ragline_dead_letter") for name, _ in headers)


@pytest.mark.parametrize("spec", [DOCUMENTS, CHUNKS])
def test_a_document_has_no_deadline(spec: TopicSpec) -> None:
    _, _, kept = dead_record(spec=spec)
    assert "ragline_deadline" not in dict(letters.redriven_headers(letter(spec=spec), kept, "ana", NOW, TIMEOUT))


def test_what_is_said_of_a_letter_is_read_again() -> None:
    read = letter()
    for mark, state in (
        (letters.redriven(read, "ana", NOW), "redriven"),
        (letters.dropped(read, "ana", NOW, "a test"), "dropped"),
    ):
        said = letters.read_mark(codec.encode(mark), Headers(type=mark.TYPE).encode())
        assert said == mark
        assert said.letter_id == read.id
        assert replace(read, mark=said).state == state
    assert letters.read_mark(b"junk", []) is None
    assert letters.read_mark(None, Headers(type=DeadLetterDropped.TYPE).encode()) is None
    assert letters.redriven(read, "ana", NOW) == DeadLetterRedriven(
        letter_id=read.id, topic=PLACE.topic, partition=1, offset=7, record_key="r1", by="ana", at=NOW, redrives=1
    )


@pytest.mark.parametrize(
    ("wanted", "through"),
    [
        (Filter(), True),
        (Filter(stages=frozenset({"generation", "prompt"})), True),
        (Filter(stages=frozenset({"prompt"})), False),
        (Filter(codes=frozenset({"bad"})), True),
        (Filter(codes=frozenset({"worse"})), False),
        (Filter(codes=frozenset({"bad"}), stages=frozenset({"prompt"})), False),
        (Filter(ids=frozenset({"r1"})), True),
        (Filter(ids=frozenset({"r"})), False),
        (Filter(ids=frozenset({letter().id})), True),
        (Filter(ids=frozenset({letter().id[:6]})), True),
        (Filter(ids=frozenset({letter().id[:5]})), False),
        (Filter(since=NOW, until=NOW + timedelta(seconds=1)), True),
        (Filter(since=NOW + timedelta(seconds=1)), False),
        (Filter(until=NOW), False),
        (Filter(state="open"), True),
        (Filter(state="redriven"), False),
    ],
)
def test_a_filter_lets_through_what_it_names(wanted: Filter, through: bool) -> None:  # noqa: FBT001 - a case
    assert wanted.lets_through(letter()) is through


def test_a_limit_takes_the_oldest() -> None:
    found = [replace(letter(), key=str(age), failed_at=NOW - timedelta(hours=age)) for age in (1, 3, 2)]

    def keys(wanted: Filter) -> Sequence[str]:
        return [each.key for each in wanted.cut(found)]

    assert keys(Filter()) == ["3", "2", "1"]
    assert keys(Filter(limit=2)) == ["3", "2"]


def test_topics_are_named_with_or_without_their_ending() -> None:
    assert letters.topic_name("rag.queries") == letters.topic_name("rag.queries.dead-letters") == "rag.queries"
    assert Filter(topics=frozenset({"rag.queries"})).specs == (QUERIES,)
    assert len(Filter().specs) > 5
    with pytest.raises(ValueError, match=r"'rag\.nothing' has no dead letters; known are rag\.queries"):
        letters.topic_name("rag.nothing")


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("30m", NOW - timedelta(minutes=30)),
        ("2h", NOW - timedelta(hours=2)),
        ("7d", NOW - timedelta(days=7)),
        ("2026-01-01T12:00", datetime(2026, 1, 1, 12, tzinfo=UTC)),
        ("2026-01-01", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-01-01T12:00+02:00", datetime(2026, 1, 1, 10, tzinfo=UTC)),
    ],
)
def test_times_are_read(text: str, when: datetime) -> None:
    assert letters.moment(text, NOW) == when


@pytest.mark.parametrize("text", ["", "yesterday", "2x", "-2h", "999999d", "0001-01-01T00:00+14:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no time"):
        letters.moment(text, NOW)
