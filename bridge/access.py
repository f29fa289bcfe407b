"""Who gets in, and as whom: API keys, tokens, or, on loopback only, everybody."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Protocol

from fastapi import Depends, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import HTTPConnection

from bridge.errors import ForbiddenError, OverloadedError, UnauthorizedError
from bridge.keys import SCOPES, KeyRing, Scope, looks_like_key

# Websockets of browsers carry no headers of their own: the credential comes as a subprotocol beside this one.
SUBPROTOCOL = "ragline.v1"
SUBPROTOCOL_CREDENTIAL = "ragline.bearer."

_MAX_CREDENTIAL_CHARS = 8_192
_NEVER_S = 10 * 365 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. ``name`` is for logs: the key's ID or the token's subject, never the credential.

    ``key_id`` is set for an API key; ``expires_s`` is Unix time, for what is valid for a time only.
    """

    tenant: str
    scopes: frozenset[Scope]
    name: str
    key_id: str | None = None
    expires_s: float | None = None

    def may(self, scope: Scope) -> bool:
        """Whether the scope is given; ``admin`` has them all."""
        return scope in self.scopes or "admin" in self.scopes


class Tokens(Protocol):
    """Tells who a token speaks for."""

    async def principal(self, token: str) -> Principal:
        """Raises ``UnauthorizedError``: the token is not valid; ``OverloadedError``: its keys cannot be had now."""
        ...


class Keys(Protocol):
    """The keys as they are known here; ``ready`` is set once all have been read."""

    ring: KeyRing
    ready: asyncio.Event


class Access:
    """Turns credentials into principals.

    ``keys`` None is the local mode: everybody is the ``open_tenant`` with every scope, whatever they present.
    """

    def __init__(self, keys: Keys | None, tokens: Tokens | None, open_tenant: str) -> None:
        self._keys = keys
        self._tokens = tokens
        self._open = Principal(open_tenant, frozenset(SCOPES), "local") if keys is None else None

    @property
    def is_open(self) -> bool:
        """Whether everybody gets in."""
        return self._open is not None

    @property
    def is_ready(self) -> bool:
        """Whether everybody who may get in does."""
        return self._keys is None or self._keys.ready.is_set()

    async def principal(self, credential: str | None, scope: Scope) -> Principal:
        """Who presents ``credential``, for something that needs ``scope``.

        Raises:
            UnauthorizedError: nobody known, or no longer.
            ForbiddenError: the scope is missing.
            OverloadedError: the keys are not known yet.
        """
        principal = self._open or await self._known(credential)
        if not principal.may(scope):
            raise ForbiddenError(f"This credential does not have the scope {scope}.")
        return principal

    @contextlib.contextmanager
    def watching(self, principal: Principal, on_end: Callable[[], None]) -> Iterator[None]:
        """Call ``on_end`` when the principal's key is revoked or its time is over, as long as the block runs."""
        with contextlib.ExitStack() as stack:
            if principal.key_id is not None and self._keys is not None:
                stack.callback(self._keys.ring.watch(principal.key_id, on_end))
            if principal.expires_s is not None:
                left_s = min(max(principal.expires_s - time.time(), 0), _NEVER_S)
                stack.callback(asyncio.get_running_loop().call_later(left_s, on_end).cancel)
            yield

    async def _known(self, credential: str | None) -> Principal:
        if not credential:
            raise UnauthorizedError("Send an API key or a token: Authorization: Bearer …")
        if len(credential) > _MAX_CREDENTIAL_CHARS:
            raise UnauthorizedError("The credential is too long.")
        if looks_like_key(credential):
            return self._by_key(credential)
        if self._tokens is None:
            raise UnauthorizedError("The credential is not valid.")
        return await self._tokens.principal(credential)

    def _by_key(self, credential: str) -> Principal:
        if self._keys is None or not self._keys.ready.is_set():
            raise OverloadedError("The API keys are not known here yet; try again in a moment.", retry_after_s=2)
        key = self._keys.ring.find(credential, datetime.now(UTC))
        if key is None:
            raise UnauthorizedError("The API key is not valid, or no longer.")
        expires_s = key.valid_until.timestamp() if key.valid_until else None
        scopes = frozenset(scope for scope in SCOPES if scope in key.scopes)
        return Principal(key.tenant, scopes, key.key_id, key.key_id, expires_s)


def require(scope: Scope) -> Callable[..., object]:
    """A FastAPI dependency that gives the ``Principal``, or refuses who lacks ``scope``."""

    async def principal(
        connection: HTTPConnection,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    ) -> Principal:
        access: Access = connection.app.state.core.access
        return await access.principal(bearer.credentials if bearer else None, scope)

    return principal


_BEARER = HTTPBearer(
    auto_error=False, scheme_name="bearer", description="An API key (`ragline keys create`) or a JWT of your issuer."
)

Asker = Annotated[Principal, Depends(require("ask"))]
Ingester = Annotated[Principal, Depends(require("ingest"))]
Admin = Annotated[Principal, Depends(require("admin"))]


def websocket_credential(connection: HTTPConnection) -> str | None:
    """What a websocket's handshake presents: an ``Authorization`` header, or a subprotocol that carries it."""
    scheme, _, credential = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credential:
        return credential.strip()
    offered: list[str] = connection.scope.get("subprotocols", [])
    carrying = (name for name in offered if name.startswith(SUBPROTOCOL_CREDENTIAL))
    return next((name.removeprefix(SUBPROTOCOL_CREDENTIAL) for name in carrying), None)
