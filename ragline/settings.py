"""All settings in one frozen object, built once at the command line.

Sources, the later wins: defaults, ``ragline.toml`` (or ``--config``), environment variables such as
``RAGLINE_KAFKA__BOOTSTRAP_SERVERS``.
"""

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from backends.embedder import EmbedderSettings
from backends.embedding_cache import EmbeddingCacheSettings
from backends.engine import EngineSettings
from backends.kafka import KafkaSettings
from backends.live_view import LiveViewSettings
from backends.milvus_settings import MilvusSettings
from backends.qdrant_settings import QdrantSettings
from backends.references import ReferenceSettings
from backends.reranker import CrossEncoderSettings
from bridge.settings import BridgeSettings
from infra.settings import LocalSettings
from replay.settings import ReplaySettings
from topics.names import Namespace
from topics.settings import TopicSettings
from workers.runtime.settings import RuntimeSettings
from workers.settings import (
    ChunkEmbeddingSettings,
    ChunkingSettings,
    EmbeddingSettings,
    GenerationSettings,
    IndexingSettings,
    MonitorSettings,
    ProjectorSettings,
    PromptSettings,
    QuerySettings,
    RetrievalSettings,
)

CONFIG_FILE = Path("ragline.toml")


class SettingsError(ValueError):
    """The settings cannot be used; the message says which and why."""


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="RAGLINE_",
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )
    config_file: ClassVar[Path] = CONFIG_FILE

    namespace: str = Field("", description="Prefix of topics, groups and keys that isolates this pipeline.")
    log_format: str = Field("auto", pattern="^(auto|console|json)$", description="auto, console or json.")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Least level that is logged.")

    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    vector_store: Literal["milvus", "qdrant"] = Field("milvus", description="What keeps the chunks.")
    milvus: MilvusSettings = MilvusSettings()
    qdrant: QdrantSettings = QdrantSettings()
    redis: LiveViewSettings = LiveViewSettings()
    embedder: EmbedderSettings = EmbedderSettings()
    embedding_cache: EmbeddingCacheSettings = EmbeddingCacheSettings()
    cross_encoder: CrossEncoderSettings = CrossEncoderSettings()
    engine: EngineSettings = EngineSettings()
    references: ReferenceSettings = ReferenceSettings()
    runtime: RuntimeSettings = RuntimeSettings()

    query: QuerySettings = QuerySettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    prompt: PromptSettings = PromptSettings()
    generation: GenerationSettings = GenerationSettings()
    chunking: ChunkingSettings = ChunkingSettings()
    chunk_embedding: ChunkEmbeddingSettings = ChunkEmbeddingSettings()
    indexing: IndexingSettings = IndexingSettings()
    projector: ProjectorSettings = ProjectorSettings()
    monitor: MonitorSettings = MonitorSettings()

    bridge: BridgeSettings = BridgeSettings()
    replay: ReplaySettings = ReplaySettings()
    local: LocalSettings = LocalSettings()

    @property
    def local_servers(self) -> tuple[str, ...]:
        """Servers without a configured address, which ``ragline up`` therefore starts itself."""
        addresses = {"kafka": self.kafka.bootstrap_servers, "milvus": self.milvus.uri, "redis": self.redis.url}
        if self.vector_store != "milvus":
            del addresses["milvus"]
        return tuple(name for name, address in addresses.items() if not address)

    def with_local_addresses(self) -> Self:
        """The same settings, where an address that is not configured is the local stack's."""
        local = self.local
        return self.model_copy(
            update={
                "kafka": self.kafka.model_copy(
                    update={"bootstrap_servers": self.kafka.bootstrap_servers or f"127.0.0.1:{local.kafka_port}"}
                ),
                "milvus": self.milvus.model_copy(
                    update={"uri": self.milvus.uri or f"http://127.0.0.1:{local.milvus_port}"}
                ),
                "redis": self.redis.model_copy(
                    update={"url": self.redis.url or f"redis://127.0.0.1:{local.redis_port}/0"}
                ),
            }
        )

    @property
    def collection(self) -> str:
        """The collection that holds the chunks."""
        return self.qdrant.collection if self.vector_store == "qdrant" else self.milvus.collection

    @property
    def names(self) -> Namespace:
        """The namespace as an object."""
        return Namespace(self.namespace)

    @model_validator(mode="after")
    def _checked(self) -> Self:
        return self.check_across_fields()

    def check_across_fields(self) -> Self:
        """See that settings of different sections fit together.

        Raises:
            ValueError: they do not.
        """
        Namespace(self.namespace)
        if self.runtime.heartbeat_interval_ms * 3 > self.runtime.session_timeout_ms:
            msg = "runtime.heartbeat_interval_ms must be at most a third of runtime.session_timeout_ms"
            raise ValueError(msg)
        if self.runtime.transaction_timeout_ms >= self.runtime.session_timeout_ms:
            msg = "runtime.transaction_timeout_ms must be less than runtime.session_timeout_ms"
            raise ValueError(msg)
        if self.prompt.max_prompt_tokens >= self.engine.max_model_len:
            msg = "prompt.max_prompt_tokens must leave room for an answer within engine.max_model_len"
            raise ValueError(msg)
        if self.query.default_tenant not in self.query.tenants:
            msg = "query.default_tenant must be one of query.tenants"
            raise ValueError(msg)
        if self.chunking.overlap_tokens >= self.chunking.max_tokens:
            msg = "chunking.overlap_tokens must be less than chunking.max_tokens"
            raise ValueError(msg)
        self._check_retrieval()
        self._check_store()
        return self

    def _check_retrieval(self) -> None:
        defaults = {"query": self.query.rerank} | {
            f"query.tenants.{name}": tenant.rerank for name, tenant in self.query.tenants.items()
        }
        for name, rerank in defaults.items():
            if rerank not in {None, "none", *self.retrieval.rerankers}:
                msg = f"{name}.rerank is {rerank}, which retrieval.rerankers does not name"
                raise ValueError(msg)
        if "cross_encoder" in self.retrieval.rerankers and not self.cross_encoder.path:
            msg = "retrieval.rerankers names cross_encoder, but cross_encoder.path is not set"
            raise ValueError(msg)

    def _check_store(self) -> None:
        if self.vector_store == "qdrant" and not self.qdrant.place:
            msg = "vector_store is qdrant, but neither qdrant.url nor qdrant.path is set"
            raise ValueError(msg)
        if self.vector_store == "qdrant" or self.milvus.keyword_search:
            return
        modes = {"query": self.query.mode} | {
            f"query.tenants.{name}": tenant.mode for name, tenant in self.query.tenants.items()
        }
        for name, mode in modes.items():
            if mode not in {None, "dense"}:
                msg = f"{name}.mode is {mode}, which needs milvus.keyword_search: it must be dense without"
                raise ValueError(msg)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - given by pydantic-settings, not used here
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order of the sources, the first wins."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, cls.config_file)


def load(config: Path | None = None) -> Settings:
    """Build the settings.

    Raises:
        SettingsError: a file that is missing, or a setting that is unknown or wrong.
    """
    if config is not None and not config.is_file():
        msg = f"no settings file at {config}"
        raise SettingsError(msg)

    class Chosen(Settings):
        config_file = config or CONFIG_FILE

    try:
        return Chosen()
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        raise SettingsError("; ".join(_sentence(problem) for problem in problems)) from error


def _sentence(problem: ErrorDetails) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    said = problem["msg"].removeprefix("Value error, ")
    return f"{name}: {said}" if name else said
