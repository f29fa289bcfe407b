from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count

import pytest

from backends.live_view import Entry, EntryKind, StoredEntry
from bridge.summary import summary
from schemas.events import Answered, RequestCancelled, RequestExpired, RequestFailed, Terminal
from schemas.values import Passage, Source, Usage

PASSAGE = Passage(chunk_id="c", document_id="d", title="yield", text="text", source="s", ordinal=0, score=0.5)
SOURCE = Source(number=1, passage=PASSAGE)


def stream(*entries: tuple[EntryKind, Mapping[str, object]]) -> list[StoredEntry]:
    places = count(1)
    return [StoredEntry(f"{next(places)}-0", Entry(kind, body)) for kind, body in entries]


def progress(stage: str) -> tuple[EntryKind, Mapping[str, object]]:
    return "progress", {"stage": stage, "started_ms": 1, "finished_ms": 2, "attempt": 1}


def delta(attempt: int, sequence: int, text: str) -> tuple[EntryKind, Mapping[str, object]]:
    return "delta", {"attempt": attempt, "sequence": sequence, "text": text}


def terminal(event: Terminal) -> tuple[EntryKind, Mapping[str, object]]:
    return "terminal", {"type": event.TYPE, "event": event.model_dump(mode="json"), "timeline": []}


def answered(text: str) -> Answered:
    return Answered(
        request_id="r",
        question="q",
        answer=text,
        finish_reason="stop",
        sources=(SOURCE,),
        model="m",
        usage=Usage(prompt_tokens=3, completion_tokens=1),
    )


def test_no_entries_is_an_unknown_request() -> None:
    assert summary("r", []) is None


def test_a_question_that_only_the_bridge_has_seen_is_queued() -> None:
    found = summary("r", stream(progress("bridge")))
    assert found is not None
    assert (found.state, found.answer) == ("queued", "")


def test_a_running_request_shows_its_stages_sources_and_the_text_of_its_last_attempt() -> None:
    entries = stream(
        progress("query"),
        progress("prompt"),
        ("sources", {"sources": [SOURCE.model_dump(mode="json")]}),
        delta(1, 0, "old "),
        delta(1, 1, "text"),
        delta(2, 0, "new "),
        delta(1, 2, "late"),
        delta(2, 1, "words"),
        delta(2, 1, "words"),
    )
    found = summary("r", entries)
    assert found is not None
    assert found.state == "running"
    assert [stage.stage for stage in found.stages] == ["query", "prompt"]
    assert found.sources == (SOURCE,)
    assert found.answer == "new words"


def test_an_answered_request_shows_what_its_event_says() -> None:
    event = answered("whole")
    found = summary("r", stream(delta(1, 0, "par"), terminal(event)))
    assert found is not None
    assert (found.state, found.answer, found.finish_reason, found.model) == ("answered", "whole", "stop", "m")
    assert found.sources == (SOURCE,)
    assert found.usage == Usage(prompt_tokens=3, completion_tokens=1)


def test_an_ended_request_has_the_stages_that_were_shown_and_those_of_its_timeline() -> None:
    timeline = [
        {"stage": stage, "started_ms": at, "finished_ms": at + 1, "attempt": 1} for at, stage in enumerate("abc")
    ]
    _, body = terminal(RequestFailed(request_id="r", stage="c", code="c", message="m"))
    shown = ("progress", {**timeline[1], "note": "without"})
    found = summary("r", stream(progress("bridge"), shown, ("terminal", {**body, "timeline": timeline})))
    assert found is not None
    assert [(stage.stage, stage.note) for stage in found.stages] == [
        ("a", None),
        ("b", "without"),
        ("bridge", None),
        ("c", None),
    ]


def test_a_stage_that_a_redrive_passed_again_is_there_twice() -> None:
    timeline = [
        {"stage": "prompt", "started_ms": 1, "finished_ms": 2, "attempt": 1},
        {"stage": "prompt", "started_ms": 8, "finished_ms": 9, "attempt": 1},
    ]
    _, body = terminal(answered("after a redrive"))
    found = summary("r", stream(("progress", timeline[0]), ("terminal", {**body, "timeline": timeline})))
    assert found is not None
    assert [(stage.stage, stage.finished_ms) for stage in found.stages] == [("prompt", 2), ("prompt", 9)]


def test_of_two_terminal_events_the_later_one_holds() -> None:
    failed = RequestFailed(request_id="r", stage="prompt", code="c", message="m")
    found = summary("r", stream(terminal(failed), terminal(answered("after a redrive"))))
    assert found is not None
    assert (found.state, found.answer, found.failure) == ("answered", "after a redrive", None)


@pytest.mark.parametrize(
    ("event", "state", "code"),
    [
        (RequestFailed(request_id="r", stage="query", code="empty", message="It is empty."), "failed", "empty"),
        (
            RequestExpired(request_id="r", stage="query", deadline_at=datetime(2026, 1, 1, tzinfo=UTC)),
            "expired",
            "expired",
        ),
        (RequestCancelled(request_id="r", stage="query"), "cancelled", "cancelled"),
    ],
)
def test_a_request_without_an_answer_shows_why(event: Terminal, state: str, code: str) -> None:
    found = summary("r", stream(terminal(event)))
    assert found is not None
    assert found.state == state
    assert found.failure is not None
    assert (found.failure.stage, found.failure.code) == ("query", code)
    assert found.failure.message
