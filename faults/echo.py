"""Stages that do next to nothing: the real events along the real topics, made from the input alone."""

import asyncio
import os
import signal
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from faults.chain import CHAIN, Step, wish_of
from faults.traps import Traps
from schemas.events import (
    Answered,
    Event,
    PassagesRetrieved,
    PromptBuilt,
    QueryAccepted,
    QueryAsked,
    QueryEmbedded,
    QueryStageEvent,
)
from schemas.values import ChatMessage, Embedding, Passage, QueryOptions, Sampling, Usage
from topics.specs import MIB, TopicSpec
from workers.runtime.stage import BatchedStage, ConcurrentStage, Delivery, Outcome, PoisonError, Produce, RetryableError

BATCHED = frozenset({"embedding", "retrieval"})
# Larger than any record that a request's topics take.
_HUGE_BYTES = 3 * MIB
_SLOW_FACTOR = 100
_SLOW_MS = 3_000
_DIMENSIONS = 8


def make_stage(stage: str, traps: Traps) -> BatchedStage[Any] | ConcurrentStage[Any]:
    """The echo stage of that name."""
    step = next(step for step in CHAIN if step.stage == stage)
    return BatchedEcho(step, traps) if stage in BATCHED else ConcurrentEcho(step, traps)


class Echo:
    """What both kinds have in common."""

    subject: Literal["request"] = "request"

    def __init__(self, step: Step, traps: Traps) -> None:
        self.name = step.stage
        self.consumes: tuple[TopicSpec, ...] = (step.source,)
        self._traps = traps

    async def start(self) -> None:
        """Nothing to load."""

    async def stop(self) -> None:
        """Nothing to let go of."""

    async def work(self, delivery: Delivery[Any]) -> Outcome:
        """Take as long as the request takes, then echo it, or do what its question wants."""
        wish = wish_of(question_of(delivery.event), self.name)
        factor = _SLOW_FACTOR if self._traps.slowed else 1
        await asyncio.sleep((_SLOW_MS if wish == "slow" else duration_ms(delivery.key)) * factor / 1000)
        if wish == "killing":
            os.kill(os.getpid(), signal.SIGKILL)
        if wish == "poison":
            return PoisonError("poison", "the question asks to be poison")
        if wish == "flaky" and delivery.attempt == 1:
            return RetryableError("flaky", "the question asks to fail once")
        return Produce((_ECHOES[self.name](delivery, "x" * _HUGE_BYTES if wish == "huge" else ""),))


class ConcurrentEcho(Echo):
    """Many at once."""

    max_in_flight = 32

    async def handle(self, delivery: Delivery[Any]) -> Outcome:
        return await self.work(delivery)


class BatchedEcho(Echo):
    """A batch at a time."""

    max_batch = 16
    linger_ms = 5

    async def handle(self, deliveries: Sequence[Delivery[Any]]) -> list[Outcome]:
        return list(await asyncio.gather(*[self.work(delivery) for delivery in deliveries]))


def duration_ms(key: str) -> int:
    """How long a request's work takes at each stage: 1 to 10 ms, and 200 ms for one in twenty, so that others pass."""
    digest = zlib.crc32(key.encode())
    return 200 if digest % 20 == 0 else 1 + digest % 10


def question_of(event: Event) -> str:
    """The question that an event carries."""
    if isinstance(event, QueryStageEvent):
        return event.query.question
    assert isinstance(event, (QueryAsked, QueryAccepted))  # noqa: S101 - the events of the chain
    return event.question


def _accepted(delivery: Delivery[QueryAsked], huge: str) -> Event:
    options = QueryOptions(model="echo", top_k=1, min_score=0.0, template="echo" + huge, sampling=Sampling())
    return QueryAccepted(
        request_id=delivery.key,
        tenant="faults",
        question=delivery.event.question,
        lane="interactive",
        asked_at=delivery.timestamp,
        deadline_at=None,
        options=options,
    )


def _embedded(delivery: Delivery[QueryAccepted], huge: str) -> Event:
    vector = np.full(_DIMENSIONS, zlib.crc32(delivery.key.encode()) % 1000, np.float32)
    return QueryEmbedded(query=delivery.event, embedding=Embedding.pack("echo" + huge, vector))


def _retrieved(delivery: Delivery[QueryEmbedded], huge: str) -> Event:
    passage = Passage(chunk_id="1", document_id="1", title="echo", text="echo" + huge, source="", ordinal=0, score=1.0)
    return PassagesRetrieved(query=delivery.event.query, collection="echo", embedding_model="echo", passages=(passage,))


def _built(delivery: Delivery[PassagesRetrieved], huge: str) -> Event:
    query = delivery.event.query
    return PromptBuilt(
        query=query,
        template="echo",
        template_hash="echo",
        messages=(ChatMessage(role="user", content=query.question + huge),),
        prompt_tokens=1,
        sources=(),
        sampling=query.options.sampling,
    )


def _answered(delivery: Delivery[PromptBuilt], huge: str) -> Event:
    query = delivery.event.query
    return Answered(
        request_id=query.request_id,
        tenant=query.tenant,
        question=query.question,
        answer=query.question + huge,
        finish_reason="stop",
        sources=(),
        model="echo",
        usage=Usage(),
        attempt=delivery.attempt,
    )


_ECHOES: Mapping[str, Callable[[Delivery[Any], str], Event]] = {
    "query": _accepted,
    "embedding": _embedded,
    "retrieval": _retrieved,
    "prompt": _built,
    "generation": _answered,
}
