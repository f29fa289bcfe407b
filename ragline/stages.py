"""Builds each stage from the settings: the one place where stages meet the systems outside."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import structlog

from backends.aliases import Aliases
from backends.cached_embedder import CachedEmbedder
from backends.cross_encoder import CrossEncoderReranker
from backends.embedder import Embedder
from backends.embedding_prompts import with_own_prompts
from backends.engine import create_engine
from backends.errors import BackendRejectedError
from backends.index_topic import FollowedIndex
from backends.late_interaction import LateInteractionReranker
from backends.live_view import LiveView
from backends.redis_embedding_cache import RedisEmbeddingCache
from backends.redis_live_view import RedisLiveView
from backends.references import References
from backends.reranker import Reranker
from backends.sentence_transformers_embedder import SentenceTransformersEmbedder
from backends.tokenizer import ChatTokenizer
from backends.vector_store import VectorStore
from infra.local.embedder_graph import prepare_graph
from infra.local.models import embedder_path, engine_path
from infra.local.report import LocalStackError
from ragline.settings import Settings, SettingsError
from ragline.versioned_places import VersionedPlaces
from workers.chunk_embedding import ChunkEmbeddingStage
from workers.chunking import ChunkingStage
from workers.embedding import EmbeddingStage
from workers.generation import GenerationStage
from workers.indexing import IndexingStage
from workers.places import OnePlace, Places
from workers.projector import ProjectorStage
from workers.prompt import PromptStage
from workers.query import QueryStage
from workers.retrieval import RetrievalStage
from workers.runtime.stage import BatchedStage, ConcurrentStage
from workers.template import TEMPLATES_PATH, PromptTemplate, TemplateError, load_templates

log = structlog.get_logger(__name__)

AnyStage: TypeAlias = BatchedStage[Any] | ConcurrentStage[Any]


@dataclass(frozen=True, slots=True)
class Binding:
    """What binds a stage to the versions of the index: all of them as they are ``followed``, the ``settings`` without
    any version's, and whether the stage works for the version that is live.
    """

    followed: FollowedIndex
    settings: Settings
    is_live: bool


def build_stage(name: str, settings: Settings, binding: Binding | None = None) -> AnyStage:
    """Build a stage; nothing is loaded or connected before its ``start``.

    Without a ``binding`` there is one collection, the one that the settings name.

    Raises:
        BackendRejectedError: a stage that embeds has no embedding model.
        SettingsError: the settings do not fit together, or there is no such stage.
    """
    if name not in STAGES:
        msg = f"there is no stage {name!r}; stages are {', '.join(STAGES)}"
        raise SettingsError(msg)
    try:
        prepared = with_prompts(name, with_local_models(settings))
        if binding is not None and name in _BOUND and settings.vector_store == "milvus":
            return _BOUND[name](prepared, binding)
        return STAGES[name](prepared)
    except (TemplateError, ValueError) as error:
        raise SettingsError(str(error)) from error


def with_local_models(settings: Settings) -> Settings:
    """The same settings, where a model's path that is not configured is the local stack's model."""
    embedder = settings.embedder.path or str(embedder_path())
    engine = settings.engine.path or str(engine_path(settings.local.data_dir))
    return settings.model_copy(
        update={
            "embedder": settings.embedder.model_copy(update={"path": embedder}),
            "engine": settings.engine.model_copy(update={"path": engine}),
        }
    )


def with_prompts(name: str, settings: Settings) -> Settings:
    """The same settings, where the embedder's prompts that are not configured are the model's own.

    The other stages need not reach the model.
    """
    if name not in _EMBEDDING_STAGES:
        return settings
    return settings.model_copy(update={"embedder": with_own_prompts(settings.embedder)})


def _query(settings: Settings) -> AnyStage:
    plain = ChatTokenizer.load(settings.engine.path).plain
    return QueryStage(settings.query, templates(settings), plain=plain)


def _embedding(settings: Settings) -> AnyStage:
    embedder = settings.embedder
    return EmbeddingStage(
        settings.embedding,
        create_embedder(settings, "embedding"),
        embedder.query_prompt or "",
        embedder.passage_prompt or "",
    )


def _retrieval(settings: Settings, places: Places | None = None) -> AnyStage:
    rerankers: dict[str, Reranker] = {name: create_reranker(settings, name) for name in settings.retrieval.rerankers}
    only = OnePlace(create_store(settings), settings.collection, settings.embedder.dimensions)
    return RetrievalStage(settings.retrieval, places or only, rerankers)


def _prompt(settings: Settings) -> AnyStage:
    tokenizer = ChatTokenizer.load(settings.engine.path)
    return PromptStage(settings.prompt, tokenizer, templates(settings), settings.engine.max_model_len)


def _generation(settings: Settings) -> AnyStage:
    return GenerationStage(settings.generation, create_engine(settings.engine), _live_view(settings))


def _chunking(settings: Settings) -> AnyStage:
    embedder = settings.embedder
    return ChunkingStage(
        settings.chunking,
        Path(embedder.path),
        embedder.model,
        settings.query.default_tenant,
        References(settings.references),
        embedder.passage_prompt or "",
    )


def _chunk_embedding(settings: Settings) -> AnyStage:
    return ChunkEmbeddingStage(
        settings.chunk_embedding,
        create_embedder(settings, "chunk-embedding"),
        create_store(settings),
        settings.embedder.passage_prompt or "",
    )


def _indexing(settings: Settings, alias: str = "") -> AnyStage:
    return IndexingStage(settings.indexing, create_store(settings, alias), settings.embedder.dimensions)


def _projector(settings: Settings) -> AnyStage:
    return ProjectorStage(settings.projector, _live_view(settings), settings.query.default_tenant)


STAGES: Mapping[str, Callable[[Settings], AnyStage]] = {
    "query": _query,
    "embedding": _embedding,
    "retrieval": _retrieval,
    "prompt": _prompt,
    "generation": _generation,
    "chunking": _chunking,
    "chunk-embedding": _chunk_embedding,
    "indexing": _indexing,
    "projector": _projector,
}
_EMBEDDING_STAGES = frozenset({"embedding", "retrieval", "chunking", "chunk-embedding"})

_BOUND: Mapping[str, Callable[[Settings, Binding], AnyStage]] = {
    "retrieval": lambda settings, binding: _retrieval(
        settings, VersionedPlaces(binding.settings, binding.followed, create_store)
    ),
    "indexing": lambda settings, binding: _indexing(
        settings, binding.settings.milvus.collection if binding.is_live else ""
    ),
}


def create_embedder(settings: Settings, stage: Literal["embedding", "chunk-embedding"]) -> Embedder:
    """The embedding model as a stage uses it."""
    embedder = SentenceTransformersEmbedder(settings.embedder, lambda model: _exported(settings, model))
    if stage not in settings.embedding_cache.stages:
        return embedder
    cache = settings.embedding_cache.model_copy(update={"url": settings.embedding_cache.url or settings.redis.url})
    return CachedEmbedder(embedder, RedisEmbeddingCache(cache, settings.names), embedder.revision, stage)


def _exported(settings: Settings, model: Path) -> Path:
    try:
        return prepare_graph(settings.local.data_dir, model, settings.embedder, log.info)
    except LocalStackError as error:
        raise BackendRejectedError(str(error)) from error


def create_reranker(settings: Settings, name: str) -> Reranker:
    """The reranker of this name, of those that ``retrieval.rerankers`` may name."""
    return _RERANKERS[name](settings)


_RERANKERS: Mapping[str, Callable[[Settings], Reranker]] = {
    "late_interaction": lambda settings: LateInteractionReranker(
        settings.embedder, settings.retrieval.late_interaction_cache_mb, settings.retrieval.late_interaction_max_tokens
    ),
    "cross_encoder": lambda settings: CrossEncoderReranker(settings.cross_encoder),
}


def create_store(settings: Settings, alias: str = "") -> VectorStore:
    """The collection of chunks, in the store that the settings name; in Milvus ``alias`` stands for it as soon as it is
    prepared, unless it stands for another.
    """
    # Each client takes a second to import.
    if settings.vector_store == "qdrant":
        from backends.qdrant import QdrantVectorStore  # noqa: PLC0415

        return QdrantVectorStore(settings.qdrant)
    from backends.milvus import MilvusVectorStore  # noqa: PLC0415

    return MilvusVectorStore(settings.milvus, alias)


def create_aliases(settings: Settings) -> Aliases:
    """The names that stand for collections.

    Raises:
        SettingsError: the store has collections of one version only.
    """
    if settings.vector_store != "milvus":
        raise SettingsError(f"only Milvus keeps versions of the index, and vector_store is {settings.vector_store}")
    from backends.milvus_aliases import MilvusAliases  # noqa: PLC0415 - likewise

    return MilvusAliases(settings.milvus)


def _live_view(settings: Settings) -> LiveView:
    return RedisLiveView(settings.redis, settings.names)


def templates(settings: Settings) -> Mapping[str, PromptTemplate]:
    """The prompt templates by name.

    Raises:
        TemplateError: there is none, or one cannot be used.
    """
    return load_templates(Path(settings.prompt.templates_path) if settings.prompt.templates_path else TEMPLATES_PATH)
