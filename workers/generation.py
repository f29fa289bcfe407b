"""The generation stage: asks the engine, shows the text while it comes, and says the whole answer.

The same engine writes what a search is expanded with, which nobody is shown.
"""

import asyncio
import uuid
from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Literal

from prometheus_client.registry import Collector

from backends.engine import Delta, Engine, GenerationRequest
from backends.errors import BackendRejectedError, BackendUnavailableError
from backends.live_view import LiveView
from schemas.events import Answered, ExpansionPromptBuilt, PromptBuilt, QueryStageEvent, RequestExpired
from schemas.stamps import sampled
from schemas.values import Usage
from topics.specs import PROMPTS_BUILT, TopicSpec
from workers.deltas import DeltaSink, DeltaWriter
from workers.expander import Expander
from workers.runtime.stage import Delivery, Outcome, PoisonError, Produce, RejectedError, StageError, UnavailableError
from workers.settings import GenerationSettings


def _utc_now() -> datetime:
    return datetime.now(UTC)


class GenerationStage:
    """PromptBuilt → Answered, and ExpansionPromptBuilt → QueryExpanded; or RequestExpired where the deadline passes
    while it generates.

    The stage owns the engine and the live view: it starts and closes them. An engine that dies (``EngineDeadError``)
    ends the worker.
    """

    name = "generation"
    consumes: tuple[TopicSpec, ...] = (PROMPTS_BUILT,)
    subject: Literal["request"] = "request"

    def __init__(
        self,
        settings: GenerationSettings,
        engine: Engine,
        live_view: LiveView,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._live_view = live_view
        self._now = now
        self._deltas = DeltaSink(
            live_view, interval_ms=settings.delta_interval_ms, flush_timeout_ms=settings.flush_timeout_ms
        )
        self._expander = Expander(engine, settings.expansion_timeout_ms)

    @property
    def collectors(self) -> tuple[Collector, ...]:
        return (self._expander.counter,)

    @property
    def max_in_flight(self) -> int:
        return self._settings.max_in_flight

    async def start(self) -> None:
        await self._engine.start()

    async def stop(self) -> None:
        try:
            await self._engine.close()
        finally:
            await self._live_view.close()

    async def handle(self, delivery: Delivery[PromptBuilt | ExpansionPromptBuilt]) -> Outcome:
        event = delivery.event
        deadline = delivery.deadline_at
        seconds_left = (deadline - self._now()).total_seconds() if deadline else None
        limit = asyncio.timeout(seconds_left)
        try:
            if isinstance(event, ExpansionPromptBuilt):
                async with limit:
                    expanded = await self._expander.expand(event)
                return Produce((expanded,), sampled(event.samplings[0]) if event.samplings else None)
            return await self._answer(event, delivery.attempt, limit)
        except TimeoutError:
            if deadline is None or not limit.expired():
                raise
            return Produce((self._expired(event, deadline),))

    def instead(self, delivery: Delivery[PromptBuilt | ExpansionPromptBuilt], error: StageError) -> Outcome | None:
        """No expansion fails its request."""
        event = delivery.event
        if not isinstance(event, ExpansionPromptBuilt):
            return None
        return Produce((self._expander.fall_back(event, f"The question could not be expanded: {error}"),))

    async def _answer(self, event: PromptBuilt, attempt: int, limit: asyncio.Timeout) -> Outcome:
        try:
            async with self._deltas.open(event.query.tenant, event.key, attempt) as writer:
                async with limit:
                    answer, end = await self._generate(event, writer)
                attempt = await writer.finish()
        except BackendUnavailableError as error:
            return UnavailableError("engine_unavailable", f"The engine does not answer now: {error}")
        except BackendRejectedError as error:
            if event.sampling.response_format is not None:
                # Whoever asked wrote the schema: there is nothing to repair here.
                return RejectedError("response_format_refused", f"The engine refuses the response format: {error}")
            return PoisonError("engine_rejected", f"The engine refuses the prompt: {error}")
        return Produce((self._answered(event, answer, end, attempt),), sampled(event.sampling))

    async def _generate(self, event: PromptBuilt, writer: DeltaWriter) -> tuple[str, Delta]:
        """The whole text and the last delta."""
        request = GenerationRequest(
            # The same question may come again while the engine still lets go of its last attempt.
            id=f"{event.key}/{uuid.uuid4().hex}",
            messages=event.messages,
            sampling=event.sampling,
            lane=event.query.lane,
        )
        pieces: list[str] = []
        async with aclosing(self._engine.generate(request)) as deltas:
            async for delta in deltas:
                pieces.append(delta.text)
                writer.write(delta.text)
                if delta.finish_reason is not None:
                    return "".join(pieces), delta
        msg = "it ended before the answer did"
        raise BackendUnavailableError(msg)

    def _answered(self, event: PromptBuilt, answer: str, end: Delta, attempt: int) -> Answered:
        return Answered(
            request_id=event.query.request_id,
            tenant=event.query.tenant,
            question=event.query.question,
            answer=answer,
            finish_reason=end.finish_reason or "stop",
            sources=event.sources,
            model=self._engine.model,
            usage=end.usage or Usage(),
            attempt=attempt,
        )

    def _expired(self, event: QueryStageEvent, deadline: datetime) -> RequestExpired:
        return RequestExpired(
            request_id=event.query.request_id, tenant=event.query.tenant, stage=self.name, deadline_at=deadline
        )
