"""The real stages of a question, on the real systems outside. Two of them have a stand-in for a model.

The embedder is the hashed twin and the engine an echo, so that thousands of requests take minutes on any machine.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from backends.engine import EngineSettings
from backends.memory_embedder import HashedEmbedder
from backends.redis_live_view import RedisLiveView
from backends.tokenizer import ChatTokenizer
from faults.addresses import Addresses
from faults.chain import STAGES
from faults.engine import FaultyEngine
from faults.traps import Traps
from topics.names import Namespace
from workers.embedding import EmbeddingStage
from workers.generation import GenerationStage
from workers.projector import ProjectorStage
from workers.prompt import PromptStage
from workers.query import QueryStage
from workers.runtime.stage import BatchedStage, ConcurrentStage
from workers.settings import (
    EmbeddingSettings,
    GenerationSettings,
    ProjectorSettings,
    PromptSettings,
    QuerySettings,
    RetrievalSettings,
)
from workers.template import load_templates

REAL_STAGES = (*STAGES, ProjectorStage.name)
# Enough words, each so slow, that an answer takes a third of a second: time to cut it off in the middle.
_ENGINE = EngineSettings(kind="echo", echo_delay_ms=10, timeout_ms=2_000)
_QUERY = QuerySettings(top_k=2, min_score=-1, max_tokens=32)
# A machine that is busy starting workers again must not look like a live view that has failed.
_GENERATION = GenerationSettings(flush_timeout_ms=10_000)

AnyStage: TypeAlias = BatchedStage[Any] | ConcurrentStage[Any]


def make_real_stage(stage: str, systems: Addresses, names: Namespace, traps: Traps) -> AnyStage:
    """The real stage of that name."""
    return _MAKERS[stage](systems, names, traps)


def _query(_systems: Addresses, _names: Namespace, _traps: Traps) -> AnyStage:
    return QueryStage(_QUERY, load_templates())


def _embedding(_systems: Addresses, _names: Namespace, _traps: Traps) -> AnyStage:
    return EmbeddingStage(EmbeddingSettings(), HashedEmbedder())


def _retrieval(systems: Addresses, _names: Namespace, _traps: Traps) -> AnyStage:
    # It takes more than a second to import, and only this stage needs it.
    from backends.milvus import MilvusVectorStore  # noqa: PLC0415
    from workers.places import OnePlace  # noqa: PLC0415
    from workers.retrieval import RetrievalStage  # noqa: PLC0415

    store = systems.vector_store
    place = OnePlace(MilvusVectorStore(store), store.collection, HashedEmbedder().dimensions)
    return RetrievalStage(RetrievalSettings(), place, {})


def _prompt(systems: Addresses, _names: Namespace, _traps: Traps) -> AnyStage:
    return PromptStage(PromptSettings(), ChatTokenizer.load(systems.model), load_templates(), _ENGINE.max_model_len)


def _generation(systems: Addresses, names: Namespace, traps: Traps) -> AnyStage:
    return GenerationStage(_GENERATION, FaultyEngine(_ENGINE, traps), RedisLiveView(systems.live_view, names))


def _projector(systems: Addresses, names: Namespace, _traps: Traps) -> AnyStage:
    return ProjectorStage(ProjectorSettings(), RedisLiveView(systems.live_view, names), _QUERY.default_tenant)


_MAKERS: Mapping[str, Callable[[Addresses, Namespace, Traps], AnyStage]] = {
    "query": _query,
    "embedding": _embedding,
    "retrieval": _retrieval,
    "prompt": _prompt,
    "generation": _generation,
    "projector": _projector,
}
