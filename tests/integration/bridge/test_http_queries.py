"""Questions over HTTP: events, cancellation, limits, overload, browsers from elsewhere."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest

from backends.live_view import stream_of
from bridge.answers import asked_ms
from bridge.publisher import MemoryPublisher
from bridge.settings import LimitSettings
from schemas.events import CancellationRequested
from tests.fixtures.bridges import (
    DEADLINE_S,
    Bridge,
    answered,
    delta,
    hear,
    hear_until,
    progress,
    running_bridge,
    say,
    terminal,
)
from tests.fixtures.pipeline import eventually


async def events(response: httpx.Response) -> AsyncIterator[tuple[str, str, Any]]:
    """Name, ID and body of each event."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield fields["event"], fields.get("id", ""), orjson.loads(fields["data"])
            fields = {}


@asynccontextmanager
async def following(http: httpx.AsyncClient, request_id: str, **options: Any) -> AsyncIterator[Any]:
    async with http.stream("GET", f"/v1/queries/{request_id}/events", **options) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield events(response)


async def test_events_come_as_they_happen_and_end_with_the_request(bridge: Bridge, http: httpx.AsyncClient) -> None:
    request_id = (await http.post("/v1/queries", json={"question": "q"})).json()["request_id"]
    async with following(http, request_id) as coming:
        assert (await anext(coming))[0] == "progress"
        await bridge.show(request_id, delta(0, "a\nb "))
        name, entry_id, body = await anext(coming)
        assert (name, body["text"], body["id"]) == ("delta", "a\nb ", entry_id)
        await bridge.show(request_id, delta(1, "c"), terminal(request_id, "a\nb c"))
        rest = [event async for event in coming]
    assert [name for name, _, _ in rest] == ["delta", "terminal"]


async def test_a_client_that_comes_again_gets_the_rest_and_then_nothing(
    bridge: Bridge, http: httpx.AsyncClient
) -> None:
    await bridge.show("r", delta(0, "a"), delta(1, "b"), terminal("r", "ab"))
    async with following(http, "r") as coming:
        seen = [event async for event in coming]
    headers = {"Last-Event-ID": seen[0][1]}
    async with following(http, "r", headers=headers) as coming:
        assert [event async for event in coming] == seen[1:]
    async with following(http, "r", params={"after": seen[1][1]}) as coming:
        assert [event async for event in coming] == seen[2:]
    again = await http.get("/v1/queries/r/events", headers={"Last-Event-ID": seen[-1][1]})
    assert again.status_code == 204
    for wrong in ("x", "1-2-3", "-1"):
        assert (await http.get("/v1/queries/r/events", headers={"Last-Event-ID": wrong})).status_code == 422


