from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.live_view import Entry, EntryKind, StoredEntry
from bridge.messages import Ask, Delta, Problem, Progress, Resume, TerminalReached, traceparent_or_none
from bridge.protocol import Connection, Followed, may_connect

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def connection(max_requests: int = 16) -> Connection:
    return Connection(max_requests, new_request_id=lambda: "made-here")


def stored(kind: EntryKind, body: Mapping[str, object], place: int = 1) -> StoredEntry:
    return StoredEntry(f"{place}-0", Entry(kind, body))


def delta(attempt: int, sequence: int, text: str = "") -> StoredEntry:
    return stored("delta", {"attempt": attempt, "sequence": sequence, "text": text})


def test_a_question_without_an_id_gets_one_and_is_followed() -> None:
    opened = connection()
    message = opened.receive('{"kind": "ask", "question": "Why?", "top_k": 3, "unknown": 1}')
    assert isinstance(message, Ask)
    assert (message.id, message.question, message.top_k) == ("made-here", "Why?", 3)
    assert list(opened.following) == ["made-here"]


def test_a_resume_says_after_which_entry() -> None:
    assert connection().receive('{"kind": "resume", "request_id": "a b/ü", "after": "17-2"}') == Resume(
        kind="resume", request_id="a b/ü", after="17-2"
    )


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "invalid_json"),
        ("{", "invalid_json"),
        ("[" * 100_000, "invalid_json"),
        ("1", "invalid_message"),
        ("null", "invalid_message"),
        ("[]", "invalid_message"),
        ("{}", "unknown_kind"),
        ('{"kind": 7}', "unknown_kind"),
        ('{"kind": "cancel"}', "invalid_message"),
        ('{"kind": "sing", "request_id": "r"}', "unknown_kind"),
        ('{"kind": "ask"}', "invalid_message"),
        ('{"kind": "ask", "question": 5}', "invalid_message"),
        ('{"kind": "ask", "question": "q", "id": ""}', "invalid_message"),
        ('{"kind": "ask", "question": "q", "id": "../x"}', "invalid_message"),
        ('{"kind": "ask", "question": "q", "seed": 99999999999999999999999}', "invalid_message"),
        ('{"kind": "ask", "question": "q", "temperature": NaN}', "invalid_message"),
        ('{"kind": "resume"}', "invalid_message"),
        ('{"kind": "resume", "request_id": ""}', "invalid_message"),
        ('{"kind": "resume", "request_id": "r", "after": "$"}', "invalid_message"),
        ('{"kind": "resume", "request_id": "r", "after": "99999999999999999999"}', "invalid_message"),
        (None, "invalid_message"),
    ],
)
def test_a_frame_that_says_nothing_useful_gets_a_problem(text: str | None, code: str) -> None:
    opened = connection()
    message = opened.receive(text)
    assert isinstance(message, Problem)
    assert (message.code, message.request_id) == (code, None)
    assert message.message
    assert not opened.following


@given(st.text())
def test_no_text_breaks_a_connection(text: str) -> None:
    assert connection().receive(text) is not None


def test_a_request_is_followed_once_until_it_is_finished() -> None:
    opened = connection()
    ask = '{"kind": "ask", "question": "q", "id": "r"}'
    assert isinstance(opened.receive(ask), Ask)
    for again in (ask, '{"kind": "resume", "request_id": "r"}'):
        problem = opened.receive(again)
        assert isinstance(problem, Problem)
        assert problem.code == "already_followed"
        # A request ID here would say that the request is no longer followed.
        assert problem.request_id is None
    opened.finish("r")
    assert isinstance(opened.receive(ask), Ask)


def test_requests_per_connection_are_limited() -> None:
    opened = connection(max_requests=2)
    answers = [opened.receive(f'{{"kind": "ask", "question": "q", "id": "r{n}"}}') for n in range(3)]
    assert isinstance(answers[1], Ask)
    assert isinstance(answers[2], Problem)
    assert answers[2].code == "too_many_requests"


def test_a_wrong_traceparent_counts_as_missing() -> None:
    assert traceparent_or_none(TRACEPARENT) == TRACEPARENT
    for wrong in (None, "", "x", TRACEPARENT.upper(), f"00-{'0' * 32}-b7ad6b7169203331-01", TRACEPARENT + "-x"):
        assert traceparent_or_none(wrong) is None
    ask = connection().receive('{"kind": "ask", "question": "q", "traceparent": "x"}')
    assert isinstance(ask, Ask)
    assert ask.traceparent is None


def test_entries_become_messages_with_their_cursor() -> None:
    request = Followed("r")
    timing = {"stage": "query", "started_ms": 1, "finished_ms": 2, "attempt": 1}
    progress = request.take(stored("progress", timing, 5))
    assert progress == Progress(request_id="r", id="5-0", stage="query", started_ms=1, finished_ms=2)
    assert request.take(delta(1, 0, "a")) == Delta(request_id="r", id="1-0", attempt=1, sequence=0, text="a")
    assert not request.done
    terminal = request.take(stored("terminal", {"type": "t", "event": {"answer": "a"}, "timeline": [timing]}))
    assert isinstance(terminal, TerminalReached)
    assert terminal.event == {"answer": "a"}
    assert terminal.timeline[0].stage == "query"
    assert request.done


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 5)), max_size=40))
def test_attempts_never_mix_and_no_delta_comes_twice(arrivals: list[tuple[int, int]]) -> None:
    request = Followed("r")
    taken = [message for arrival in arrivals if isinstance(message := request.take(delta(*arrival)), Delta)]
    places = [(message.attempt, message.sequence) for message in taken]
    assert places == sorted(set(places))


@pytest.mark.parametrize(
    ("origin", "host", "may"),
    [
        (None, "127.0.0.1:8080", True),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", True),
        ("https://rag.example", "rag.example", True),
        ("https://allowed.example", "rag.example", True),
        ("http://evil.example", "127.0.0.1:8080", False),
        ("http://127.0.0.1:9999", "127.0.0.1:8080", False),
        ("null", "127.0.0.1:8080", False),
        ("null", "", False),
        ("http://evil.example", None, False),
    ],
)
def test_only_own_and_allowed_pages_may_connect(origin: str | None, host: str | None, may: bool) -> None:  # noqa: FBT001 - a table's column
    assert may_connect(origin, host, ("https://allowed.example",)) is may
