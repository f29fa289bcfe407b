"""Recorded requests for the benchmark of replays: what the retrieval stage says of each."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from aiokafka import AIOKafkaProducer

from schemas import codec
from schemas.events import PassagesRetrieved, QueryAccepted
from schemas.headers import Headers, StageTime
from schemas.values import Passage, QueryOptions, Sampling

_TENANT = "default"
_PASSAGES = 1
_WORDS = 30
_ANSWER_TOKENS = 12
_FLIGHT = 500


def keys(count: int) -> list[str]:
    """``count`` request IDs, as long as ragline's own."""
    return [f"00000000-0000-7000-8000-{number:012}" for number in range(count)]


async def produce(producer: AIOKafkaProducer, topic: str, request_ids: Iterable[str]) -> None:
    """Produce a record for each, as fast as it goes; returns when all are acknowledged."""
    flight: list[asyncio.Future[object]] = []
    for number, request_id in enumerate(request_ids):
        event = _retrieved(request_id, number)
        headers = Headers(
            id=f"retrieved-{request_id}",
            type=event.TYPE,
            source="ragline/retrieval",
            subject=request_id,
            tenant=_TENANT,
            timeline=(StageTime("query", 1, 2), StageTime("embedding", 2, 3), StageTime("retrieval", 3, 4)),
        )
        value = codec.encode(event)
        flight.append(await producer.send(topic, value, key=request_id.encode(), headers=headers.encode()))
        if len(flight) >= _FLIGHT:
            await asyncio.gather(*flight)
            flight.clear()
    await asyncio.gather(*flight)


def _retrieved(request_id: str, number: int) -> PassagesRetrieved:
    now = datetime.now(UTC)
    query = QueryAccepted(
        request_id=request_id,
        tenant=_TENANT,
        question=f"What is said of number {number}?",
        lane="batch",
        asked_at=now,
        deadline_at=now + timedelta(hours=2),
        options=QueryOptions(
            model="SmolLM2-135M-Instruct",
            top_k=_PASSAGES,
            min_score=0,
            template="default",
            sampling=Sampling(max_tokens=_ANSWER_TOKENS),
        ),
    )
    passages = tuple(_passage(number, rank) for rank in range(_PASSAGES))
    return PassagesRetrieved(query=query, collection="bench", embedding_model="all-MiniLM-L6-v2", passages=passages)


def _passage(number: int, rank: int) -> Passage:
    return Passage(
        chunk_id=f"c{number}-{rank}",
        document_id=f"d{number}",
        title=f"Number {number}",
        text=" ".join(f"word{(number + rank * at) % 997}" for at in range(_WORDS)),
        source="numbers.txt",
        ordinal=rank,
        score=0.9 - rank / 10,
    )
