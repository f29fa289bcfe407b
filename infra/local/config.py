"""What the local stack runs: taken from the settings, once."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

from backends.embedder import EmbedderSettings
from backends.engine import EngineSettings
from backends.kafka import KafkaSettings
from backends.live_view import LiveViewSettings
from backends.milvus_settings import MilvusSettings
from infra.local.report import LocalStackError
from infra.settings import LocalSettings

HOST = "127.0.0.1"
# The slowest to start comes first.
STAGES = (
    "generation",
    "embedding",
    "chunk-embedding",
    "retrieval",
    "query",
    "prompt",
    "chunking",
    "indexing",
    "projector",
)
_ENGINES_WITH_A_MODEL = ("vllm", "transformers")


class RuntimeLike(Protocol):
    """What is asked of the workers' settings."""

    @property
    def drain_timeout_ms(self) -> int: ...


class MonitorLike(Protocol):
    """What is asked of the monitor's settings."""

    @property
    def http_host(self) -> str: ...
    @property
    def http_port(self) -> int: ...


class BridgeLike(Protocol):
    """What is asked of the bridge's settings."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...


class SettingsLike(Protocol):
    """What is asked of the settings, which live above this package."""

    @property
    def kafka(self) -> KafkaSettings: ...
    @property
    def milvus(self) -> MilvusSettings: ...
    @property
    def redis(self) -> LiveViewSettings: ...
    @property
    def embedder(self) -> EmbedderSettings: ...
    @property
    def engine(self) -> EngineSettings: ...
    @property
    def runtime(self) -> RuntimeLike: ...
    @property
    def monitor(self) -> MonitorLike: ...
    @property
    def bridge(self) -> BridgeLike: ...
    @property
    def local(self) -> LocalSettings: ...
    @property
    def local_servers(self) -> tuple[str, ...]: ...
    def with_local_addresses(self) -> Self: ...


@dataclass(frozen=True, slots=True)
class Page:
    """An HTTP server of a process. ``setting`` is the name of its port's setting."""

    host: str
    port: int
    setting: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StackConfig:
    """The local stack to run.

    ``servers`` are those of kafka, milvus and redis that it starts itself. ``embedder`` and ``engine`` are folders or
    hub names of models; empty takes the local ones. ``needs_engine_model`` tells whether the engine loads one at all.
    ``scale`` maps stages to numbers of workers, one where it says nothing. ``command`` is the command line before
    ``worker STAGE``, ``monitor`` and ``bridge``. ``environment`` is the caller's: a variable for tuning that it has is
    left alone. ``quiet`` shows only warnings and errors of the workers.
    """

    local: LocalSettings
    servers: tuple[str, ...]
    kafka_bootstrap_servers: str
    milvus_uri: str
    redis_url: str
    embedder: str
    engine: str
    needs_engine_model: bool
    monitor: Page
    bridge: Page
    drain_timeout_s: float
    scale: Mapping[str, int] = field(default_factory=dict)
    only_infra: bool = False
    quiet: bool = False
    command: tuple[str, ...] = (sys.executable, "-m", "ragline")
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for stage, count in self.scale.items():
            if stage not in STAGES:
                msg = f"--scale: there is no stage {stage!r}; the stages are {', '.join(sorted(STAGES))}"
                raise LocalStackError(msg)
            if count < 0:
                msg = f"--scale {stage}={count}: the number of workers cannot be negative"
                raise LocalStackError(msg)

    @property
    def data_dir(self) -> Path:
        """Folder for data, models, jars and logs."""
        return self.local.data_dir.absolute()


def stack_config(
    settings: SettingsLike,
    *,
    command: tuple[str, ...],
    environment: Mapping[str, str],
    scale: Mapping[str, int],
    only_infra: bool,
    quiet: bool,
) -> StackConfig:
    """The stack that the settings and the command line ask for; see ``StackConfig``.

    Raises:
        LocalStackError: ``scale`` names no stage.
    """
    addressed = settings.with_local_addresses()
    return StackConfig(
        local=settings.local,
        servers=settings.local_servers,
        kafka_bootstrap_servers=addressed.kafka.bootstrap_servers,
        milvus_uri=addressed.milvus.uri,
        redis_url=addressed.redis.url,
        embedder=settings.embedder.path,
        engine=settings.engine.path,
        needs_engine_model=settings.engine.kind in _ENGINES_WITH_A_MODEL,
        monitor=Page(settings.monitor.http_host, settings.monitor.http_port, "monitor.http_port"),
        bridge=Page(settings.bridge.host, settings.bridge.port, "bridge.port"),
        drain_timeout_s=settings.runtime.drain_timeout_ms / 1000,
        scale=scale,
        only_infra=only_infra,
        quiet=quiet,
        command=command,
        environment=environment,
    )
