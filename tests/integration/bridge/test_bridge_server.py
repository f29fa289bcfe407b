"""The bridge over real sockets, with its twins behind it."""

import asyncio
import dataclasses
import os
import signal
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from backends.live_view import Entry
from bridge.access import Principal
from bridge.middleware import CONTENT_SECURITY_POLICY
from bridge.server import BridgeServer
from bridge.settings import BridgeSettings
from tests.fixtures.bridges import (
    DEADLINE_S,
    Bridge,
    delta,
    hear,
    hear_until,
    progress,
    running_bridge,
    say,
    terminal,
)
from tests.fixtures.pipeline import eventually

PRINCIPAL = Principal("default", frozenset({"ask"}), "test")
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


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
        assert (published.key, published.event.question, published.event.top_k) == (request_id, "Why?", 3)
        assert published.traceparent == TRACEPARENT
        await bridge.show(request_id, progress("query"), Entry("sources", {"sources": []}), delta(0, "a "))
        await bridge.show(request_id, delta(1, "b"), terminal(request_id, "a b"))
        heard = await hear_until(socket, "terminal")
    kinds = [message["kind"] for message in heard]
    assert [kind for kind in kinds if kind != "delta"] == ["progress", "progress", "sources", "terminal"]
    assert "".join(texts(heard)) == "a b"
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
        deltas = [message for message in await hear_until(socket, "terminal") if message["kind"] == "delta"]
    shown = {attempt: "".join(texts(d for d in deltas if d["attempt"] == attempt)) for attempt in (1, 2)}
    assert shown == {1: "old", 2: "newer"}


async def test_resuming_gives_exactly_the_rest(bridge: Bridge) -> None:
    async with bridge.connect() as socket:
        await say(socket, kind="ask", id="r", question="q")
        await bridge.published()
        await bridge.show("r", delta(0, "a", attempt=2))
        seen = [await hear(socket) for _ in range(3)]
        assert texts(seen) == ["a"]
        await bridge.show("r", delta(1, "b", attempt=2))
    await bridge.show("r", delta(5, "stale"))
    async with bridge.connect() as socket:
        await say(socket, kind="resume", request_id="r", after=seen[-1]["id"])
        assert (await hear(socket))["text"] == "b"
        await bridge.show("r", delta(2, "c", attempt=2), terminal("r"))
        assert texts(await hear_until(socket, "terminal")) == ["c"]


async def test_resuming_after_the_end_gives_the_end_again(bridge: Bridge) -> None:
    await bridge.show("r", delta(0), terminal("r"))
    last = (await bridge.core.history(PRINCIPAL, "r"))[-1].id
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
        for frame, code in (("{", "invalid_json"), ('{"kind": "sing"}', "unknown_kind"), (b"{}", "invalid_message")):
            await socket.send(frame)
            assert (await hear(socket))["code"] == code
        await say(socket, kind="ask", question="q")
        assert (await hear(socket))["kind"] == "accepted"


async def test_a_frame_over_the_limit_closes_the_connection() -> None:
    async with running_bridge(max_frame_bytes=1_000) as bridge, bridge.connect() as socket:
        await say(socket, kind="ask", question="q" * 2_000)
        with pytest.raises(ConnectionClosed) as closed:
            await hear(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


async def test_kafka_down_is_told_and_the_same_request_may_be_asked_again(bridge: Bridge) -> None:
    bridge.publisher.available = False
    async with bridge.connect() as socket:
        await say(socket, kind="ask", id="r", question="q")
        problem = await hear(socket)
        assert (problem["code"], problem["request_id"]) == ("unavailable", "r")
        assert problem["message"].startswith("Kafka does not take questions now")
        bridge.publisher.available = True
        await say(socket, kind="ask", id="r", question="q")
        assert (await hear(socket))["kind"] == "accepted"


async def test_the_live_view_down_refuses_no_question(bridge: Bridge) -> None:
    bridge.live_view.available = False
    async with bridge.connect() as socket:
        await say(socket, kind="ask", id="r", question="q")
        assert (await hear(socket))["kind"] == "accepted"
        assert (await bridge.published()).key == "r"
        await say(socket, kind="resume", request_id="s")
        problem = await hear_until(socket, "error")
        assert problem[-1]["code"] == "unavailable"


async def test_a_page_of_another_origin_may_not_connect() -> None:
    async with running_bridge(allowed_origins=("https://friend.example",)) as bridge:
        async with bridge.connect(origin="https://friend.example"), bridge.connect(origin=bridge.address):
            pass
        with pytest.raises(InvalidStatus) as refused:
            async with bridge.connect(origin="http://evil.example"):
                pass
        assert refused.value.response.status_code == 403


async def test_a_reader_that_reads_nothing_is_closed_and_may_resume() -> None:
    text = "x" * 50_000
    async with running_bridge(send_queue=2, send_timeout_ms=200) as bridge:
        async with bridge.connect(max_queue=1, max_size=None, compression=None) as socket:
            await say(socket, kind="ask", id="r", question="q")
            await bridge.published()
            await bridge.show("r", *(delta(number, text) for number in range(400)), terminal("r"))
            await eventually(lambda: bridge.measured('sockets_closed_total{code="1013"} 1.0'), DEADLINE_S)
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
        BridgeServer(dataclasses.replace(bridge.core, settings=BridgeSettings(port=taken)))


# --- HTTP -------------------------------------------------------------------------------------------------


async def test_a_question_by_http_is_published_and_can_be_seen(bridge: Bridge, http: httpx.AsyncClient) -> None:
    response = await http.post("/v1/queries", json={"question": "Why?"}, headers={"traceparent": TRACEPARENT})
    assert response.status_code == 202
    request_id = response.json()["request_id"]
    published = await bridge.published()
    assert (published.key, published.event.question) == (request_id, "Why?")
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
    assert bridge.publisher.published.empty()


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
    bridge.publisher.available = False
    response = await http.post("/v1/queries", json={"question": "q"})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")
    assert response.headers["retry-after"]
    assert "Kafka" in (await http.get("/readyz")).json()["reason"]
    bridge.publisher.available, bridge.live_view.available = True, False
    assert (await http.get("/v1/queries/r")).status_code == 503
    assert (await http.get("/readyz")).status_code == 503
    assert (await http.get("/livez")).status_code == 200


async def test_the_openapi_document_knows_the_routes(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    assert {path for path in document["paths"] if path.startswith("/v1/queries")} == {
        "/v1/queries",
        "/v1/queries/{request_id}",
        "/v1/queries/{request_id}/events",
    }
    assert {"202", "400", "401", "403", "413", "422", "429", "503"} <= set(
        document["paths"]["/v1/queries"]["post"]["responses"]
    )


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
