"""Says whether whoever watched a request's token stream saw the answer that the topics have. Judging is pure."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence

from backends.live_view import Entry, LiveViewSettings, stream_of
from backends.redis_live_view import RedisLiveView
from faults.oracle import Finding, Record
from schemas.events import Answered
from topics.names import Namespace

_READS = 16


async def read_streams(
    settings: LiveViewSettings, names: Namespace, tenant: str, keys: Collection[str]
) -> dict[str, list[Entry]]:
    """The entries of each of a tenant's requests."""
    view = RedisLiveView(settings, names)
    slots = asyncio.Semaphore(_READS)

    async def read(key: str) -> list[Entry]:
        async with slots:
            return [stored.entry for stored in await view.read(stream_of(tenant, key))]

    try:
        return dict(zip(keys, await asyncio.gather(*map(read, keys)), strict=True))
    finally:
        await view.close()


def judge_streams(
    records: Iterable[Record], streams: Mapping[str, Sequence[Entry]], *, exactly_once: bool, waking: bool = False
) -> list[Finding]:
    """Each of these streams ends once, with one of the request's answers, after that attempt's text and no other.

    ``records`` are those of the topic of answers; what they say is the truth. Without ``exactly_once`` a worker that
    was taken for dead may still answer when the next attempt has begun: either text may then be cut off. A worker that
    is ``waking`` may begin an attempt before it learns that it is shut out: that one is never answered.
    """
    answers: dict[str, dict[int, str]] = {key: {} for key in streams}
    for record in records:
        if record.type == Answered.TYPE and record.key in answers:
            answers[record.key][record.attempt] = record.answer or ""
    findings: list[Finding] = []
    for key, entries in streams.items():
        if answers[key]:
            findings += _judge_text(key, answers[key], entries, exactly_once=exactly_once)
            if exactly_once and not waking:
                findings += _judge_last(key, answers[key], entries)
            findings += _judge_end(key, answers[key], entries)
    return findings


def _judge_text(key: str, answers: Mapping[int, str], entries: Sequence[Entry], *, exactly_once: bool) -> list[Finding]:
    texts = texts_by_attempt(entries)
    findings: list[Finding] = []
    for attempt, answer in answers.items():
        text = texts.get(attempt, "")
        if text != answer and (exactly_once or not answer.startswith(text)):
            findings.append(
                Finding("spliced", "generation", key, f"attempt {attempt} streamed {text!r}, not {answer!r}")
            )
    return findings


def _judge_last(key: str, answers: Mapping[int, str], entries: Sequence[Entry]) -> list[Finding]:
    last = max(texts_by_attempt(entries), default=0)
    if last in answers:
        return []
    return [Finding("spliced", "generation", key, f"attempt {last} is shown, {sorted(answers)} answered")]


def _judge_end(key: str, answers: Mapping[int, str], entries: Sequence[Entry]) -> list[Finding]:
    ends = [entry.body["event"] for entry in entries if entry.kind == "terminal"]
    if len(ends) != 1:
        return [Finding("unseen", "projector", key, f"its stream has {len(ends)} terminal entries")]
    if not isinstance(ends[0], dict) or ends[0].get("answer") not in answers.values():
        return [Finding("unseen", "projector", key, "its stream ends with another answer")]
    return []


def texts_by_attempt(entries: Iterable[Entry]) -> dict[int, str]:
    """The text of each attempt; a gap in its sequence shows. A reader has that of the highest one before them."""
    pieces: dict[int, list[str]] = {}
    for entry in entries:
        if entry.kind != "delta":
            continue
        attempt, sequence, text = (entry.body[name] for name in ("attempt", "sequence", "text"))
        assert isinstance(attempt, int)  # noqa: S101 - as the live view declares it
        mine = pieces.setdefault(attempt, [])
        mine.append(str(text) if sequence == len(mine) else f"(gap before {sequence}){text}")
    return {attempt: "".join(mine) for attempt, mine in pieces.items()}
