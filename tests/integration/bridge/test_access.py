"""Who gets in, over real sockets: keys, tokens, scopes, tenants."""

import base64
import logging
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import orjson
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bridge.access import SUBPROTOCOL
from bridge.errors import OverloadedError, UnauthorizedError
from bridge.settings import AccessSettings, BridgeSettings, JwtSettings
from bridge.tokens import JwtTokens
from tests.fixtures.bridges import Bridge, delta, hear, hear_until, progress, running_bridge, say, terminal
from tests.fixtures.keys import AUDIENCE, ISSUER, HeldKeys, Issuer, bearer
from tests.fixtures.pipeline import eventually

REQUIRED = AccessSettings(required=True)


@pytest.fixture
def keys() -> HeldKeys:
    return HeldKeys()


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path)


@pytest.fixture
def tokens(issuer: Issuer) -> JwtTokens:
    return JwtTokens(JwtSettings(issuer=ISSUER, audience=AUDIENCE, jwks=str(issuer.jwks)))


@pytest.fixture
async def guarded(keys: HeldKeys, tokens: JwtTokens) -> AsyncIterator[Bridge]:
    async with running_bridge(keys=keys, tokens=tokens, access=REQUIRED) as started:
        yield started


async def test_a_key_asks_for_its_tenant_and_no_other(guarded: Bridge, keys: HeldKeys) -> None:
    async with guarded.http(headers=bearer(keys.make("a"))) as http:
        assert (await http.post("/v1/queries", json={"question": "q"})).status_code == 202
        published = await guarded.published()
        assert (published.tenant, published.event.tenant_id, getattr(published.event, "tenant", None)) == (
            "a",
            None,
            "a",
        )
        response = await http.post("/v1/queries", json={"question": "q", "tenant": "b"})
        assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")
    assert guarded.publisher.published.empty()


@pytest.mark.parametrize("credential", ["x", "rl_0_0", "rl_" + "x" * 9_000, "é", "a.b.c", "null"])
async def test_who_is_not_known_does_not_get_in(guarded: Bridge, credential: str) -> None:
    headers = {"Authorization": f"Bearer {credential}".encode()}
    async with guarded.http(headers=headers) as http:  # type: ignore[arg-type]
        for method, path in (
            ("POST", "/v1/queries"),
            ("GET", "/v1/queries/r"),
            ("DELETE", "/v1/queries/r"),
            ("GET", "/v1/queries/r/events"),
            ("GET", "/metrics"),
        ):
            response = await http.request(method, path)
            assert (response.status_code, response.json()["error"]["code"]) == (401, "unauthorized"), path
            assert response.headers["www-authenticate"].startswith("Bearer")
            assert credential not in response.text
    with pytest.raises(InvalidStatus) as refused:
        async with guarded.connect():
            pass
    assert refused.value.response.status_code == 401
    assert orjson.loads(refused.value.response.body)["error"]["code"] == "unauthorized"


async def test_a_refused_websocket_is_no_error_of_the_bridge(guarded: Bridge, caplog: pytest.LogCaptureFixture) -> None:
    # Whatever level an earlier test has left behind.
    caplog.set_level(logging.WARNING)
    with pytest.raises(InvalidStatus):
        async with guarded.connect():
            pass
    await eventually(lambda: not guarded.server.server_state.connections)
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]


async def test_scopes_are_held(guarded: Bridge, keys: HeldKeys) -> None:
    for scopes, ask, metrics in ((("ask",), 202, 403), (("ingest",), 403, 403), (("admin",), 202, 200)):
        async with guarded.http(headers=bearer(keys.make("a", *scopes))) as http:
            assert (await http.post("/v1/queries", json={"question": "q"})).status_code == ask
            assert (await http.get("/metrics")).status_code == metrics
    with pytest.raises(InvalidStatus) as refused:
        async with guarded.connect(additional_headers=bearer(keys.make("a", "ingest"))):
            pass
    assert refused.value.response.status_code == 403


async def test_a_browser_presents_its_key_as_a_subprotocol(guarded: Bridge, keys: HeldKeys) -> None:
    offered = [SUBPROTOCOL, f"ragline.bearer.{keys.make('a')}"]
    async with guarded.connect(subprotocols=offered) as socket:
        # The credential is not said again.
        assert socket.subprotocol == SUBPROTOCOL
        await say(socket, kind="ask", question="q")
        assert (await hear(socket))["kind"] == "accepted"
        assert (await guarded.published()).tenant == "a"


