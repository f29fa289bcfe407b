"""JSON Web Tokens of an issuer that the operator trusts.

Sources: RFC 7519 (claims), RFC 8725 (what to check: the algorithm is ours to choose, never the token's).
"""

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import jwt
import orjson
import structlog

from bridge.access import Principal
from bridge.errors import OverloadedError, UnauthorizedError
from bridge.keys import SCOPES, TENANT
from bridge.settings import JwtSettings

# Signatures with a public key only: with a shared secret whoever can check could also sign.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
# An unknown key ID may be a new key of the issuer's, or somebody's invention.
_LEAST_REFRESH_S = 10.0
_MAX_JWKS_BYTES = 1024 * 1024

log = structlog.get_logger(__name__)


class JwtTokens:
    """Checks signature, issuer, audience and times; the scopes are in ``scope`` (a string) or ``scp``."""

    def __init__(self, settings: JwtSettings) -> None:
        self._settings = settings
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._read_s = float("-inf")
        self._reading = asyncio.Lock()

    async def principal(self, token: str) -> Principal:
        """Who the token speaks for.

        Raises:
            UnauthorizedError: it is not valid.
            OverloadedError: the issuer's keys cannot be had now.
        """
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
        except jwt.InvalidTokenError:
            raise UnauthorizedError("The token is not valid.") from None
        key = await self._key(key_id if isinstance(key_id, str) else None)
        # A signature takes a tenth of a millisecond or so: not worth a thread.
        try:
            claims = jwt.decode(
                token,
                key=key,
                algorithms=[key.algorithm_name] if key.algorithm_name in ALGORITHMS else [],
                issuer=self._settings.issuer,
                audience=self._settings.audience,
                leeway=self._settings.leeway_s,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.ExpiredSignatureError:
            raise UnauthorizedError("The token has expired.") from None
        except (jwt.InvalidTokenError, ValueError, TypeError, OverflowError):
            raise UnauthorizedError("The token is not valid.") from None
        return self._principal(claims)

    def _principal(self, claims: dict[str, Any]) -> Principal:
        tenant = claims.get(self._settings.tenant_claim)
        if not isinstance(tenant, str) or not TENANT.fullmatch(tenant):
            raise UnauthorizedError("The token names no tenant.")
        given = claims.get("scope", claims.get("scp", ()))
        words = given.split() if isinstance(given, str) else given if isinstance(given, list) else ()
        subject = claims.get("sub")
        return Principal(
            tenant=tenant,
            scopes=frozenset(scope for scope in SCOPES if scope in words),
            name=f"token {subject[:100] if isinstance(subject, str) else 'without subject'}",
            expires_s=float(claims["exp"]) + self._settings.leeway_s,
        )

    async def _key(self, key_id: str | None) -> jwt.PyJWK:
        age_s = time.monotonic() - self._read_s
        if age_s > self._settings.refresh_s or (key_id not in self._keys and age_s > _LEAST_REFRESH_S):
            await self._refresh(age_s)
        # A token need not name its key where the issuer has only one (RFC 7515, section 4.1.4).
        only = next(iter(self._keys.values())) if key_id is None and len(self._keys) == 1 else None
        if key := self._keys.get(key_id, only):
            return key
        if not self._keys:
            raise OverloadedError("The token's issuer cannot be asked for its keys now.", retry_after_s=2)
        raise UnauthorizedError("The token is not valid.")

    async def _refresh(self, age_s: float) -> None:
        asked_s = time.monotonic() - age_s
        async with self._reading:
            if self._read_s > asked_s:
                return
            try:
                content = await _read(self._settings.jwks, self._settings.timeout_ms / 1000)
                found = jwt.PyJWKSet.from_dict(orjson.loads(content))
            except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, jwt.PyJWTError) as error:
                # The keys known so far go on being good: an issuer that is down locks nobody out.
                log.warning("keys of the issuer not read", jwks=self._settings.jwks, error=str(error) or repr(error))
            else:
                self._keys = {key.key_id: key for key in found.keys if key.key_type != "oct"}
            self._read_s = time.monotonic()


async def _read(source: str, timeout_s: float) -> bytes:
    if not source.startswith(("http://", "https://")):
        return await asyncio.to_thread(Path(source).read_bytes)
    content = b""
    async with (
        asyncio.timeout(timeout_s),
        httpx.AsyncClient(timeout=timeout_s) as http,
        http.stream("GET", source) as response,
    ):
        response.raise_for_status()
        async for piece in response.aiter_bytes():
            content += piece
            if len(content) > _MAX_JWKS_BYTES:
                raise ValueError("the issuer's keys are larger than 1 MiB")
    return content
