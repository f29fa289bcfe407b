"""An explanation as text, for people at a terminal."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

import orjson
from pydantic import JsonValue

from ragline.explain.explanation import Ending, Explanation, FoundPassage
from ragline.letter_text import printable
from topics.render import table

_WIDTH = 100
_INDENT = "  "


def render(explanation: Explanation) -> str:
    """The request's whole way, from the question to how it ended."""
    return "\n".join(_lines(explanation)) + "\n"


def said(stamp: Mapping[str, JsonValue]) -> str:
    """What a stamp says, in one line."""
    return ", ".join(f"{name} {_value(value)}" for name, value in stamp.items())


def facts(explanation: Explanation) -> Iterator[tuple[str, str]]:
    """What can be said of the request in a few words, by name."""
    total = "" if explanation.total_ms is None else f", after {explanation.total_ms} ms"
    at = f" at {_moment(explanation.ending.at)}{total}" if explanation.ending else ""
    yield "state", explanation.state + at
    yield "question", explanation.question or "no longer kept"
    if explanation.asked_at:
        yield "asked", _moment(explanation.asked_at)
    if explanation.deadline_at:
        yield "deadline", _moment(explanation.deadline_at)
    if explanation.tenant:
        yield "tenant", explanation.tenant
    if explanation.options:
        options = explanation.options.model_dump(mode="json") | {"lane": explanation.lane}
        yield "options", said({name: value for name, value in _flat(options) if value not in (None, [], "")})


def ending_lines(ending: Ending) -> Iterator[str]:
    """How the request ended, beside its answer."""
    if ending.usage:
        tokens = f"{ending.usage.prompt_tokens} tokens read, {ending.usage.completion_tokens} written"
        yield f"{ending.model}, {ending.finish_reason}, {tokens}, attempt {ending.attempt}"
    if ending.code:
        yield f"{ending.code} in stage {ending.stage}{f': {ending.message}' if ending.message else ''}"


def _lines(explanation: Explanation) -> Iterator[str]:
    yield printable(explanation.request_id)
    yield from _block(table([[name, printable(text)] for name, text in facts(explanation)]))
    yield from (f"{_INDENT}note: {printable(note)}" for note in explanation.notes)
    yield from _steps(explanation)
    if explanation.expansions:
        yield from ("", "searched for as well", *_wrapped(explanation.expansions))
    yield from _passages(explanation.passages)
    if explanation.prompt:
        yield from ("", f"prompt, {explanation.prompt_tokens} tokens")
        for message in explanation.prompt:
            yield from (f"{_INDENT}{message.role}", *_wrapped([message.content], 2))
    if explanation.ending:
        yield from ("", explanation.state)
        yield from _wrapped([explanation.ending.answer] if explanation.ending.answer is not None else [])
        yield from (_INDENT + printable(line) for line in ending_lines(explanation.ending))
    yield from _records(explanation)


def _steps(explanation: Explanation) -> Iterator[str]:
    if not explanation.steps:
        return
    yield from ("", "stages")
    rows = [("stage", "started", "waited", "took", "attempt")]
    for step in explanation.steps:
        started = step.started_at.isoformat(" ", "milliseconds")[11:23]
        rows.append((printable(step.stage), started, f"{step.waited_ms} ms", f"{step.took_ms} ms", str(step.attempt)))
    yield from _block(table(rows))
    stamped = [step for step in explanation.steps if step.stamp]
    if stamped:
        yield from ("", "decided by")
    for step in stamped:
        yield from _wrapped([f"{step.stage}: {said(step.stamp)}"])


def _passages(passages: Iterable[FoundPassage]) -> Iterator[str]:
    for found in passages:
        passage = found.passage
        if found.rank == 1:
            yield from ("", "passages")
        number = f"[{found.number}]" if found.number else "not in the prompt"
        page = f", page {passage.page}" if passage.page else ""
        title = f"{passage.title} ({passage.document_id}{page})"
        yield f"{_INDENT}{found.rank}. {passage.score:.4f} {number} {printable(title)}"
        yield from _wrapped([passage.text], 2)


def _records(explanation: Explanation) -> Iterator[str]:
    for letter in explanation.dead_letters:
        yield from ("", f"dead letter {letter.id}", f"{_INDENT}kept in {letter.place}, attempts {letter.attempts}")
        yield f"{_INDENT}stage {printable(letter.stage)}, {printable(f'{letter.code}: {letter.message}')}"
    yield from ("", "records")
    rows = [
        (record.place, printable(record.type), _moment(record.written_at), printable(record.problem or ""))
        for record in explanation.records
    ]
    yield from _block(table(rows))


def _block(text: str) -> list[str]:
    return [_INDENT + line.rstrip() for line in text.splitlines()]


def _wrapped(texts: Iterable[str], depth: int = 1) -> Iterator[str]:
    for text in texts:
        for line in printable(text, "\n").splitlines():
            indent = _INDENT * depth
            yield from textwrap.wrap(line, _WIDTH, initial_indent=indent, subsequent_indent=indent) or [""]


def _flat(options: Mapping[str, JsonValue]) -> Iterator[tuple[str, JsonValue]]:
    for name, value in options.items():
        if isinstance(value, dict) and name in {"sampling", "retrieval"}:
            yield from value.items()
        else:
            yield name, value


def _value(value: JsonValue) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _moment(moment: datetime) -> str:
    return moment.isoformat(" ", "milliseconds").removesuffix("+00:00")
