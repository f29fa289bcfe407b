"""Settings that every worker shares."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from workers.runtime.progress import MAX_OUTSTANDING


class RuntimeSettings(BaseModel):
    """How workers fetch, retry, commit and stop."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    guarantee: Literal["at_least_once", "exactly_once"] = Field(
        "at_least_once", description="Delivery guarantee, in Kafka Streams' words."
    )
    session_timeout_ms: int = Field(10_000, ge=1_000, description="Silence after which a worker loses its partitions.")
    heartbeat_interval_ms: int = Field(3_000, gt=0, description="Time between heartbeats.")
    max_poll_interval_ms: int = Field(300_000, gt=0, description="Longest time between two fetches.")
    metadata_max_age_ms: int = Field(
        60_000, gt=0, description="Time after which topics and partitions that were added or deleted are noticed."
    )
    group_instance_id: str = Field("", description="Static membership: the worker's own name; empty for none.")
    max_outstanding: int = Field(
        256, gt=0, description="Records of one partition fetched and not yet finished; then no more are fetched."
    )
    commit_interval_ms: int = Field(200, gt=0, description="Longest wait of a finished record for its commit.")
    transaction_timeout_ms: int = Field(
        8_000, gt=0, description="Age at which the broker aborts a transaction; less than the session timeout."
    )
    max_attempts: int = Field(5, gt=0, description="Attempts at a record before it becomes a dead letter.")
    backoff_initial_ms: int = Field(200, gt=0, description="First wait before a retry; doubles, with full jitter.")
    backoff_max_ms: int = Field(10_000, gt=0, description="Longest wait before a retry.")
    duplicate_window: int = Field(10_000, ge=0, description="Records per partition among which duplicates are known.")
    cancellation_window_ms: int = Field(
        3_600_000, gt=0, description="How long a cancellation counts, for a request that comes after it too."
    )
    drain_timeout_ms: int = Field(30_000, gt=0, description="How long a stopping worker finishes what it has begun.")
    http_host: str = Field("127.0.0.1", description="Address for /livez, /readyz, /metrics and /status.")
    http_port: int = Field(0, ge=0, le=65535, description="Port for them; 0 takes a free one.")

    @field_validator("max_outstanding")
    @classmethod
    def _within_reach(cls, value: int) -> int:
        if value > MAX_OUTSTANDING:
            msg = f"at most {MAX_OUTSTANDING} fit, for a commit's metadata must tell which of them are done"
            raise ValueError(msg)
        return value
