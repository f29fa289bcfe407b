"""Settings of the bridge."""

from pydantic import BaseModel, ConfigDict, Field


class BridgeSettings(BaseModel):
    """Where the bridge listens and what it takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on.")
    max_frame_bytes: int = Field(64 * 1024, gt=0, description="Longest websocket frame or request body from a client.")
    max_requests_per_socket: int = Field(16, gt=0, description="Requests followed at once on one websocket.")
    send_queue: int = Field(256, gt=0, description="Messages that wait for one slow reader.")
    send_timeout_ms: int = Field(10_000, gt=0, description="How long a reader may take none before it is closed.")
    publish_timeout_ms: int = Field(5_000, gt=0, description="Longest wait for Kafka to take a question.")
    shutdown_timeout_ms: int = Field(5_000, gt=0, description="Longest wait for connections when stopping.")
    allowed_origins: tuple[str, ...] = Field(
        (), description="Origins of pages, besides the bridge's own, that may open a websocket."
    )
    ping_interval_s: int = Field(20, gt=0, description="Time between websocket pings, in seconds.")
