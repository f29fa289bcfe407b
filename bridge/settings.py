"""Settings of the bridge."""

import ipaddress
from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from backends.conversion import ConversionSettings

_CONFIG = ConfigDict(frozen=True, extra="forbid")


class JwtSettings(BaseModel):
    """Whose tokens are taken. Without an issuer none are."""

    model_config = _CONFIG

    issuer: str = Field("", description="The `iss` of every token; empty takes no tokens.")
    audience: str = Field("", description="The `aud` of every token.")
    jwks: str = Field("", description="The issuer's public keys: a file, or an https address.")
    tenant_claim: str = Field("tenant", description="Claim that names the tenant.")
    leeway_s: int = Field(30, ge=0, le=300, description="How far the issuer's clock may be off, in seconds.")
    refresh_s: int = Field(300, gt=0, description="How long the issuer's keys are kept before they are read again.")
    timeout_ms: int = Field(3_000, gt=0, description="Longest wait for the issuer's keys.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.issuer and not (self.audience and self.jwks):
            raise ValueError("jwt.issuer needs jwt.audience and jwt.jwks")
        if self.jwks.startswith("http:") and not _is_loopback(urlsplit(self.jwks).hostname or ""):
            raise ValueError("jwt.jwks must be a file or an https address")
        return self


class AccessSettings(BaseModel):
    """Who gets in."""

    model_config = _CONFIG

    required: bool = Field(
        default=False, description="Whether an API key or token is needed; if not, only loopback is listened on."
    )
    open_beyond_loopback: bool = Field(
        default=False,
        description="Listen on any address without access control: for a container whose port only this machine sees.",
    )
    jwt: JwtSettings = JwtSettings()


class LimitSettings(BaseModel):
    """What a tenant may do, counted over all bridges."""

    model_config = _CONFIG

    calls_per_minute: int = Field(1_200, gt=0, description="Questions, cancellations and look-ups of one tenant.")
    asks_per_minute: int = Field(600, gt=0, description="Questions of one tenant in a minute.")
    concurrent: int = Field(256, gt=0, description="Questions of one tenant that have not ended.")
    total: int = Field(2_000, gt=0, description="Questions by way of bridges that have not ended, of all tenants.")
    lease_s: int = Field(900, gt=0, description="After so long a question counts as ended, whatever became of it.")
    idempotency_s: int = Field(86_400, gt=0, description="How long an Idempotency-Key is remembered, in seconds.")


class BridgeSettings(BaseModel):
    """Where the bridge listens and what it takes."""

    model_config = _CONFIG

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on.")
    max_frame_bytes: int = Field(64 * 1024, gt=0, description="Longest websocket frame or request body from a client.")
    max_chat_bytes: int = Field(1024 * 1024, gt=0, description="Longest body of a chat request, with its history.")
    max_upload_bytes: int = Field(25 * 1024 * 1024, gt=0, description="Largest upload of documents.")
    max_sockets: int = Field(10_000, gt=0, description="Websockets open at once; more are refused with 503.")
    max_streams: int = Field(2_000, gt=0, description="HTTP streams open at once; more are refused with 503.")
    max_publishing: int = Field(256, gt=0, description="Questions that wait for Kafka; more are refused with 503.")
    max_requests_per_socket: int = Field(16, gt=0, description="Requests followed at once on one websocket.")
    max_unreadable: int = Field(100, gt=0, description="Messages without use after which a websocket is closed.")
    send_queue: int = Field(256, gt=0, description="Messages that wait for one slow reader.")
    send_queue_bytes: int = Field(512 * 1024, gt=0, description="Text that waits for one slow reader.")
    send_timeout_ms: int = Field(10_000, gt=0, description="How long a reader may take none before it is closed.")
    publish_timeout_ms: int = Field(5_000, gt=0, description="Longest wait for Kafka to take a question.")
    search_timeout_ms: int = Field(3_000, gt=0, description="Longest search for an old answer in its topic.")
    receive_timeout_ms: int = Field(20_000, gt=0, description="Longest wait for a request's headers, and for its body.")
    shutdown_timeout_ms: int = Field(5_000, gt=0, description="Longest wait for connections when stopping.")
    idle_timeout_s: int = Field(900, gt=0, description="A websocket that says nothing and follows nothing is closed.")
    ping_interval_s: int = Field(20, gt=0, description="Time between websocket pings, in seconds.")
    allowed_origins: tuple[str, ...] = Field(
        (), description="Origins of pages, besides the bridge's own, that may use the bridge."
    )
    allowed_hosts: tuple[str, ...] = Field(
        (), description="Host names, besides localhost, under which an open bridge may be reached."
    )
    access: AccessSettings = AccessSettings()
    limits: LimitSettings = LimitSettings()
    conversion: ConversionSettings = ConversionSettings()

    @model_validator(mode="after")
    def _check(self) -> Self:
        access = self.access
        if not (access.required or access.open_beyond_loopback or _is_loopback(self.host)):
            raise ValueError(
                f"without access.required anybody could ask at {self.host}: "
                "listen on 127.0.0.1, or require keys (ragline keys create)"
            )
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
