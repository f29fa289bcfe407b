"""Echo stages: each turns the event of its topic into the smallest event of the next."""

import asyncio
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from bench.hops_options import SLOW_KEY, WAY
from schemas.events import (
    Answered,
    Event,
    PassagesRetrieved,
    PromptBuilt,
    QueryAccepted,
    QueryAsked,
    QueryEmbedded,
)
from schemas.values import Embedding, QueryOptions, Sampling, Usage
from topics.specs import TopicSpec
from workers.runtime.stage import Delivery, Outcome, Produce

_OPTIONS = QueryOptions(model="echo", top_k=1, min_score=0.0, template="echo", sampling=Sampling())
_EMBEDDING = Embedding.pack("echo", np.zeros(8, np.float32))
_USAGE = Usage()
_SLOW_PREFIX = SLOW_KEY.decode()


class Echo:
    """The ``number``-th stage; records whose keys say so take ``slow_ms``."""

    subject: Literal["request"] = "request"
    max_in_flight = 128

    def __init__(self, number: int, slow_ms: int = 0) -> None:
        self.name = f"echo-{number}"
        self.consumes: tuple[TopicSpec, ...] = (WAY[number],)
        self._echo = _ECHOES[number]
        self._slow_ms = slow_ms

    async def start(self) -> None:
        """Nothing to load."""

    async def stop(self) -> None:
        """Nothing to let go of."""

    async def handle(self, delivery: Delivery[Any]) -> Outcome:
        """Echo."""
        if self._slow_ms and delivery.key.startswith(_SLOW_PREFIX):
            await asyncio.sleep(self._slow_ms / 1000)
        return Produce((self._echo(delivery),))


def _accepted(delivery: Delivery[QueryAsked]) -> Event:
    return QueryAccepted(
        request_id=delivery.key,
        tenant="bench",
        question=delivery.event.question,
        lane="interactive",
        asked_at=delivery.timestamp,
        deadline_at=None,
        options=_OPTIONS,
    )


def _embedded(delivery: Delivery[QueryAccepted]) -> Event:
    return QueryEmbedded(query=delivery.event, embedding=_EMBEDDING)


def _retrieved(delivery: Delivery[QueryEmbedded]) -> Event:
    return PassagesRetrieved(query=delivery.event.query, collection="echo", embedding_model="echo", passages=())


def _built(delivery: Delivery[PassagesRetrieved]) -> Event:
    query = delivery.event.query
    return PromptBuilt(
        query=query,
        template="echo",
        template_hash="echo",
        messages=(),
        prompt_tokens=1,
        sources=(),
        sampling=query.options.sampling,
    )


def _answered(delivery: Delivery[PromptBuilt]) -> Event:
    query = delivery.event.query
    return Answered(
        request_id=query.request_id,
        tenant=query.tenant,
        question=query.question,
        answer=query.question,
        finish_reason="stop",
        sources=(),
        model="echo",
        usage=_USAGE,
        attempt=delivery.attempt,
    )


_ECHOES: tuple[Callable[[Delivery[Any]], Event], ...] = (_accepted, _embedded, _retrieved, _built, _answered)
