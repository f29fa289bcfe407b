import pytest

from replay.run_folder.from_events import answer_row, event_stamp, passage_rows, request_row, stamp_rows
from replay.run_folder.rows import AnswerRow, SourceRef, StampRow
from schemas.events import Answered, QueryAccepted, RequestCancelled, RequestExpired, RequestFailed, Terminal
from schemas.headers import STAMP, Headers, StageTime
from schemas.values import ChatMessage, Passage, QueryOptions, Sampling, Source, Usage

PASSAGE = Passage(chunk_id="c", document_id="d", title="T", text="x", source="s", ordinal=4, score=0.5)
OPTIONS = QueryOptions(model="m", top_k=5, min_score=0.2, template="default", sampling=Sampling())


def test_a_request_is_known_by_its_own_id_unless_the_run_knows_another() -> None:
    query = QueryAccepted(
        request_id="r",
        tenant="default",
        question="Why?",
        lane="batch",
        asked_at="2026-01-01T00:00:01Z",
        deadline_at=None,
        options=OPTIONS,
        history=(ChatMessage(role="user", content="Hello"),),
    )
    row = request_row(query, partition=1, offset=7)
    assert (row.query_id, row.asked_at_ms, row.lane, row.partition, row.offset) == ("r", 1767225601000, "batch", 1, 7)
    assert QueryOptions.model_validate_json(row.options) == OPTIONS
    assert row.history == '[{"role":"user","content":"Hello"}]'
    assert request_row(query, "q").query_id == "q"


def test_passages_are_ranked_in_their_order() -> None:
    rows = list(passage_rows("r", [PASSAGE, PASSAGE.model_copy(update={"chunk_id": "c2"})]))
    assert [(row.rank, row.chunk_id, row.document_id, row.ordinal) for row in rows] == [
        (1, "c", "d", 4),
        (2, "c2", "d", 4),
    ]


@pytest.mark.parametrize(
    ("event", "row"),
    [
        (
            Answered(
                request_id="r",
                question="Why?",
                answer="So [2].",
                finish_reason="stop",
                sources=(Source(number=2, passage=PASSAGE),),
                model="m",
                usage=Usage(prompt_tokens=3, completion_tokens=2),
                attempt=2,
            ),
            AnswerRow("r", "answered", "So [2].", "stop", None, None, None, "m", 3, 2, 2, 9, (SourceRef(2, "c"),)),
        ),
        (
            RequestFailed(request_id="r", stage="query", code="no", message="No."),
            AnswerRow("r", "failed", stage="query", code="no", message="No.", answered_at_ms=9),
        ),
        (
            RequestExpired(request_id="r", stage="query", deadline_at="2026-01-01T00:00:00Z"),
            AnswerRow("r", "expired", stage="query", code="expired", answered_at_ms=9),
        ),
        (
            RequestCancelled(request_id="r", stage="query", reason="enough"),
            AnswerRow("r", "cancelled", stage="query", code="cancelled", message="enough", answered_at_ms=9),
        ),
    ],
)
def test_every_ending_is_one_row(event: Terminal, row: AnswerRow) -> None:
    assert answer_row(event, 9) == row


def test_stages_have_their_times_and_stamps() -> None:
    timeline = (StageTime("query", 1, 2), StageTime("prompt", 3, 5, 2))
    stamps = {"prompt": '{"template":"x"}', "engine": "{}"}
    assert list(stamp_rows("r", timeline, stamps)) == [
        StampRow("r", "query", 1, 2, 1),
        StampRow("r", "prompt", 3, 5, 2, '{"template":"x"}'),
        StampRow("r", "engine", stamp="{}"),
    ]


def test_a_stamp_is_what_the_event_says_and_its_header() -> None:
    failed = RequestFailed(request_id="r", stage="retrieval", code="c", message="m")
    headers = [*Headers(timeline=[StageTime("query", 1, 2), StageTime("retrieval", 3, 4)]).encode()]
    assert event_stamp(failed, Headers.decode(headers)) is None
    stamped = Headers.decode([*headers, (STAMP, b'{"ragline":"1"}')])
    assert event_stamp(failed, stamped) == ("retrieval", '{"ragline":"1"}')
    answered = Answered(
        request_id="r", question="", answer="", finish_reason="stop", sources=(), model="m", usage=Usage()
    )
    assert event_stamp(answered, Headers()) == ("generation", '{"model":"m"}')
