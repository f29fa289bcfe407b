"""What a process under measurement is told, and the topics it runs on."""

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from topics.specs import (
    ANSWERS,
    PASSAGES_RETRIEVED,
    PROMPTS_BUILT,
    QUERIES,
    QUERIES_ACCEPTED,
    QUERIES_EMBEDDED,
    TopicSpec,
)

Guarantee: TypeAlias = Literal["at_least_once", "exactly_once"]
# The way of a question: stage n reads the n-th topic and writes the next.
WAY: tuple[TopicSpec, ...] = (
    QUERIES,
    QUERIES_ACCEPTED,
    QUERIES_EMBEDDED,
    PASSAGES_RETRIEVED,
    PROMPTS_BUILT,
    ANSWERS,
)
STAGES = len(WAY) - 1
# Keys of records whose handling takes ``slow_ms``.
SLOW_KEY = b"slow-"
COMMIT_INTERVAL_MS = 200


class HopsOptions(BaseModel):
    """One run. ``stages`` counts from the first; ``codec`` says what the raw loop does to a value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["raw", "ragline"]
    bootstrap_servers: str
    namespace: str
    guarantee: Guarantee = "at_least_once"
    stages: int = STAGES
    partitions: int = 1
    codec: Literal["bytes", "json"] = "bytes"
    slow_ms: int = 0
