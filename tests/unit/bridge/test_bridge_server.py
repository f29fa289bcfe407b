"""The bridge over real sockets, with its twins behind it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from backends.errors import BackendUnavailableError
from backends.live_view import Entry, LiveViewSettings
from backends.memory_live_view import MemoryLiveView
from bridge.middleware import CONTENT_SECURITY_POLICY
from bridge.publisher import MemoryQueryPublisher, Published
from bridge.server import BridgeServer
from bridge.settings import BridgeSettings
from schemas.events import Answered
from schemas.values import Usage
from tests.fixtures.pipeline import eventually

DEADLINE_S = 20
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class SwitchedLiveView(MemoryLiveView):
    """Can be switched off, as if Redis were down."""

    available = True

    def _check(self) -> None:
        if not self.available:
            msg = "Redis does not answer."
            raise BackendUnavailableError(msg)

    async def append(self, request_id: str, entries: Any, *, once: str | None = None) -> bool:
        self._check()
        return await super().append(request_id, entries, once=once)

    async def read(self, request_id: str, after: str = "0") -> Any:
        self._check()
        return await super().read(request_id, after)


@dataclass
class Bridge:
    """A running bridge and what stands behind it."""

    server: BridgeServer
    queries: MemoryQueryPublisher
    live_view: SwitchedLiveView
    serving: asyncio.Task[None] = field(init=False)

    @property
    def address(self) -> str:
        return self.server.address

    def connect(self, **options: Any) -> connect:
        return connect(f"{self.address.replace('http', 'ws')}/v1/ws", proxy=None, **options)

    async def published(self) -> Published:
        return await asyncio.wait_for(self.queries.published.get(), DEADLINE_S)

    async def measured(self, *samples: str) -> bool:
        async with httpx.AsyncClient(trust_env=False) as http:
            metrics = (await http.get(f"{self.address}/metrics")).text
        return all(f"ragline_bridge_{sample}" in metrics for sample in samples)

    async def show(self, request_id: str, *entries: Entry) -> None:
        await self.live_view.append(request_id, entries)


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Bridge]:
    queries, live_view = MemoryQueryPublisher(), SwitchedLiveView(LiveViewSettings())
    bridge = Bridge(BridgeServer(BridgeSettings(port=0, **settings), queries, live_view), queries, live_view)
    bridge.serving = asyncio.create_task(bridge.server.serve())
    await asyncio.wait_for(bridge.server.ready.wait(), DEADLINE_S)
    try:
        yield bridge
    finally:
        bridge.server.should_exit = True
        await asyncio.wait_for(bridge.serving, DEADLINE_S)


@pytest.fixture
async def bridge() -> AsyncIterator[Bridge]:
    async with running() as started:
        yield started


@pytest.fixture
async def http(bridge: Bridge) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=bridge.address, trust_env=False, timeout=DEADLINE_S) as client:
        yield client


def progress(stage: str) -> Entry:
    return Entry("progress", {"stage": stage, "started_ms": 1, "finished_ms": 2, "attempt": 1})


def delta(sequence: int, text: str = "word", attempt: int = 1) -> Entry:
    return Entry("delta", {"attempt": attempt, "sequence": sequence, "text": text})


def terminal(request_id: str, answer: str = "answer") -> Entry:
    event = Answered(
        request_id=request_id,
        question="q",
        answer=answer,
        finish_reason="stop",
        sources=(),
        model="m",
        usage=Usage(),
    )
    return Entry("terminal", {"type": event.TYPE, "event": event.model_dump(mode="json"), "timeline": []})


async def say(socket: ClientConnection, **message: object) -> None:
    await socket.send(orjson.dumps(message).decode())


async def hear(socket: ClientConnection) -> Any:
    return orjson.loads(await asyncio.wait_for(socket.recv(), DEADLINE_S))


async def hear_until(socket: ClientConnection, kind: str) -> list[Any]:
    heard = [await hear(socket)]
    while heard[-1]["kind"] != kind:
        heard.append(await hear(socket))
    return heard


def texts(messages: Iterable[Any]) -> list[str]:
    return [message["text"] for message in messages if message["kind"] == "delta"]


# --- websocket --------------------------------------------------------------------------------------------


async def test_a_question_is_published_and_followed_to_its_end(bridge: Bridge) -> None:
    async with bridge.connect(additional_headers={"traceparent": TRACEPARENT}) as socket:
        await say(socket, kind="ask", question="Why?", top_k=3)
        accepted = await hear(socket)
        request_id = accepted["request_id"]
        assert accepted == {"kind": "accepted", "request_id": request_id}
        assert request_id[14] == "7"  # a UUIDv7
        published = await bridge.published()
        assert (published.request_id, published.event.question, published.event.top_k) == (request_id, "Why?", 3)
        assert published.traceparent == TRACEPARENT
        await bridge.show(
            request_id, progress("query"), Entry("sources", {"sources": []}), delta(0, "a "), delta(1, "b")
        )
        await bridge.show(request_id, terminal(request_id, "a b"))
        heard = await hear_until(socket, "terminal")
    assert [message["kind"] for message in heard] == ["progress", "progress", "sources", "delta", "delta", "terminal"]
    assert {message["request_id"] for message in heard} == {request_id}
    assert all(message["id"] for message in heard)
    assert [message.get("stage") for message in heard[:2]] == ["bridge", "query"]
    assert heard[-1]["event"]["answer"] == "a b"


async def test_requests_share_a_socket(bridge: Bridge) -> None:
    async with bridge.connect() as socket:
        for name in ("r1", "r2"):
            await say(socket, kind="ask", id=name, question="q")
            await bridge.published()
        for name in ("r2", "r1"):
            await bridge.show(name, delta(0, name), terminal(name))
        heard = await hear_until(socket, "terminal") + await hear_until(socket, "terminal")
    assert {(message["request_id"], message["text"]) for message in heard if message["kind"] == "delta"} == {
        ("r1", "r1"),
        ("r2", "r2"),
    }


async def test_deltas_of_older_attempts_are_dropped(bridge: Bridge) -> None:
    async with bridge.connect() as socket:
        await say(socket, kind="ask", id="r", question="q")
        await bridge.published()
        await bridge.show("r", delta(0, "old"), delta(0, "new", attempt=2), delta(1, "late"), delta(1, "er", attempt=2))
        await bridge.show("r", terminal("r"))
        assert texts(await hear_until(socket, "terminal")) == ["old", "new", "er"]


async def test_resuming_gives_exactly_the_rest(bridge: Bridge) -> None:
    async with bridge.connect() as socket:
        await say(socket, kind="ask", id="r", question="q")
        await bridge.published()
        await bridge.show("r", delta(0, "a", attempt=2), delta(1, "b", attempt=2))
        seen = [await hear(socket) for _ in range(3)]
        assert texts(seen) == ["a"]
    await bridge.show("r", delta(5, "stale"))
    async with bridge.connect() as socket:
        await say(socket, kind="resume", request_id="r", after=seen[-1]["id"])
        assert (await hear(socket))["text"] == "b"
        await bridge.show("r", delta(2, "c", attempt=2), terminal("r"))
        assert texts(await hear_until(socket, "terminal")) == ["c"]


async def test_resuming_after_the_end_gives_the_end_again(bridge: Bridge) -> None:
    await bridge.show("r", delta(0), terminal("r"))
    last = (await bridge.live_view.read("r"))[-1].id
    async with bridge.connect() as socket:
        await say(socket, kind="resume", request_id="r", after=last)
        assert (await hear(socket))["kind"] == "terminal"
        await say(socket, kind="resume", request_id="r")
        assert texts(await hear_until(socket, "terminal")) == ["word"]


async def test_an_unknown_request_cannot_be_resumed(bridge: Bridge) -> None:
    async with bridge.connect() as socket:
        await say(socket, kind="resume", request_id="nobody's")
        problem = await hear(socket)
    assert (problem["kind"], problem["code"], problem["request_id"]) == ("error", "unknown_request", "nobody's")


async def test_what_cannot_be_read_is_answered_and_the_connection_lives(bridge: Bridge) -> None:
    async with bridge.connect() as socket:
        for frame, code in (("{", "invalid_json"), ('{"kind": "cancel"}', "unknown_kind"), (b"{}", "invalid_message")):
            await socket.send(frame)
            assert (await hear(socket))["code"] == code
        await say(socket, kind="ask", question="q")
        assert (await hear(socket))["kind"] == "accepted"


async def test_a_frame_over_the_limit_closes_the_connection() -> None:
    async with running(max_frame_bytes=1_000) as bridge, bridge.connect() as socket:
        await say(socket, kind="ask", question="q" * 2_000)
        with pytest.raises(ConnectionClosed) as closed:
            await hear(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


async def test_kafka_down_is_told_and_the_same_request_may_be_asked_again(bridge: Bridge) -> None:
    bridge.queries.available = False
    async with bridge.connect() as socket:
        await say(socket, kind="ask", id="r", question="q")
        problem = await hear(socket)
        assert (problem["code"], problem["request_id"]) == ("unavailable", "r")
        assert problem["message"].startswith("Kafka does not take questions now")
        bridge.queries.available = True
        await say(socket, kind="ask", id="r", question="q")
        assert (await hear(socket))["kind"] == "accepted"


async def test_the_live_view_down_refuses_no_question(bridge: Bridge) -> None:
    bridge.live_view.available = False
    async with bridge.connect() as socket:
        await say(socket, kind="ask", id="r", question="q")
        assert (await hear(socket))["kind"] == "accepted"
        assert (await bridge.published()).request_id == "r"
        await say(socket, kind="resume", request_id="s")
        problem = await hear_until(socket, "error")
        assert problem[-1]["code"] == "unavailable"


async def test_a_page_of_another_origin_may_not_connect() -> None:
    async with running(allowed_origins=("https://friend.example",)) as bridge:
        async with bridge.connect(origin="https://friend.example"), bridge.connect(origin=bridge.address):
            pass
        with pytest.raises(InvalidStatus) as refused:
            async with bridge.connect(origin="http://evil.example"):
                pass
        assert refused.value.response.status_code == 403


async def test_a_reader_that_reads_nothing_is_closed_and_may_resume() -> None:
    text = "x" * 50_000
    async with running(send_queue=2, send_timeout_ms=200) as bridge:
        async with bridge.connect(max_queue=1, max_size=None, compression=None) as socket:
            await say(socket, kind="ask", id="r", question="q")
            await bridge.published()
            await bridge.show("r", *(delta(number, text) for number in range(400)), terminal("r"))
            await eventually(lambda: bridge.measured("slow_readers_total 1.0"), DEADLINE_S)
            heard: list[Any] = []
            with suppress(ConnectionClosed):
                while True:
                    heard.append(await hear(socket))
            assert socket.close_code == 1013
        async with bridge.connect(max_size=None) as socket:
            await say(socket, kind="resume", request_id="r", after=heard[-1]["id"])
            rest = await hear_until(socket, "terminal")
        sequences = [message["sequence"] for message in heard + rest if message["kind"] == "delta"]
        assert sequences == list(range(400))


async def test_a_client_that_leaves_is_no_longer_followed_and_its_request_goes_on(bridge: Bridge) -> None:
    async with bridge.connect() as socket:
        await say(socket, kind="ask", id="r", question="q")
        await bridge.published()
        await hear_until(socket, "progress")
    await eventually(lambda: bridge.measured("sockets 0.0", "requests_following 0.0"), DEADLINE_S)


async def test_a_signal_closes_sockets_so_that_they_come_back_and_ends_the_server(bridge: Bridge) -> None:
    async with bridge.connect() as socket:
        await say(socket, kind="ask", id="r", question="q")
        await hear_until(socket, "progress")
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            await hear(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
    await asyncio.wait_for(asyncio.shield(bridge.serving), DEADLINE_S)


async def test_a_taken_port_is_refused_with_a_sentence(bridge: Bridge) -> None:
    taken = int(bridge.address.rpartition(":")[2])
    with pytest.raises(OSError, match=rf"cannot listen on 127.0.0.1:{taken}: .*; set bridge.port"):
        BridgeServer(BridgeSettings(port=taken), bridge.queries, bridge.live_view)


# --- HTTP -------------------------------------------------------------------------------------------------


async def test_a_question_by_http_is_published_and_can_be_seen(bridge: Bridge, http: httpx.AsyncClient) -> None:
    response = await http.post("/v1/queries", json={"question": "Why?"}, headers={"traceparent": TRACEPARENT})
    assert response.status_code == 202
    request_id = response.json()["request_id"]
    published = await bridge.published()
    assert (published.request_id, published.event.question) == (request_id, "Why?")
    assert published.traceparent == TRACEPARENT
    assert (await http.get(f"/v1/queries/{request_id}")).json()["state"] == "queued"
    await bridge.show(request_id, progress("query"), delta(0, "so far"))
    seen = (await http.get(f"/v1/queries/{request_id}")).json()
    assert (seen["state"], seen["answer"]) == ("running", "so far")
    await bridge.show(request_id, terminal(request_id, "whole"))
    seen = (await http.get(f"/v1/queries/{request_id}")).json()
    assert (seen["state"], seen["answer"], seen["finish_reason"]) == ("answered", "whole", "stop")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"[]", 422, "invalid_message"),
        (b"{}", 422, "invalid_message"),
        (b'{"question": 1}', 422, "invalid_message"),
        (b'{"question": "q", "id": "a/b"}', 422, "invalid_message"),
        (b"\xff\xfe", 400, "invalid_json"),
        (b"[" * 60_000, 400, "bad_request"),
        (b'{"question": "' + b"q" * 70_000 + b'"}', 413, "too_large"),
    ],
)
async def test_a_body_that_cannot_be_used(http: httpx.AsyncClient, body: bytes, status: int, code: str) -> None:
    response = await http.post("/v1/queries", content=body, headers={"content-type": "application/json"})
    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    assert response.json()["error"]["message"]


async def test_a_body_without_a_length_is_limited_as_it_arrives(http: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"question": "'
        for _ in range(20):
            yield b"q" * 10_000

    response = await http.post("/v1/queries", content=pieces(), headers={"content-type": "application/json"})
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "too_large"


async def test_a_page_elsewhere_cannot_post_a_question(bridge: Bridge, http: httpx.AsyncClient) -> None:
    # What a browser sends across origins without asking first has no JSON content type.
    response = await http.post("/v1/queries", content=b'{"question": "q"}', headers={"content-type": "text/plain"})
    assert response.status_code == 422
    assert "content-type application/json" in response.json()["error"]["message"]
    assert bridge.queries.published.empty()


async def test_what_is_not_there_or_not_allowed(http: httpx.AsyncClient) -> None:
    for method, path, status in (
        ("GET", "/v1/queries/unknown", 404),
        ("GET", f"/v1/queries/{'x' * 129}", 422),
        ("GET", "/docs", 404),
        ("GET", "/../pyproject.toml", 404),
        ("DELETE", "/v1/queries", 405),
    ):
        response = await http.request(method, path)
        assert response.status_code == status
        assert set(response.json()["error"]) == {"code", "message"}


async def test_systems_that_are_down_are_said_to_be(bridge: Bridge, http: httpx.AsyncClient) -> None:
    assert (await http.get("/readyz")).status_code == 200
    bridge.queries.available = False
    response = await http.post("/v1/queries", json={"question": "q"})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")
    assert response.headers["retry-after"]
    assert "Kafka" in (await http.get("/readyz")).json()["reason"]
    bridge.queries.available, bridge.live_view.available = True, False
    assert (await http.get("/v1/queries/r")).status_code == 503
    assert (await http.get("/readyz")).status_code == 503
    assert (await http.get("/livez")).status_code == 200


async def test_the_openapi_document_knows_the_routes(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    assert set(document["paths"]) == {"/v1/queries", "/v1/queries/{request_id}"}
    assert set(document["paths"]["/v1/queries"]["post"]["responses"]) == {"202", "400", "413", "422", "503"}


async def test_the_page_is_served_with_a_strict_policy(http: httpx.AsyncClient) -> None:
    for path, media_type in (("/", "text/html"), ("/app.js", "text/javascript"), ("/style.css", "text/css")):
        response = await http.get(path)
        assert response.status_code == 200
        assert response.headers["content-type"].startswith(media_type)
        assert response.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert response.headers["x-content-type-options"] == "nosniff"
        unchanged = await http.get(path, headers={"if-none-match": response.headers["etag"]})
        assert unchanged.status_code == 304
    page = (await http.get("/")).text
    assert "<style" not in page
    assert "style=" not in page
    assert "onclick" not in page
