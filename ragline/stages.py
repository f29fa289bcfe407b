"""Builds each stage from the settings: the one place where stages meet the systems outside."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from backends.cross_encoder import CrossEncoderReranker
from backends.embedder import Embedder
from backends.engine import create_engine
from backends.late_interaction import LateInteractionReranker
from backends.live_view import LiveView
from backends.milvus import MilvusVectorStore
from backends.redis_live_view import RedisLiveView
from backends.references import References
from backends.reranker import Reranker
from backends.sentence_transformers_embedder import SentenceTransformersEmbedder
from backends.tokenizer import ChatTokenizer
from backends.vector_store import VectorStore
from infra.local.models import embedder_path, engine_path
from ragline.settings import Settings, SettingsError
from workers.chunk_embedding import ChunkEmbeddingStage
from workers.chunking import ChunkingStage
from workers.embedding import EmbeddingStage
from workers.generation import GenerationStage
from workers.indexing import IndexingStage
from workers.projector import ProjectorStage
from workers.prompt import PromptStage
from workers.query import QueryStage
from workers.retrieval import RetrievalStage
from workers.runtime.stage import BatchedStage, ConcurrentStage
from workers.template import TEMPLATES_PATH, PromptTemplate, TemplateError, load_templates

AnyStage: TypeAlias = BatchedStage[Any] | ConcurrentStage[Any]


def build_stage(name: str, settings: Settings) -> AnyStage:
    """Build a stage; nothing is loaded or connected before its ``start``.

    Raises:
        SettingsError: the settings do not fit together, or there is no such stage.
    """
    if name not in STAGES:
        msg = f"there is no stage {name!r}; stages are {', '.join(STAGES)}"
        raise SettingsError(msg)
    try:
        return STAGES[name](with_local_models(settings))
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


def _query(settings: Settings) -> AnyStage:
    return QueryStage(settings.query, templates(settings))


def _embedding(settings: Settings) -> AnyStage:
    return EmbeddingStage(settings.embedding, _embedder(settings))


def _retrieval(settings: Settings) -> AnyStage:
    rerankers: dict[str, Reranker] = {name: _RERANKERS[name](settings) for name in settings.retrieval.rerankers}
    return RetrievalStage(
        settings.retrieval, create_store(settings), settings.milvus.collection, settings.embedder.dimensions, rerankers
    )


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
    )


def _chunk_embedding(settings: Settings) -> AnyStage:
    return ChunkEmbeddingStage(settings.chunk_embedding, _embedder(settings), create_store(settings))


def _indexing(settings: Settings) -> AnyStage:
    return IndexingStage(settings.indexing, create_store(settings), settings.embedder.dimensions)


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


def _embedder(settings: Settings) -> Embedder:
    return SentenceTransformersEmbedder(settings.embedder)


_RERANKERS: Mapping[str, Callable[[Settings], Reranker]] = {
    "late_interaction": lambda settings: LateInteractionReranker(settings.embedder),
    "cross_encoder": lambda settings: CrossEncoderReranker(settings.cross_encoder),
}


def create_store(settings: Settings) -> VectorStore:
    """The collection of chunks."""
    return MilvusVectorStore(settings.milvus)


def _live_view(settings: Settings) -> LiveView:
    return RedisLiveView(settings.redis, settings.names)


def templates(settings: Settings) -> Mapping[str, PromptTemplate]:
    """The prompt templates by name.

    Raises:
        TemplateError: there is none, or one cannot be used.
    """
    return load_templates(Path(settings.prompt.templates_path) if settings.prompt.templates_path else TEMPLATES_PATH)