async def test_a_request_of_another_tenant_is_not_found(guarded: Bridge, keys: HeldKeys) -> None:
    await guarded.show("r", delta(0, "secret"), terminal("r", "secret"), tenant="a")
    async with guarded.http(headers=bearer(keys.make("b"))) as http:
        for method, path in (
            ("GET", "/v1/queries/r"),
            ("GET", "/v1/queries/r/events"),
            ("DELETE", "/v1/queries/r"),
        ):
            response = await http.request(method, path)
            assert response.status_code == 404, path
            assert "secret" not in response.text
        # Asking with its ID gives a request of one's own.
        assert (await http.post("/v1/queries", json={"question": "q", "id": "r"})).status_code == 202
        assert (await http.get("/v1/queries/r")).json()["state"] == "queued"
    async with guarded.connect(additional_headers=bearer(keys.make("c"))) as socket:
        for kind in ("resume", "cancel"):
            await say(socket, kind=kind, request_id="r")
            assert (await hear(socket))["code"] == "unknown_request"
    async with guarded.http(headers=bearer(keys.make("a"))) as http:
        assert (await http.get("/v1/queries/r")).json()["answer"] == "secret"


async def test_a_request_of_another_tenant_is_not_cancelled_by_asking_with_its_id(
    guarded: Bridge, keys: HeldKeys
) -> None:
    async with guarded.http(headers=bearer(keys.make("b"))) as http:
        assert (await http.post("/v1/queries", json={"question": "q", "id": "r"})).status_code == 202
        await guarded.published()
        refused = await http.delete("/v1/queries/r")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
        assert refused.headers["retry-after"]
        assert guarded.publisher.published.empty()
        # What the stages say of it is shown in the stream of whose it is.
        await guarded.show("r", progress("query"), tenant="b")
        assert (await http.delete("/v1/queries/r")).status_code == 202
        assert (await guarded.published()).key == "r"
        # What the bridge has named itself is nobody else's.
        mine = (await http.post("/v1/queries", json={"question": "q"})).json()["request_id"]
        assert (await http.delete(f"/v1/queries/{mine}")).status_code == 202
    async with guarded.connect(additional_headers=bearer(keys.make("b"))) as socket:
        await say(socket, kind="ask", question="q")
        mine = (await hear(socket))["request_id"]
        await hear_until(socket, "progress")
        await say(socket, kind="cancel", request_id=mine)
        assert (await hear(socket))["kind"] == "cancelling"


