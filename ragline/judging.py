"""Has the pipeline's own generation stage judge answers: prompts go into its topic, verdicts come from its answers."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime

import uuid_utils

from ragline.gathering import Gathering
from ragline.settings import Settings
from replay.evaluation.cases import Case, Cases
from replay.evaluation.errors import EvaluationError
from replay.evaluation.gold import Gold
from replay.evaluation.judge import FORMAT, MAX_TOKENS, PROMPT_HASH, judge_messages, read_verdict
from schemas.events import Answered, PromptBuilt, QueryAccepted, Terminal
from schemas.headers import derive_id
from schemas.values import QueryOptions, Sampling
from topics.specs import ANSWERS, PROMPTS_BUILT

_IN_FLIGHT = 32
_TEMPLATE = "judge"
# Few enough for most texts; where a prompt is too long all the same, its verdict could not be read.
_CHARS_PER_TOKEN = 2


async def judge(
    settings: Settings,
    cases: Cases,
    gold: Gold,
    *,
    limit: int | None,
    report: Callable[[int, int], None],
    timeout_s: float,
) -> dict[str, float | None]:
    """Verdicts by query ID on answers of a run, at most ``limit`` of them; None where one could not be read.

    Raises:
        EvaluationError: no verdict came for ``timeout_s`` seconds.
        ConnectionError: Kafka does not answer.
    """
    answered = [(query, case) for query, case in cases.cases.items() if case.is_answered][:limit]
    session = str(uuid_utils.uuid7())
    ids = {derive_id("judge", session, query): query for query, _ in answered}
    prompts = (_prompt(settings, session, query, case, cases, gold) for query, case in answered)
    verdicts: dict[str, float | None] = {}
    async with Gathering(settings.kafka, settings.names, (ANSWERS,), "ragline/evaluate") as gathering:
        room = asyncio.Semaphore(_IN_FLIGHT)

        async def send() -> None:
            for prompt in prompts:
                await room.acquire()
                await gathering.send(PROMPTS_BUILT, prompt.key, prompt, derive_id("prompt", prompt.key))

        sending = asyncio.create_task(send())
        try:
            async for key, verdict in _verdicts(gathering, sending, ids, timeout_s):
                verdicts[ids[key]] = verdict
                room.release()
                report(len(verdicts), len(ids))
        finally:
            sending.cancel()
            await asyncio.wait({sending})
    return verdicts


async def _verdicts(
    gathering: Gathering, sending: asyncio.Task[None], ids: Mapping[str, str], timeout_s: float
) -> AsyncIterator[tuple[str, float | None]]:
    """Each verdict once; what failed, expired or was cancelled could not be read."""
    seen: set[str] = set()
    moved_at = time.monotonic()
    while len(seen) < len(ids):
        if sending.done() and not sending.cancelled() and (error := sending.exception()):
            raise error
        for key, event, _, _ in await gathering.read():
            if key in ids and key not in seen and isinstance(event, Terminal):
                seen.add(key)
                moved_at = time.monotonic()
                yield key, read_verdict(event.answer) if isinstance(event, Answered) else None
        if time.monotonic() - moved_at > timeout_s:
            raise EvaluationError(
                f"the judge said nothing for {timeout_s:.0f} s, {len(ids) - len(seen)} of {len(ids)} verdicts are "
                "open; is the generation stage running? See ragline status"
            )


def _prompt(settings: Settings, session: str, query_id: str, case: Case, cases: Cases, gold: Gold) -> PromptBuilt:
    right = gold.answers.get(query_id) if gold.answers else None
    sources = list(cases.source_texts(case).values())
    max_chars = _CHARS_PER_TOKEN * (settings.engine.max_model_len - MAX_TOKENS)
    messages = judge_messages(case.request.question, case.text, right.answers if right else (), sources, max_chars)
    sampling = Sampling(max_tokens=MAX_TOKENS, temperature=0.0, response_format=FORMAT)
    query = QueryAccepted(
        request_id=derive_id("judge", session, query_id),
        tenant=case.request.tenant or settings.query.default_tenant,
        question=case.request.question,
        lane="batch",
        asked_at=datetime.now(UTC),
        deadline_at=None,
        options=QueryOptions(
            model=settings.query.models[0], top_k=1, min_score=-1, template=_TEMPLATE, sampling=sampling
        ),
    )
    return PromptBuilt(
        query=query,
        template=_TEMPLATE,
        template_hash=PROMPT_HASH,
        messages=messages,
        prompt_tokens=0,
        sources=(),
        sampling=sampling,
    )
