import pytest

from backends.live_view import Entry
from ragline.answers import Answer, Progress, Reader, RequestError, Restart, Token, Update, conclude, terminal
from ragline.asking import describe_times
from schemas.events import Answered, RequestFailed
from schemas.headers import StageTime
from schemas.values import Usage


def delta(attempt: int, sequence: int, text: str) -> Entry:
    return Entry("delta", {"attempt": attempt, "sequence": sequence, "text": text})


def read(*entries: Entry) -> tuple[Reader, list[Update]]:
    reader = Reader()
    return reader, [update for entry in entries for update in reader.read(entry)]


def test_tokens_come_once_and_in_order() -> None:
    reader, updates = read(delta(1, 0, "Hel"), delta(1, 0, "Hel"), delta(1, 1, "lo"))
    assert updates == [Token("Hel"), Token("lo")]
    assert list(reader.finish("Hello")) == []


def test_a_higher_attempt_voids_what_came_before_and_a_lower_one_is_dropped() -> None:
    reader, updates = read(delta(1, 0, "old"), delta(2, 0, "new"), delta(1, 1, "er"), delta(2, 1, "!"))
    assert updates == [Token("old"), Restart(), Token("new"), Token("!")]
    assert reader.text == "new!"


def test_what_did_not_come_as_tokens_comes_at_the_end() -> None:
    reader, _ = read(delta(1, 0, "The ans"))
    assert list(reader.finish("The answer.")) == [Token("wer.")]
    reader, _ = read(delta(1, 0, "Something else"))
    assert list(reader.finish("The answer.")) == [Restart(), Token("The answer.")]


def test_a_stage_is_told_once() -> None:
    body = {"stage": "query", "started_ms": 1, "finished_ms": 2, "attempt": 1}
    _, updates = read(Entry("progress", body), Entry("progress", body))
    assert updates == [Progress(StageTime("query", 1, 2))]


def test_the_terminal_entry_ends_it() -> None:
    event = Answered(
        request_id="r", question="q", answer="a", finish_reason="stop", sources=(), model="m", usage=Usage()
    )
    timeline = [{"stage": "query", "started_ms": 1, "finished_ms": 2, "attempt": 1}]
    body = {"type": event.TYPE, "event": event.model_dump(mode="json"), "timeline": timeline}
    answer = conclude(*terminal(Entry("terminal", body)))
    assert isinstance(answer, Answer)
    assert (answer.text, answer.timeline) == ("a", (StageTime("query", 1, 2),))


def test_a_failure_raises_with_its_code() -> None:
    with pytest.raises(RequestError, match="It is empty") as caught:
        conclude(RequestFailed(request_id="r", stage="query", code="empty_question", message="It is empty."), ())
    assert caught.value.code == "empty_question"


def test_waits_count_to_the_later_stage() -> None:
    line = describe_times((StageTime("query", 0, 10), StageTime("embedding", 30, 1040, attempt=2)))
    assert line == "query 10 ms · embedding 1,030 ms (attempt 2) · whole 1,040 ms"
