"""Has the engine write what is searched for beside a question. Whatever happens to it, the question goes on."""

import asyncio
import uuid
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import structlog
from prometheus_client import Counter

from backends.engine import Engine, EngineDeadError, GenerationRequest
from schemas.events import ExpansionPromptBuilt, QueryExpanded
from schemas.values import Sampling, Usage
from workers.expansion import Written, usable_texts

log = structlog.get_logger(__name__)

NOTHING_USABLE = "The engine wrote nothing that can be searched for."


class Expander:
    """Asks ``engine``, for at most ``timeout_ms``; ``counter`` counts how it went."""

    def __init__(self, engine: Engine, timeout_ms: int) -> None:
        self._engine = engine
        self._timeout_s = timeout_ms / 1000
        self.counter = Counter(
            "ragline_expansions",
            "Questions that the engine was asked to expand, and whether it did or they were searched for alone.",
            ("expansion", "outcome"),
            registry=None,
        )

    async def expand(self, event: ExpansionPromptBuilt) -> QueryExpanded:
        """What the engine wrote that is of use; when time is up, what it has written by then.

        Raises:
            EngineDeadError: the engine is gone; only a new process helps.
        """
        attempts = [_Attempt(sampling) for sampling in event.samplings]
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._write_all(event, attempts)
        except TimeoutError:
            late = f"The engine did not expand the question within {self._timeout_s:g} s."
        else:
            late = ""
        texts = usable_texts(event, [attempt.written for attempt in attempts if attempt.written])
        problem = late or next((attempt.problem for attempt in attempts if attempt.problem), NOTHING_USABLE)
        return self._conclude(event, texts, _sum([attempt.usage for attempt in attempts]), problem)

    def fall_back(self, event: ExpansionPromptBuilt, why: str) -> QueryExpanded:
        """The question alone; ``why`` is one sentence."""
        return self._conclude(event, (), Usage(), why)

    async def _write_all(self, event: ExpansionPromptBuilt, attempts: Sequence["_Attempt"]) -> None:
        dead: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                for attempt in attempts:
                    tasks.create_task(self._try(event, attempt))
        except* EngineDeadError as errors:
            dead = errors.exceptions[0]
        if dead is not None:
            raise dead

    async def _try(self, event: ExpansionPromptBuilt, attempt: "_Attempt") -> None:
        try:
            attempt.written, attempt.usage = await self._write(event, attempt.sampling)
        except EngineDeadError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever an engine raises costs the expansion, not the request
            attempt.problem = f"The engine did not expand the question: {error}"

    async def _write(self, event: ExpansionPromptBuilt, sampling: Sampling) -> tuple[Written, Usage]:
        request = GenerationRequest(
            id=f"{event.key}/expansion/{uuid.uuid4().hex}",
            messages=event.messages,
            sampling=sampling,
            lane=event.query.lane,
        )
        pieces: list[str] = []
        usage, cut = Usage(), True
        async with aclosing(self._engine.generate(request)) as deltas:
            async for delta in deltas:
                pieces.append(delta.text)
                usage, cut = delta.usage or usage, delta.finish_reason != "stop"
        return Written("".join(pieces), cut), usage

    def _conclude(
        self, event: ExpansionPromptBuilt, texts: tuple[str, ...], usage: Usage, problem: str
    ) -> QueryExpanded:
        outcome = "expanded" if texts else "fallback"
        self.counter.labels(event.query.options.retrieval.expansion, outcome).inc()
        if not texts:
            log.info("question not expanded", request_id=event.key, reason=problem)
        return QueryExpanded(query=event.query, texts=texts, usage=usage, fallback=None if texts else problem)


@dataclass
class _Attempt:
    """One text that the engine is to write, and what came of it."""

    sampling: Sampling
    written: Written | None = None
    usage: Usage = field(default_factory=Usage)
    problem: str = ""


def _sum(usages: Sequence[Usage]) -> Usage:
    return Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in usages),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
    )
