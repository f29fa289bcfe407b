"""The bridge on real Kafka and Valkey, with the projector between them."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect

from backends.errors import BackendUnavailableError
from backends.kafka import KafkaSettings
from backends.live_view import LiveViewSettings
from backends.redis_live_view import RedisLiveView
from bridge.publisher import KafkaQueryPublisher
from bridge.server import BridgeServer
from bridge.settings import BridgeSettings
from schemas import codec
from schemas.events import Answered, QueryAsked
from schemas.headers import Headers, StageTime
from schemas.values import Usage
from tests.fixtures.pipeline import Pipeline
from tests.fixtures.servers import HOST, free_port
from topics.names import Namespace
from topics.specs import ANSWERS, QUERIES
from workers.projector import ProjectorStage
from workers.settings import ProjectorSettings

pytestmark = pytest.mark.servers

DEADLINE_S = 60
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@asynccontextmanager
async def bridge(pipeline: Pipeline, redis_url: str) -> AsyncIterator[str]:
    settings = BridgeSettings(port=0)
    queries = KafkaQueryPublisher(pipeline.kafka, pipeline.names, settings.publish_timeout_ms)
    live_view = RedisLiveView(LiveViewSettings(url=redis_url), pipeline.names)
    server = BridgeServer(settings, queries, live_view)
    serving = asyncio.create_task(server.serve())
    try:
        await asyncio.wait_for(server.ready.wait(), DEADLINE_S)
        yield server.address.replace("http", "ws") + "/v1/ws"
    finally:
        server.should_exit = True
        await serving
        await queries.close()
        await live_view.close()


async def hear(socket: ClientConnection) -> Any:
    return orjson.loads(await asyncio.wait_for(socket.recv(), DEADLINE_S))


async def test_a_question_goes_to_its_topic_and_its_answer_comes_back(pipeline: Pipeline, redis_url: str) -> None:
    projector = ProjectorStage(ProjectorSettings(), RedisLiveView(LiveViewSettings(url=redis_url), pipeline.names))
    async with (
        pipeline.running(projector),
        bridge(pipeline, redis_url) as address,
        connect(address, proxy=None) as socket,
    ):
        ask = {"kind": "ask", "question": "Why?", "top_k": 2, "traceparent": TRACEPARENT}
        await socket.send(orjson.dumps(ask).decode())
        request_id = (await hear(socket))["request_id"]
        [record] = await pipeline.read_count(QUERIES, 1)
        assert record.key == request_id
        assert codec.decode(record.value, record.headers.type, (QueryAsked,)) == QueryAsked(question="Why?", top_k=2)
        assert record.headers.traceparent == TRACEPARENT
        assert (record.headers.source, record.headers.subject) == ("ragline/bridge", request_id)

        answer = Answered(
            request_id=request_id,
            question="Why?",
            answer="So.",
            finish_reason="stop",
            sources=(),
            model="m",
            usage=Usage(),
        )
        headers = Headers(
            id="answer-1", type=Answered.TYPE, time=datetime.now(UTC), timeline=(StageTime("generation", 5, 9),)
        )
        # Twice, as a redelivery would: it is shown once.
        for _ in range(2):
            await pipeline.produce(ANSWERS, codec.encode(answer), key=request_id, headers=headers)
        heard = [await hear(socket)]
        while heard[-1]["kind"] != "terminal":
            heard.append(await hear(socket))
    assert [(message["kind"], message.get("stage")) for message in heard] == [
        ("progress", "bridge"),
        ("progress", "generation"),
        ("terminal", None),
    ]
    assert heard[-1]["event"]["answer"] == "So."
    assert heard[-1]["timeline"] == [{"stage": "generation", "started_ms": 5, "finished_ms": 9, "attempt": 1}]


async def test_the_same_request_id_is_the_same_event(pipeline: Pipeline) -> None:
    queries = KafkaQueryPublisher(pipeline.kafka, pipeline.names, timeout_ms=20_000)
    try:
        await asyncio.gather(*(queries.publish("r", QueryAsked(question="q")) for _ in range(3)))
        await queries.check()
    finally:
        await queries.close()
    records = await pipeline.read_count(QUERIES, 3)
    assert len({(record.key, record.headers.id) for record in records}) == 1


async def test_kafka_away_is_told_within_the_bound() -> None:
    kafka = KafkaSettings(bootstrap_servers=f"{HOST}:{free_port()}")
    queries = KafkaQueryPublisher(kafka, Namespace(), timeout_ms=1_000)
    began = time.monotonic()
    with pytest.raises(BackendUnavailableError, match="Kafka does not take questions now"):
        await queries.publish("r", QueryAsked(question="q"))
    with pytest.raises(BackendUnavailableError):
        await queries.check()
    assert time.monotonic() - began < 10
    await queries.close()


async def test_a_topic_that_is_missing_is_told_within_the_bound(kafka_bootstrap: str) -> None:
    kafka = KafkaSettings(bootstrap_servers=kafka_bootstrap)
    queries = KafkaQueryPublisher(kafka, Namespace("nothing-here"), timeout_ms=2_000)
    try:
        with pytest.raises(BackendUnavailableError, match="no answer within 2000 ms"):
            await queries.publish("r", QueryAsked(question="q"))
    finally:
        await queries.close()
