"""The bridge on real Kafka and Valkey, with the projector between them."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import pytest
from redis.asyncio import Redis
from uuid_utils import uuid7
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from backends.errors import BackendUnavailableError
from backends.kafka import KafkaSettings
from backends.live_view import LiveViewSettings, stream_of
from backends.redis_live_view import RedisLiveView
from bridge.answers import KafkaAnswers
from bridge.key_topic import read_keys, write_key
from bridge.keys import new_key
from bridge.publisher import KafkaPublisher
from bridge.server import BridgeServer, connected
from bridge.settings import AccessSettings, BridgeSettings, LimitSettings
from schemas import codec
from schemas.events import Answered, ApiKeyRevoked, CancellationRequested, QueryAsked
from schemas.headers import Headers, StageTime
from schemas.values import Usage
from tests.fixtures.bridges import delta, hear, hear_until, say
from tests.fixtures.keys import bearer, created
from tests.fixtures.pipeline import Pipeline, eventually, make_pipeline
from tests.fixtures.servers import HOST, free_port
from topics.names import Namespace
from topics.specs import ANSWERS, CONTROL, QUERIES
from workers.projector import ProjectorStage
from workers.settings import ProjectorSettings, QuerySettings

pytestmark = pytest.mark.servers

DEADLINE_S = 60
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@asynccontextmanager
async def bridge(pipeline: Pipeline, redis_url: str, **settings: Any) -> AsyncIterator[str]:
    """A replica of the bridge on real systems; gives its address."""
    made = BridgeSettings(port=0, **settings)
    redis = LiveViewSettings(url=redis_url)
    async with connected(made, pipeline.kafka, redis, pipeline.names, QuerySettings()) as core:
        server = BridgeServer(core)
        serving = asyncio.create_task(server.serve())
        try:
            await asyncio.wait_for(server.ready.wait(), DEADLINE_S)
            yield server.address
        finally:
            server.should_exit = True
            await serving


def ws(address: str, **options: Any) -> connect:
    return connect(f"{address.replace('http', 'ws')}/v1/ws", proxy=None, **options)


def client(address: str, key: str | None = None) -> httpx.AsyncClient:
    headers = bearer(key) if key else None
    return httpx.AsyncClient(base_url=address, headers=headers, trust_env=False, timeout=DEADLINE_S)


def projector(pipeline: Pipeline, redis_url: str) -> ProjectorStage:
    view = RedisLiveView(LiveViewSettings(url=redis_url), pipeline.names)
    return ProjectorStage(ProjectorSettings(), view, "default")


async def answer(pipeline: Pipeline, request_id: str, text: str = "So.", tenant: str | None = None) -> None:
    """End a request as the generation stage does."""
    event = Answered(
        request_id=request_id,
        tenant=tenant,
        question="Why?",
        answer=text,
        finish_reason="stop",
        sources=(),
        model="m",
        usage=Usage(),
    )
    timeline = (StageTime("generation", 5, 9),)
    headers = Headers(id=f"answer-{request_id}", type=Answered.TYPE, time=datetime.now(UTC), timeline=timeline)
    await pipeline.produce(ANSWERS, codec.encode(event), key=request_id, headers=headers)


async def test_a_question_goes_to_its_topic_and_its_answer_comes_back(pipeline: Pipeline, redis_url: str) -> None:
    async with (
        pipeline.running(projector(pipeline, redis_url)),
        bridge(pipeline, redis_url) as address,
        ws(address) as socket,
    ):
        ask = {"kind": "ask", "question": "Why?", "top_k": 2, "traceparent": TRACEPARENT}
        await socket.send(orjson.dumps(ask).decode())
        request_id = (await hear(socket))["request_id"]
        [record] = await pipeline.read_count(QUERIES, 1)
        assert record.key == request_id
        assert codec.decode(record.value, record.headers.type, (QueryAsked,)) == QueryAsked(
            question="Why?", top_k=2, tenant="default"
        )
        assert record.headers.traceparent == TRACEPARENT
        assert (record.headers.source, record.headers.subject) == ("ragline/bridge", request_id)

        # Twice, as a redelivery would: it is shown once.
        for _ in range(2):
            await answer(pipeline, request_id)
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
    queries = KafkaPublisher(pipeline.kafka, pipeline.names, timeout_ms=20_000)
    try:
        await asyncio.gather(*(queries.publish("r", QueryAsked(question="q"), tenant="t") for _ in range(3)))
        await queries.check()
    finally:
        await queries.close()
    records = await pipeline.read_count(QUERIES, 3)
    assert len({(record.key, record.headers.id) for record in records}) == 1


async def test_kafka_away_is_told_within_the_bound() -> None:
    kafka = KafkaSettings(bootstrap_servers=f"{HOST}:{free_port()}")
    queries = KafkaPublisher(kafka, Namespace(), timeout_ms=1_000)
    began = time.monotonic()
    with pytest.raises(BackendUnavailableError, match="Kafka does not take questions now"):
        await queries.publish("r", QueryAsked(question="q"), tenant="t")
    with pytest.raises(BackendUnavailableError):
        await queries.check()
    assert time.monotonic() - began < 10
    await queries.close()


async def test_a_topic_that_is_missing_is_told_within_the_bound(kafka_bootstrap: str) -> None:
    kafka = KafkaSettings(bootstrap_servers=kafka_bootstrap)
    queries = KafkaPublisher(kafka, Namespace("nothing-here"), timeout_ms=2_000)
    try:
        with pytest.raises(BackendUnavailableError, match="no answer within 2000 ms"):
            await queries.publish("r", QueryAsked(question="q"), tenant="t")
    finally:
        await queries.close()


@pytest.fixture
async def plain(kafka_bootstrap: str) -> AsyncIterator[Pipeline]:
    """A pipeline under one guarantee: the other makes no difference to a bridge."""
    async with make_pipeline(kafka_bootstrap) as made:
        yield made


async def test_the_rest_comes_from_another_replica(plain: Pipeline, redis_url: str) -> None:
    view = RedisLiveView(LiveViewSettings(url=redis_url), plain.names)
    async with bridge(plain, redis_url) as first, bridge(plain, redis_url) as second:
        async with ws(first) as socket:
            await say(socket, kind="ask", question="Why?")
            request_id = (await hear(socket))["request_id"]
            await view.append(stream_of("default", request_id), [delta(0, "a ")])
            seen = await hear_until(socket, "delta")
        await view.append(stream_of("default", request_id), [delta(1, "b ")])
        async with ws(second) as socket:
            await say(socket, kind="resume", request_id=request_id, after=seen[-1]["id"])
            assert (await hear(socket))["text"] == "b "
            await view.append(stream_of("default", request_id), [delta(2, "c")])
            assert (await hear(socket))["text"] == "c"
            await say(socket, kind="cancel", request_id=request_id, reason="enough")
            assert await hear(socket) == {"kind": "cancelling", "request_id": request_id}
    [record] = await plain.read_count(CONTROL, 1)
    event = codec.decode(record.value, record.headers.type, CONTROL.events)
    assert event == CancellationRequested(request_id=request_id, reason="enough")
    await view.close()


async def test_once_the_view_has_expired_the_answer_topic_still_knows(plain: Pipeline, redis_url: str) -> None:
    async with plain_client(plain, redis_url) as http:
        request_id, other = str(uuid7()), str(uuid7())
        for number in range(20):
            await answer(plain, str(uuid7()), f"noise {number}")
        await answer(plain, request_id, "of another tenant", tenant="other")
        await answer(plain, request_id, "mine")
        found = (await http.get(f"/v1/queries/{request_id}")).json()
        assert (found["state"], found["answer"]) == ("answered", "mine")
        assert (await http.get(f"/v1/queries/{other}")).status_code == 404
        assert (await http.get("/v1/queries/no-uuid")).status_code == 404
        events = (await http.get(f"/v1/queries/{request_id}/events")).text
        assert events.startswith("event: terminal\ndata: {")
        again = await http.get(f"/v1/queries/{request_id}/events", headers={"Last-Event-ID": "0-0"})
        assert again.status_code == 204
        # It has ended: there is nothing to cancel, and nothing wrong with trying.
        assert (await http.delete(f"/v1/queries/{request_id}")).status_code == 202
        assert (await http.delete(f"/v1/queries/{other}")).status_code == 404
        async with ws(str(http.base_url)) as socket:
            await say(socket, kind="resume", request_id=request_id)
            assert (await hear(socket))["event"]["answer"] == "mine"


@asynccontextmanager
async def plain_client(pipeline: Pipeline, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with bridge(pipeline, redis_url) as address, client(address) as http:
        yield http


async def test_searches_at_the_same_time_find_each_its_own(plain: Pipeline) -> None:
    answers = KafkaAnswers(plain.kafka, plain.names, 30_000, "default")
    requests = [str(uuid7()) for _ in range(8)]
    for request_id in requests:
        await answer(plain, request_id, request_id)
    try:
        found = await asyncio.gather(*(answers.find("default", request_id) for request_id in requests))
        assert [ending[0].answer for ending in found if ending and isinstance(ending[0], Answered)] == requests
        for far_away in ("00000000-03e8-7000-8000-000000000000", "ffffffff-ffff-7fff-bfff-ffffffffffff"):
            assert await answers.find("default", far_away) is None
    finally:
        await answers.close()


async def test_old_answers_that_cannot_be_looked_for_are_not_said_to_be_missing() -> None:
    answers = KafkaAnswers(KafkaSettings(bootstrap_servers=f"{HOST}:{free_port()}"), Namespace(), 1_000, "default")
    with pytest.raises(BackendUnavailableError):
        await answers.find("default", str(uuid7()))


async def test_a_key_is_good_on_every_bridge_until_it_is_revoked(plain: Pipeline, redis_url: str) -> None:
    access = AccessSettings(required=True)
    key = new_key()
    async with (
        bridge(plain, redis_url, access=access) as first,
        bridge(plain, redis_url, access=access) as second,
        client(first, key.text) as one,
        client(second, key.text) as two,
    ):
        await eventually(lambda: has_status(one, 401))
        made = created(key, "default", "ask")
        await write_key(plain.kafka, plain.names, made)
        for http in (one, two):
            await eventually(lambda http=http: has_status(http, 404))
        assert list(await read_keys(plain.kafka, plain.names)) == [made]
        async with ws(first, additional_headers=bearer(key.text)) as socket:
            began = time.monotonic()
            event = ApiKeyRevoked(key_id=key.key_id, tenant="default", label="", by="", at=datetime.now(UTC))
            await write_key(plain.kafka, plain.names, event)
            with pytest.raises(ConnectionClosed) as closed:
                await hear(socket)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4401
            await eventually(lambda: has_status(two, 401))
            assert time.monotonic() - began < 5
    assert list(await read_keys(plain.kafka, plain.names)) == []
    # What was read by a bridge that began before the key, one that begins now reads too.
    async with bridge(plain, redis_url, access=access) as third, client(third, key.text) as http:
        await eventually(lambda: is_ready(http))
        assert await has_status(http, 401)


async def has_status(http: httpx.AsyncClient, status: int) -> bool:
    return (await http.get("/v1/queries/r")).status_code == status


async def is_ready(http: httpx.AsyncClient) -> bool:
    return (await http.get("/readyz")).status_code == 200


async def test_a_question_with_an_idempotency_key_is_asked_once(plain: Pipeline, redis_url: str) -> None:
    async with (
        bridge(plain, redis_url) as first,
        bridge(plain, redis_url) as second,
        client(first) as one,
        client(second) as two,
    ):
        headers = {"Idempotency-Key": "order 7"}
        said = [await http.post("/v1/queries", json={"question": "q"}, headers=headers) for http in (one, two, one)]
        assert {response.status_code for response in said} == {202}
        assert len({response.json()["request_id"] for response in said}) == 1
        other = await two.post("/v1/queries", json={"question": "r"}, headers=headers)
        assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
        for body in ({"question": "last", "id": "last"},):
            await one.post("/v1/queries", json=body)
    keys = [
        record.key
        for record in await plain.read(plain.names.topic(QUERIES), lambda rs: any(r.key == "last" for r in rs))
    ]
    assert len(keys) == 2


async def test_limits_hold_over_all_bridges(plain: Pipeline, redis_url: str) -> None:
    limits = LimitSettings(asks_per_minute=6, concurrent=2)
    async with (
        bridge(plain, redis_url, limits=limits) as first,
        bridge(plain, redis_url, limits=limits) as second,
        client(first) as one,
        client(second) as two,
    ):
        for http, name in ((one, "a"), (two, "b")):
            assert (await http.post("/v1/queries", json={"question": "q", "id": name})).status_code == 202
        full = await one.post("/v1/queries", json={"question": "q", "id": "c"})
        assert (full.status_code, full.json()["error"]["code"]) == (429, "too_many_requests")
        assert int(full.headers["retry-after"]) > 0
        async with pipeline_projector(plain, redis_url):
            await answer(plain, "a")
            await eventually(lambda: is_answered(one, "a"))
        # Nobody followed it: that it has ended is found when there is no room.
        assert (await two.post("/v1/queries", json={"question": "q", "id": "d"})).status_code == 202
        asks = [await http.post("/v1/queries", json={"question": "q", "id": "b"}) for http in (one, two) * 4]
        limited = [response for response in asks if response.status_code == 429]
        assert {response.json()["error"]["code"] for response in limited} == {"rate_limited"}
        assert all(int(response.headers["retry-after"]) > 0 for response in limited)


async def is_answered(http: httpx.AsyncClient, name: str) -> bool:
    return (await http.get(f"/v1/queries/{name}")).json()["state"] == "answered"


@asynccontextmanager
async def pipeline_projector(pipeline: Pipeline, redis_url: str) -> AsyncIterator[None]:
    async with pipeline.running(projector(pipeline, redis_url)):
        yield


async def test_one_connection_reads_for_all_sockets(plain: Pipeline, redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis, bridge(plain, redis_url) as address:
        sockets = [await ws(address) for _ in range(20)]
        for number, socket in enumerate(sockets):
            await say(socket, kind="ask", question="q", id=f"r{number}")
            assert (await hear(socket))["kind"] == "accepted"
        blocked = [c for c in await redis.client_list() if c["cmd"] == "xread"]
        assert len(blocked) == 1
        for socket in sockets:
            await socket.close()
