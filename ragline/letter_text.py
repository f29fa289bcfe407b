"""Dead letters as text: for people, and as JSON for programs."""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from ragline.letters import CAUSE_PREFIX, Letter, is_of_request
from schemas.events import DeadLetterDropped
from schemas.headers import RawHeaders
from topics.render import table

SHORT_ID_CHARS = 12

_COLUMNS = ("letter", "failed at", "topic", "stage", "code", "attempts", "redrives", "state", "request or document")


def render_list(found: Iterable[Letter]) -> str:
    """A table with one line per letter."""
    return table([_COLUMNS, *_plain_cells(map(_row, found))])


def document(letter: Letter) -> dict[str, Any]:
    """The letter for programs."""
    return {
        "id": letter.id,
        "state": letter.state,
        "topic": letter.spec.name,
        "key": letter.key,
        "stage": letter.stage,
        "code": letter.code,
        "message": letter.message,
        "attempts": letter.attempts,
        "redrives": letter.redrives,
        "failed_at": letter.failed_at,
        "origin": str(letter.origin or ""),
        "place": str(letter.place),
        "mark": letter.mark.model_dump(mode="json") if letter.mark else None,
    }


def describe(letter: Letter, headers: RawHeaders, value: bytes | None) -> str:
    """All of a letter: what happened, its record's own headers, and its value, as JSON where it is."""
    named = [(name, (text or b"").decode("utf-8", "replace")) for name, text in headers]
    own = [("  " + name, text) for name, text in named if not name.startswith(CAUSE_PREFIX)]
    lines = [table(_plain_cells(_description(letter))), "headers", table(_plain_cells(own)) if own else "  none"]
    size = "null" if value is None else f"{len(value)} bytes"
    return "\n".join([*lines, f"value ({size})", _readable(value), ""])


def _row(letter: Letter) -> tuple[str, ...]:
    return (
        letter.id[:SHORT_ID_CHARS],
        letter.failed_at.isoformat(" ", "seconds").removesuffix("+00:00"),
        letter.spec.name,
        letter.stage,
        letter.code,
        letter.attempts,
        str(letter.redrives),
        letter.state,
        letter.key,
    )


def _description(letter: Letter) -> list[tuple[str, str]]:
    state = letter.state
    if letter.mark is not None:
        state_text = f"{state} by {letter.mark.by} at {letter.mark.at.isoformat()}"
        if isinstance(letter.mark, DeadLetterDropped) and letter.mark.reason:
            state_text += f": {letter.mark.reason}"
    else:
        state_text = state
    return [
        ("letter", letter.id),
        ("state", state_text),
        ("request" if is_of_request(letter.spec) else "document", letter.key),
        ("failed", f"{letter.failed_at.isoformat()} in stage {letter.stage}, attempts {letter.attempts}"),
        ("cause", f"{letter.code}: {letter.message}"),
        ("record", str(letter.origin or "unknown")),
        ("kept in", str(letter.place)),
        ("redrives", str(letter.redrives)),
    ]


def _readable(value: bytes | None) -> str:
    try:
        return orjson.dumps(orjson.loads(value or b""), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        return printable((value or b"").decode("utf-8", "backslashreplace"), "\n\t")


def _plain_cells(rows: Iterable[Sequence[str]]) -> list[list[str]]:
    return [[printable(cell) for cell in row] for row in rows]


def printable(text: str, kept: str = "") -> str:
    """Control characters written out: what a record holds must not steer the terminal."""
    return "".join(
        char if char.isprintable() or char in kept else char.encode("unicode_escape").decode() for char in text
    )
