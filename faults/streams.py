"""Says whether whoever watched a request's token stream saw the answer that the topics have. Judging is pure."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence

from backends.live_view import Entry, LiveViewSettings
from backends.redis_live_view import RedisLiveView
from faults.oracle import Finding, Record
from schemas.events import Answered
from topics.names import Namespace

_READS = 16


async def read_streams(settings: LiveViewSettings, names: Namespace, keys: Collection[str]) -> dict[str, list[Entry]]:
    """The entries of each request."""
    view = RedisLiveView(settings, names)
    slots = asyncio.Semaphore(_READS)

    async def read(key: str) -> list[Entry]:
        async with slots:
            return [stored.entry for stored in await view.read(key)]

    try:
        return dict(zip(keys, await asyncio.gather(*map(read, keys)), strict=True))
    finally:
        await view.close()


def judge_streams(records: Iterable[Record], streams: Mapping[str, Sequence[Entry]]) -> list[Finding]:
    """Each of these streams ends once, with one of the request's answers, after that attempt's text and no other.

    ``records`` are those of the topic of answers; what they say is the truth.
    """
    answers: dict[str, dict[int, str]] = {key: {} for key in streams}
    for record in records:
        if record.type == Answered.TYPE and record.key in answers:
            answers[record.key][record.attempt] = record.answer or ""
    findings: list[Finding] = []
    for key, entries in streams.items():
        if answers[key]:
            findings += _judge_stream(key, answers[key], entries)
    return findings


def _judge_stream(key: str, answers: Mapping[int, str], entries: Sequence[Entry]) -> list[Finding]:
    findings: list[Finding] = []
    attempt, text = watched(entries)
    if answers.get(attempt) != text:
        expected = answers.get(attempt, f"(no answer of it, but of {sorted(answers)})")
        findings.append(Finding("spliced", "generation", key, f"attempt {attempt} streamed {text!r}, not {expected!r}"))
    ends = [entry.body["event"] for entry in entries if entry.kind == "terminal"]
    if len(ends) != 1:
        findings.append(Finding("unseen", "projector", key, f"its stream has {len(ends)} terminal entries"))
    elif not isinstance(ends[0], dict) or ends[0].get("answer") not in answers.values():
        findings.append(Finding("unseen", "projector", key, "its stream ends with another answer"))
    return findings


def watched(entries: Iterable[Entry]) -> tuple[int, str]:
    """The attempt and the text before the eyes of a reader who drops what was there when a higher attempt begins.

    A gap in a text's sequence shows in it.
    """
    attempt, pieces = 0, list[str]()
    for entry in entries:
        if entry.kind != "delta":
            continue
        number, sequence, piece = (entry.body[name] for name in ("attempt", "sequence", "text"))
        assert isinstance(number, int)  # noqa: S101 - as the live view declares it
        if number > attempt:
            attempt, pieces = number, []
        if number == attempt:
            pieces.append(str(piece) if sequence == len(pieces) else f"(gap before {sequence}){piece}")
    return attempt, "".join(pieces)
