"""The judge of token streams on streams with planted faults."""

from collections.abc import Sequence

import pytest

from backends.live_view import Entry
from faults.oracle import Finding, Record
from faults.streams import judge_streams, texts_by_attempt
from schemas.events import Answered, RequestFailed


def answer(text: str, attempt: int = 1, key: str = "a") -> Record:
    return Record(("rag.answers", 0, 0), key, "", Answered.TYPE, None, "why?", text, attempt)


def deltas(text: str, attempt: int = 1) -> list[Entry]:
    return [
        Entry("delta", {"attempt": attempt, "sequence": n, "text": letter}) for n, letter in enumerate(text.split("|"))
    ]


def end(text: str) -> Entry:
    return Entry("terminal", {"type": Answered.TYPE, "event": {"answer": text}, "timeline": []})


def kinds(records: Sequence[Record], stream: Sequence[Entry], *, exactly_once: bool = True) -> list[str]:
    findings = judge_streams(records, {"a": stream}, exactly_once=exactly_once)
    assert all(isinstance(finding, Finding) and finding.key == "a" for finding in findings)
    return [finding.kind for finding in findings]


def test_a_text_that_is_its_answer_is_faultless() -> None:
    assert kinds([answer("because")], [*deltas("be|cau|se"), end("because")]) == []


def test_an_attempt_that_was_cut_off_is_dropped_wherever_its_rest_comes() -> None:
    first = deltas("x|y|z")
    stream = [*first[:2], *deltas("be|cause", 2), first[2], end("because")]
    assert texts_by_attempt(stream) == {1: "xyz", 2: "because"}
    assert kinds([answer("because", 2)], stream) == []


@pytest.mark.parametrize("exactly_once", [True, False])
@pytest.mark.parametrize(
    "stream",
    [
        [*deltas("be|x"), end("because")],
        [*deltas("be|cause|!"), end("because")],
        [deltas("be|cause")[1], end("because")],
        [*deltas("be|cause"), *deltas("be|cause"), end("because")],
    ],
    ids=["another text", "too much", "a gap", "twice"],
)
def test_another_text_than_the_answer_is_spliced(stream: list[Entry], *, exactly_once: bool) -> None:
    assert kinds([answer("because")], stream, exactly_once=exactly_once) == ["spliced"]


@pytest.mark.parametrize(
    "stream",
    [[*deltas("be"), end("because")], [*deltas("because"), *deltas("b", 2), end("because")]],
    ids=["a text cut off", "an attempt that nobody answered"],
)
def test_what_only_a_worker_taken_for_dead_leaves_breaks_the_stricter_promise(stream: list[Entry]) -> None:
    assert kinds([answer("because")], stream) == ["spliced"]
    assert kinds([answer("because")], stream, exactly_once=False) == []


def test_both_answers_of_a_request_that_was_answered_twice_have_their_text() -> None:
    stream = [*deltas("x|y"), *deltas("because", 2), end("xy")]
    assert kinds([answer("xy"), answer("because", 2)], stream, exactly_once=False) == []


@pytest.mark.parametrize(
    "ends",
    [[], [end("because"), end("because")], [end("why")], [Entry("terminal", {"event": None})]],
    ids=["no end", "two", "another's", "none of an event"],
)
def test_a_stream_ends_once_with_the_answer(ends: list[Entry]) -> None:
    assert kinds([answer("because")], [*deltas("because"), *ends]) == ["unseen"]


def test_only_streams_of_answered_requests_are_judged() -> None:
    failed = Record(("rag.answers", 0, 1), "a", "", RequestFailed.TYPE, None)
    assert kinds([failed, answer("because", key="b")], []) == []