async def test_a_bridge_that_stops_ends_streams_so_that_they_come_again(
    bridge: Bridge, http: httpx.AsyncClient
) -> None:
    await bridge.show("r", progress("query"))
    async with http.stream("GET", "/v1/queries/r/events") as response:
        lines = response.aiter_lines()
        assert await anext(lines) == "event: progress"
        bridge.core.draining.set()
        rest = [line async for line in lines]
    assert "retry: 1000" in rest
    refused = await http.post("/v1/queries", json={"question": "q"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
    assert (await http.get("/readyz")).status_code == 503


async def test_cancelling_goes_to_kafka_once_the_request_is_known(bridge: Bridge, http: httpx.AsyncClient) -> None:
    assert (await http.delete("/v1/queries/r")).status_code == 404
    await bridge.show("r", progress("query"))
    assert (await http.delete("/v1/queries/r")).json() == {"request_id": "r"}
    published = await bridge.published()
    assert (published.key, published.event) == ("r", CancellationRequested(request_id="r"))
    await bridge.show("r", terminal("r"))
    assert (await http.delete("/v1/queries/r")).status_code == 202
    assert bridge.publisher.published.empty()


async def test_a_request_can_be_cancelled_over_the_socket_that_follows_it(bridge: Bridge) -> None:
    async with bridge.connect() as socket:
        await say(socket, kind="ask", id="r", question="q")
        await hear_until(socket, "progress")
        await say(socket, kind="cancel", request_id="r", reason="enough")
        assert await hear(socket) == {"kind": "cancelling", "request_id": "r"}
        await bridge.published()
        assert (await bridge.published()).event == CancellationRequested(request_id="r", reason="enough")
        # It is followed as before.
        await bridge.show("r", terminal("r"))
        assert (await hear(socket))["kind"] == "terminal"


async def test_after_the_view_has_expired_the_terminal_event_is_found() -> None:
    endings = {("default", "r"): (answered("r", "old"), ())}
    async with running_bridge(endings=endings) as bridge, bridge.http() as http:
        assert (await http.get("/v1/queries/r")).json()["answer"] == "old"
        async with following(http, "r") as coming:
            assert [name async for name, _, _ in coming] == ["terminal"]
        async with bridge.connect() as socket:
            await say(socket, kind="resume", request_id="r")
            assert (await hear(socket))["event"]["answer"] == "old"


@pytest.mark.parametrize(
    ("request_id", "moment"),
    [
        ("019aa6f2-52a1-7d10-9c5e-3f0a6b1c2d3e", 0x019AA6F252A1),
        ("00000000-0000-7000-8000-000000000000", 0),
        ("019aa6f2-52a1-4d10-9c5e-3f0a6b1c2d3e", None),
        ("019aa6f252a17d109c5e3f0a6b1c2d3e", None),
        ("{019aa6f2-52a1-7d10-9c5e-3f0a6b1c2d3e}", None),
        ("order 7", None),
        ("", None),
    ],
)
def test_a_request_id_may_say_when_it_was_asked(request_id: str, moment: int | None) -> None:
    assert asked_ms(request_id) == moment


async def test_an_idempotency_key_asks_once(bridge: Bridge, http: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k"}
    first = await http.post("/v1/queries", json={"question": "q"}, headers=headers)
    again = await http.post("/v1/queries", json={"question": "q"}, headers=headers)
    assert first.json() == again.json()
    await bridge.published()
    assert bridge.publisher.published.empty()
    other = await http.post("/v1/queries", json={"question": "other"}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    for wrong in ("", "x" * 256):
        assert (
            await http.post("/v1/queries", json={"question": "q"}, headers={"Idempotency-Key": wrong})
        ).status_code == 422


async def test_a_question_that_kafka_did_not_take_is_asked_again_with_its_key(
    bridge: Bridge, http: httpx.AsyncClient
) -> None:
    headers = {"Idempotency-Key": "k"}
    bridge.publisher.available = False
    assert (await http.post("/v1/queries", json={"question": "q"}, headers=headers)).status_code == 503
    bridge.publisher.available = True
    response = await http.post("/v1/queries", json={"question": "q"}, headers=headers)
    assert response.status_code == 202
    assert (await bridge.published()).key == response.json()["request_id"]


async def test_a_tenant_that_asks_too_much_is_told_when_to_come_back() -> None:
    limits = LimitSettings(asks_per_minute=5, concurrent=3, calls_per_minute=4)
    async with running_bridge(limits=limits) as bridge, bridge.http() as http, bridge.connect() as socket:
        for number in range(3):
            assert (await http.post("/v1/queries", json={"question": "q", "id": f"r{number}"})).status_code == 202
        full = await http.post("/v1/queries", json={"question": "q"})
        assert (full.status_code, full.json()["error"]["code"]) == (429, "too_many_requests")
        await bridge.show("r0", terminal("r0"))
        bridge.core._limits._look_again_s.clear()
        await say(socket, kind="ask", question="q", id="r3")
        assert (await hear(socket))["kind"] == "accepted"
        limited = await http.post("/v1/queries", json={"question": "q"})
        assert (limited.status_code, limited.json()["error"]["code"]) == (429, "rate_limited")
        assert 0 < int(limited.headers["retry-after"]) <= 61
        await say(socket, kind="ask", question="q", id="r4")
        problem = (await hear_until(socket, "error"))[-1]
        assert (problem["code"], problem["request_id"]) == ("rate_limited", "r4")
        assert problem["retry_after_s"] > 0
        calls = [(await http.get("/v1/queries/r0")).status_code for _ in range(6)]
        assert calls == [200] * 4 + [429] * 2


async def test_a_request_that_is_followed_makes_room_when_it_ends() -> None:
    async with running_bridge(limits=LimitSettings(concurrent=1)) as bridge, bridge.connect() as socket:
        for name in ("a", "b", "c"):
            await say(socket, kind="ask", question="q", id=name)
            assert (await hear(socket))["kind"] == "accepted"
            await bridge.show(name, terminal(name))
            await hear_until(socket, "terminal")


async def test_more_than_all_tenants_may_have_is_overload() -> None:
    async with running_bridge(limits=LimitSettings(total=1)) as bridge, bridge.http() as http:
        assert (await http.post("/v1/queries", json={"question": "q"})).status_code == 202
        response = await http.post("/v1/queries", json={"question": "q"})
        assert (response.status_code, response.json()["error"]["code"]) == (503, "overloaded")
        assert response.headers["retry-after"]


class SlowPublisher(MemoryPublisher):
    """Takes questions once it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    async def publish(self, key: str, event: Any, **options: Any) -> None:
        await self.go.wait()
        await super().publish(key, event, **options)


async def test_a_question_that_would_wait_for_kafka_behind_too_many_is_refused() -> None:
    async with running_bridge(max_publishing=2) as bridge, bridge.http() as http:
        bridge.core.publisher = slow = SlowPublisher()
        waiting = [asyncio.create_task(http.post("/v1/queries", json={"question": "q"})) for _ in range(2)]
        await eventually(lambda: bridge.core._publishing == 2, DEADLINE_S)
        refused = await http.post("/v1/queries", json={"question": "q"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        slow.go.set()
        assert {(await task).status_code for task in waiting} == {202}


async def test_sockets_and_streams_are_bounded() -> None:
    async with running_bridge(max_sockets=1, max_streams=1) as bridge, bridge.http() as http:
        await bridge.show("r", progress("query"))
        async with bridge.connect(), following(http, "r") as coming:
            await anext(coming)
            refused = await http.get("/v1/queries/r/events")
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
            upgrade = {
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "x" * 22 + "==",
            }
            assert (await http.get("/v1/ws", headers=upgrade)).status_code == 503
        await eventually(lambda: bridge.core.streams == 0, DEADLINE_S)


async def test_a_live_view_that_is_down_stops_counting_and_no_question(bridge: Bridge, http: httpx.AsyncClient) -> None:
    bridge.live_view.available = False
    assert (await http.post("/v1/queries", json={"question": "q"})).status_code == 202
    assert (await http.get("/v1/queries/r/events")).status_code == 503
    health = await http.get("/healthz")
    assert health.status_code == 503
    assert health.json()["parts"]["live_view"] == {"ok": False, "reason": "Redis does not answer."}
    assert health.json()["parts"]["kafka"]["ok"]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil.example:80"])
async def test_a_name_that_was_made_to_point_here_is_refused(http: httpx.AsyncClient, host: str) -> None:
    response = await http.get("/", headers={"Host": host})
    assert response.status_code in {400, 421}


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8080", "rag.example"])
async def test_names_of_the_bridge_are_taken(host: str) -> None:
    async with running_bridge(allowed_hosts=("rag.example",)) as bridge, bridge.http() as http:
        assert (await http.get("/livez", headers={"Host": host})).status_code == 200


async def test_pages_from_elsewhere_change_nothing_and_those_allowed_may() -> None:
    async with running_bridge(allowed_origins=("https://friend.example",)) as bridge, bridge.http() as http:
        for origin, status in (("https://evil.example", 403), ("null", 403), ("https://friend.example", 202)):
            response = await http.post("/v1/queries", json={"question": "q"}, headers={"Origin": origin})
            assert response.status_code == status
        allowed = response.headers["access-control-allow-origin"]
        assert allowed == "https://friend.example"
        preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        for origin, status in (("https://evil.example", 400), ("https://friend.example", 200)):
            assert (await http.options("/v1/queries", headers=preflight | {"Origin": origin})).status_code == status


async def test_an_idle_socket_is_closed_and_one_that_follows_is_not() -> None:
    async with running_bridge(idle_timeout_s=1) as bridge, bridge.connect() as busy, bridge.connect() as idle:
        await say(busy, kind="ask", id="r", question="q")
        await hear_until(busy, "progress")
        await asyncio.wait_for(idle.wait_closed(), DEADLINE_S)
        assert idle.close_code == 4408
        await bridge.show("r", terminal("r"))
        assert (await hear(busy))["kind"] == "terminal"


async def test_a_client_that_says_nothing_sensible_is_closed() -> None:
    async with running_bridge(max_unreadable=10) as bridge, bridge.connect() as socket:
        for _ in range(12):
            await socket.send("{")
        await asyncio.wait_for(socket.wait_closed(), DEADLINE_S)
        assert socket.close_code == 4429


async def test_a_connection_on_which_no_request_comes_is_cut() -> None:
    async with running_bridge(receive_timeout_ms=300) as bridge:
        host, port = bridge.address.removeprefix("http://").split(":")
        for start in (b"", b"GET /livez HT", b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: "):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(start)
            assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b""
            writer.close()
            await writer.wait_closed()
        reader, writer = await asyncio.open_connection(host, int(port))
        head = "POST /v1/queries HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9"
        writer.write(f"{head}\r\n\r\n{{".encode())
        assert b" 408 " in await asyncio.wait_for(reader.readline(), DEADLINE_S)
        writer.close()
        await writer.wait_closed()


async def test_tenants_have_streams_of_their_own() -> None:
    assert stream_of("a", "b/c") != stream_of("a/b", "c")
