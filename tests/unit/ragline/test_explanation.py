"""What is told of a request, from its records alone."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from ragline.explain import page, text
from ragline.explain.assembly import explain
from ragline.explain.reading import Recorded
from ragline.letters import CAUSE_PREFIX
from schemas import codec
from schemas.events import (
    Answered,
    CancellationRequested,
    Event,
    PassagesRetrieved,
    PromptBuilt,
    QueryAccepted,
    QueryAsked,
    RequestCancelled,
    RequestExpired,
    RequestFailed,
)
from schemas.headers import REDRIVES, STAMP, Headers, Origin, StageTime
from schemas.values import ChatMessage, Passage, QueryOptions, Sampling, Source, Usage
from topics.specs import QUERIES, TOPIC_OF_EVENT, TopicSpec, dead_letters
from workers.runtime.records import Incoming

THEN = datetime(2026, 3, 1, 12, tzinfo=UTC)
THEN_MS = int(THEN.timestamp() * 1000)
QUERY = QueryAccepted(
    request_id="r",
    tenant="acme",
    question="Why?",
    lane="batch",
    asked_at=THEN,
    deadline_at=THEN + timedelta(minutes=1),
    options=QueryOptions(model="m", top_k=2, min_score=0, template="t", sampling=Sampling(seed=7)),
)
HOSTILE = "<script>alert(1)</script>\x1b[31m"
PASSAGES = tuple(
    Passage(chunk_id=f"c{at}", document_id="d", title="T", text=said, source="", ordinal=at, score=0.5)
    for at, said in enumerate(("Because.", HOSTILE))
)
TIMES = (StageTime("query", THEN_MS + 10, THEN_MS + 15), StageTime("generation", THEN_MS + 20, THEN_MS + 60, 2))
ANSWERED = Answered(
    request_id="r",
    tenant="acme",
    question="Why?",
    answer=f"So [1]. {HOSTILE}",
    finish_reason="stop",
    sources=(),
    model="m",
    usage=Usage(prompt_tokens=9, completion_tokens=3),
    attempt=2,
)


def recorded(
    event: Event | bytes,
    after_ms: int,
    timeline: Sequence[StageTime] = (),
    spec: TopicSpec | None = None,
    **headers: str,
) -> Recorded:
    raw = event if isinstance(event, bytes) else codec.encode(event)
    kind = None if isinstance(event, bytes) else event.TYPE
    spec = spec or TOPIC_OF_EVENT[type(event)]  # type: ignore[index]
    wire = Headers(type=kind, timeline=timeline).encode() + [(name, said.encode()) for name, said in headers.items()]
    at = THEN + timedelta(milliseconds=after_ms)
    return Recorded(spec, Incoming(Origin(spec.name, 0, after_ms), b"r", raw, Headers.decode(wire), at, 0))


PROMPT = PromptBuilt(
    query=QUERY,
    template="t",
    template_hash="h",
    messages=(ChatMessage(role="user", content="Answer me:\nWhy?"),),
    prompt_tokens=9,
    sources=(Source(number=1, passage=PASSAGES[0]),),
    sampling=Sampling(seed=7),
)
WAY = [
    recorded(ANSWERED, 61, TIMES, **{STAMP: '{"engine":"echo","seed":7}'}),
    recorded(QueryAsked(question="Why?"), 0),
    recorded(QUERY, 16, TIMES[:1], **{STAMP: '{"ragline":"1"}'}),
    recorded(PassagesRetrieved(query=QUERY, collection="c", embedding_model="e", passages=PASSAGES), 17),
    recorded(PROMPT, 18),
]


def test_an_answered_request_is_told_from_question_to_answer() -> None:
    told = explain("r", WAY)
    assert (told.state, told.tenant, told.question, told.lane, told.total_ms) == (
        "answered",
        "acme",
        "Why?",
        "batch",
        61,
    )
    assert [(step.stage, step.waited_ms, step.took_ms, step.attempt) for step in told.steps] == [
        ("query", 10, 5, 1),
        ("generation", 5, 40, 2),
    ]
    assert [step.stamp for step in told.steps] == [{"ragline": "1"}, {"model": "m", "engine": "echo", "seed": 7}]
    assert [(found.rank, found.number) for found in told.passages] == [(1, 1), (2, None)]
    assert told.prompt == PROMPT.messages
    assert told.ending is not None
    assert (told.ending.answer, told.ending.attempt) == (ANSWERED.answer, 2)
    assert told.records[0].type == QueryAsked.TYPE
    assert told.notes == ()


def test_what_its_topics_have_forgotten_is_told_by_the_others() -> None:
    told = explain("r", [WAY[0], WAY[4]])
    assert (told.question, told.asked_at) == ("Why?", THEN)
    assert [found.passage for found in told.passages] == [PASSAGES[0]]
    told = explain("r", WAY[:1])
    assert (told.question, told.asked_at, told.total_ms, told.state) == (None, None, None, "answered")
    assert "no longer kept" in text.render(told)


@pytest.mark.parametrize(
    ("event", "state", "line"),
    [
        (
            RequestFailed(request_id="r", stage="prompt", code="odd", message="It is."),
            "failed",
            "odd in stage prompt: It is.",
        ),
        (
            RequestExpired(request_id="r", stage="query", deadline_at=THEN),
            "expired",
            "expired in stage query: The deadline 2026-03-01T12:00:00+00:00 passed.",
        ),
        (RequestCancelled(request_id="r", stage="query"), "cancelled", "cancelled in stage query"),
    ],
)
def test_every_other_ending_says_where_and_why(event: Event, state: str, line: str) -> None:
    told = explain("r", [*WAY[1:3], recorded(event, 30, TIMES[:1])])
    assert told.state == state
    assert line in text.render(told)
    assert line.replace("'", "&#39;") in page.render(told)


def test_one_without_an_ending_is_open() -> None:
    told = explain("r", [*WAY[1:3], recorded(CancellationRequested(request_id="r", reason="enough"), 5)])
    assert told.state == "open"
    assert told.notes == (
        "Somebody asked for its cancellation: enough",
        "It has not ended yet, or its ending is no longer kept.",
    )


def test_dead_letters_and_what_cannot_be_read_are_told() -> None:
    cause = {"stage": "query", "code": "undecodable", "message": "no JSON", "attempts": "1"}
    headers = {CAUSE_PREFIX + name: said for name, said in cause.items()}
    failed = RequestFailed(request_id="r", stage="query", code="undecodable", message="no JSON")
    found = [
        recorded(b"{", 0, spec=QUERIES),
        recorded(b"{", 9, spec=dead_letters(QUERIES), **headers),
        recorded(failed, 9, TIMES[:1]),
    ]
    told = explain("r", found)
    [letter] = told.dead_letters
    assert (letter.stage, letter.code, letter.place) == ("query", "undecodable", "rag.queries.dead-letters/0/9")
    assert [bool(record.problem) for record in told.records] == [True, False, False]
    assert f"dead letter {letter.id}" in text.render(told)
    assert letter.id in page.render(told)


def test_after_a_redrive_the_later_ending_counts() -> None:
    failed = recorded(RequestFailed(request_id="r", stage="generation", code="c", message="m"), 50, TIMES[:1])
    again = recorded(ANSWERED, 40, TIMES, **{REDRIVES: "1"})
    told = explain("r", [again, failed])
    assert told.state == "answered"
    assert told.notes == ("There are 2 endings; the last one is shown.",)


def test_text_and_page_hold_all_of_it_and_nothing_hostile() -> None:
    told = explain("r", WAY)
    shown = text.render(told)
    for part in (
        "Why?",
        "0.5000 [1] T (d)",
        "not in the prompt",
        "generation: model m, engine echo, seed 7",
        "Answer me:",
    ):
        assert part in shown
    assert "\x1b" not in shown
    html = page.render(told)
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "engine echo, seed 7" in html
    assert "http" not in html.replace("http-equiv", "")