async def test_revoking_a_key_ends_what_it_opened(guarded: Bridge, keys: HeldKeys) -> None:
    key = keys.make("a")
    await guarded.show("r", delta(0), tenant="a")
    async with (
        guarded.http(headers=bearer(key)) as http,
        guarded.connect(additional_headers=bearer(key)) as socket,
        http.stream("GET", "/v1/queries/r/events") as stream,
    ):
        lines = stream.aiter_lines()
        assert await anext(lines) == "event: delta"
        await say(socket, kind="resume", request_id="r")
        await hear_until(socket, "delta")
        keys.revoke(key)
        with pytest.raises(ConnectionClosed) as closed:
            await hear(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4401
        assert [line async for line in lines][-2].startswith("retry:")
        assert (await http.get("/v1/queries/r")).status_code == 401


async def test_a_key_ends_with_its_time(guarded: Bridge, keys: HeldKeys) -> None:
    key = keys.make("a", valid_until=datetime.now(UTC) + timedelta(seconds=1))
    async with guarded.connect(additional_headers=bearer(key)) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await hear(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4401


async def test_keys_that_have_not_been_read_let_nobody_in_and_say_so(keys: HeldKeys) -> None:
    keys.ready.clear()
    async with (
        running_bridge(keys=keys, access=REQUIRED) as bridge,
        bridge.http(headers=bearer(keys.make("a"))) as http,
    ):
        response = await http.get("/v1/queries/r")
        assert (response.status_code, response.headers["retry-after"]) == (503, "2")
        assert (await http.get("/readyz")).status_code == 503
        keys.ready.set()
        assert (await http.get("/v1/queries/r")).status_code == 404
        assert (await http.get("/readyz")).status_code == 200


async def test_a_token_asks_for_the_tenant_it_names(guarded: Bridge, issuer: Issuer) -> None:
    async with guarded.http(headers=bearer(issuer.token())) as http:
        assert (await http.post("/v1/queries", json={"question": "q"})).status_code == 202
    assert (await guarded.published()).tenant == "a"


def forged(issuer: Issuer, algorithm: str) -> str:
    """A token whose own header says how to check it, signed with what everybody knows."""
    header, payload, _ = issuer.token().split(".")
    head = orjson.loads(base64.urlsafe_b64decode(header + "==")) | {"alg": algorithm}
    head_text = base64.urlsafe_b64encode(orjson.dumps(head)).rstrip(b"=").decode()
    if algorithm == "none":
        return f"{head_text}.{payload}."
    claims = orjson.loads(base64.urlsafe_b64decode(payload + "=="))
    return jwt.encode(claims, issuer.jwks.read_bytes() * 2, algorithm, headers={"kid": issuer.key_id})


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": time.time() - 60},
        {"exp": None},
        {"exp": "soon"},
        {"exp": float("inf")},
        {"iss": "https://other.example"},
        {"aud": "other"},
        {"aud": None},
        {"nbf": time.time() + 86_400},
        {"tenant": None},
        {"tenant": "a/b"},
        {"tenant": 7},
        {"tenant": ""},
        {"headers": {"kid": "unknown"}},
        {"headers": {"kid": "../../etc/passwd"}},
    ],
)
async def test_a_token_that_is_not_right_is_refused(issuer: Issuer, tokens: JwtTokens, claims: dict[str, Any]) -> None:
    with pytest.raises(UnauthorizedError):
        await tokens.principal(issuer.token(**claims))


async def test_a_forged_token_is_refused(issuer: Issuer, tokens: JwtTokens) -> None:
    other = Issuer(issuer.jwks.parent / "..")
    stolen = issuer.token()
    for token in (forged(issuer, "none"), forged(issuer, "HS256"), other.token(), stolen[:-4] + "AAAA", "..", "a.b.c"):
        with pytest.raises(UnauthorizedError):
            await tokens.principal(token)
    assert (await tokens.principal(stolen)).name == "token ana"


async def test_an_issuer_that_changes_its_key_is_asked_again(
    issuer: Issuer, tokens: JwtTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tokens.principal(issuer.token())
    issuer.rotate("second")
    with pytest.raises(UnauthorizedError):
        await tokens.principal(issuer.token())
    monkeypatch.setattr("bridge.tokens._LEAST_REFRESH_S", 0.0)
    assert (await tokens.principal(issuer.token())).tenant == "a"


async def test_an_issuer_that_cannot_be_asked_is_no_fault_of_the_token(issuer: Issuer, tokens: JwtTokens) -> None:
    issuer.jwks.unlink()
    with pytest.raises(OverloadedError):
        await tokens.principal(issuer.token())


async def test_scopes_of_a_token(issuer: Issuer, tokens: JwtTokens) -> None:
    for claims, scopes in (
        ({"scope": "ask ingest other"}, {"ask", "ingest"}),
        ({"scope": None, "scp": ["admin", 7]}, {"admin"}),
        ({"scope": None}, set()),
        ({"scope": {"ask": 1}}, set()),
    ):
        assert (await tokens.principal(issuer.token(**claims))).scopes == scopes


def test_settings_that_would_let_anybody_in_are_refused() -> None:
    with pytest.raises(ValueError, match=r"anybody could ask at 0\.0\.0\.0"):
        BridgeSettings(host="0.0.0.0")  # noqa: S104 - the point
    with pytest.raises(ValueError, match=r"jwt\.issuer needs"):
        JwtSettings(issuer="x")
    with pytest.raises(ValueError, match="a file or an https address"):
        JwtSettings(issuer="x", audience="y", jwks="http://issuer.example/keys")
    for settings in ({"access": REQUIRED}, {"access": AccessSettings(open_beyond_loopback=True)}):
        assert BridgeSettings(host="0.0.0.0", **settings).host  # type: ignore[arg-type]  # noqa: S104
    for host in ("127.0.0.1", "localhost", "::1", "127.1.2.3"):
        assert BridgeSettings(host=host).host
