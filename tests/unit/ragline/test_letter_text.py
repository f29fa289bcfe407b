from dataclasses import replace
from datetime import UTC, datetime

import orjson

from ragline import letter_text, letters
from ragline.letters import Letter
from schemas.headers import Origin
from topics.specs import DOCUMENTS, QUERIES

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LETTER = Letter(
    id="0123456789abcdef0123456789abcdef",
    spec=QUERIES,
    place=Origin("rag.queries.dead-letters", 0, 7),
    origin=Origin("rag.queries", 0, 42),
    key="r1",
    stage="query",
    code="undecodable",
    message="the value is not JSON",
    attempts="1",
    failed_at=NOW,
    redrives=0,
    mark=None,
)
DROPPED = replace(LETTER, mark=letters.dropped(LETTER, "ana@ops", NOW, "a test"))
HEADERS = [("ce_id", b"a"), ("ragline_dead_letter_code", b"undecodable")]


def test_a_list_has_a_line_per_letter() -> None:
    heading, first, second = letter_text.render_list([LETTER, DROPPED]).splitlines()
    assert heading.split()[0] == "letter"
    assert first.split() == [
        *("0123456789ab", "2026-01-02", "03:04:05", "rag.queries", "query", "undecodable", "1", "0", "open", "r1")
    ]
    assert " dropped " in second


def test_a_letter_is_described_whole() -> None:
    lines = letter_text.describe(LETTER, HEADERS, b'{"question":7}').splitlines()
    assert "cause     undecodable: the value is not JSON" in lines
    assert "record    rag.queries/0/42" in lines
    assert "kept in   rag.queries.dead-letters/0/7" in lines
    assert "  ce_id  a" in lines
    assert not any("ragline_dead_letter" in line for line in lines)
    assert "value (14 bytes)" in lines
    assert '  "question": 7' in lines


def test_what_is_not_json_or_text_is_shown_all_the_same() -> None:
    assert "\\xff\\x00" in letter_text.describe(LETTER, [], b"\xff\x00")
    described = letter_text.describe(replace(LETTER, spec=DOCUMENTS), [], None)
    assert "value (null)" in described
    assert "document  r1" in described
    assert "  none" in described


def test_a_record_does_not_steer_the_terminal() -> None:
    hostile = replace(LETTER, key="r\x1b[2J", message="first\nsecond")
    shown = letter_text.render_list([hostile]) + letter_text.describe(hostile, [("x", b"\x1b]0;")], b"\x1b[1m\nend")
    assert "\x1b" not in shown
    assert "r\\x1b[2J" in shown
    assert "first\\nsecond" in shown
    assert "\\x1b[1m\nend" in shown


def test_what_became_of_it_is_said() -> None:
    assert "dropped by ana@ops at 2026-01-02T03:04:05+00:00: a test" in letter_text.describe(DROPPED, [], b"")
    redriven = replace(LETTER, mark=letters.redriven(LETTER, "ana@ops", NOW))
    assert "redriven by ana@ops at" in letter_text.describe(redriven, [], b"")


def test_programs_get_json() -> None:
    document = orjson.loads(orjson.dumps(letter_text.document(DROPPED)))
    assert document["state"] == "dropped"
    assert document["place"] == "rag.queries.dead-letters/0/7"
    assert document["mark"]["reason"] == "a test"
    assert letter_text.document(LETTER)["mark"] is None
