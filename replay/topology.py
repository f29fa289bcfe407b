"""Which stages a replay from a topic runs, and which topics it needs: told from what each stage reads and writes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from replay.errors import ReplayError
from topics.specs import CONSUMED, CONTROL, DAY_MS, INDEXES, TOPIC_BY_NAME, TOPICS, TopicSpec, dead_letters
from workers.embedding import EmbeddingStage
from workers.generation import GenerationStage
from workers.prompt import PromptStage
from workers.query import QueryStage
from workers.retrieval import RetrievalStage

# What a replay leaves is removed with its run; where that is forgotten, by retention.
RETENTION_MS = 7 * DAY_MS

_SEARCHING = frozenset({EmbeddingStage.name, RetrievalStage.name})

# Stages of a request by name, with what each reads.
READS: dict[str, tuple[TopicSpec, ...]] = {
    stage.name: stage.consumes for stage in (QueryStage, EmbeddingStage, RetrievalStage, PromptStage, GenerationStage)
}


@dataclass(frozen=True, slots=True)
class Way:
    """The way of a request from ``source`` on: the stages it passes and the topics they write, both in its order."""

    source: TopicSpec
    stages: tuple[str, ...]
    outputs: tuple[TopicSpec, ...]

    @property
    def topics(self) -> tuple[TopicSpec, ...]:
        """Every topic of a replay, with bounded retention: what the stages read, write, and listen to."""
        of_requests = (self.source, *self.outputs)
        letters = [dead_letters(spec) for spec in of_requests if spec in CONSUMED]
        followed = (CONTROL, INDEXES) if self.searches else (CONTROL,)
        return tuple(_bounded(spec) for spec in (*of_requests, *letters, *followed))

    @property
    def searches(self) -> bool:
        """Whether its stages need to know which version of the index is live."""
        return not _SEARCHING.isdisjoint(self.stages)


def way_from(topic: str) -> Way:
    """The way from a topic on.

    Raises:
        ReplayError: there is no such topic, or no stage of a request reads it.
    """
    source = TOPIC_BY_NAME.get(topic)
    if source is None or not _readers(source):
        known = ", ".join(replayable())
        problem = f"there is no topic {topic!r}" if source is None else f"no stage of a request reads {topic}"
        raise ReplayError(f"{problem}; replay from one of {known}")
    stages: list[str] = []
    outputs: list[TopicSpec] = []
    reached = [source]
    for spec in reached:
        for stage in _readers(spec):
            if stage not in stages:
                stages.append(stage)
                written = [output for output in TOPICS if output.owner == stage and output not in outputs]
                outputs += written
                reached += written
    return Way(source, tuple(stages), tuple(outputs))


def replayable() -> list[str]:
    """The topics that a replay can begin from, in the order of a request's way."""
    return [spec.name for spec in TOPICS if _readers(spec)]


def _readers(spec: TopicSpec) -> Sequence[str]:
    return [stage for stage, reads in READS.items() if spec in reads]


def _bounded(spec: TopicSpec) -> TopicSpec:
    retention_ms = spec.retention_ms if 0 <= spec.retention_ms < RETENTION_MS else RETENTION_MS
    return replace(spec, retention_ms=retention_ms)
