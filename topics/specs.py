"""Every topic, declared once: who writes it, what it carries, and how the cluster keeps it."""

from dataclasses import dataclass
from typing import Literal

from schemas import events
from schemas.events import Event

KIB = 1024
MIB = 1024 * KIB
DAY_MS = 24 * 60 * 60 * 1000

DEAD_LETTERS_SUFFIX = ".dead-letters"
# A dead letter carries its origin and cause as headers beside the raw bytes.
DEAD_LETTERS_HEADROOM_BYTES = 64 * KIB


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it should be.

    ``retention_ms`` -1 keeps records for ever; ``max_message_bytes`` bounds one record batch;
    ``partitions`` None takes the setting, which bounds how far the consuming stages scale. With ``once_per_key`` only
    the first record of a key counts: a later one is a duplicate. Of one that is ``per_index`` each version of the index
    has its own.
    """

    name: str
    owner: str
    events: tuple[type[Event], ...]
    retention_ms: int = 7 * DAY_MS
    cleanup_policy: Literal["delete", "compact"] = "delete"
    max_message_bytes: int = 2 * MIB
    partitions: int | None = None
    once_per_key: bool = False
    per_index: bool = False


QUERIES = TopicSpec("rag.queries", "upstream", (events.QueryAsked,), once_per_key=True)
# Questions to embed: those that are searched for as they are, and those that the engine has expanded. A topic of their
# own would be other partitions, and a group shares out partitions by their number, whichever topic has the load.
QUERIES_ACCEPTED = TopicSpec("rag.queries.accepted", "query", (events.QueryAccepted, events.QueryExpanded))
QUERIES_EMBEDDED = TopicSpec("rag.queries.embedded", "embedding", (events.QueryEmbedded,))
PASSAGES_RETRIEVED = TopicSpec("rag.passages.retrieved", "retrieval", (events.PassagesRetrieved,))
# All that the engine is asked, for the same reason.
PROMPTS_BUILT = TopicSpec("rag.prompts.built", "prompt", (events.PromptBuilt, events.ExpansionPromptBuilt))
ANSWERS = TopicSpec(
    "rag.answers",
    "generation",
    (events.Answered, events.RequestFailed, events.RequestExpired, events.RequestCancelled),
    retention_ms=30 * DAY_MS,
)
CONTROL = TopicSpec("rag.control", "upstream", (events.CancellationRequested,), retention_ms=DAY_MS, partitions=1)
DOCUMENTS = TopicSpec(
    "rag.documents",
    "upstream",
    (events.DocumentSubmitted, events.DocumentWithdrawn),
    retention_ms=-1,
    cleanup_policy="compact",
    max_message_bytes=4 * MIB,
)
CHUNKS = TopicSpec("rag.chunks", "chunking", (events.DocumentChunked,), max_message_bytes=16 * MIB, per_index=True)
CHUNKS_EMBEDDED = TopicSpec(
    "rag.chunks.embedded", "chunk-embedding", (events.ChunksEmbedded,), max_message_bytes=32 * MIB, per_index=True
)
# One record per dead letter that was redriven or dropped: what is told here must outlive the letter.
DEAD_LETTERS_AUDIT = TopicSpec(
    "rag.dead-letters.audit",
    "operator",
    (events.DeadLetterRedriven, events.DeadLetterDropped),
    retention_ms=-1,
    cleanup_policy="compact",
    partitions=1,
)
# A key is valid until its revocation is read here, so this must never be lost.
API_KEYS = TopicSpec(
    "rag.api-keys",
    "operator",
    (events.ApiKeyCreated, events.ApiKeyRevoked),
    retention_ms=-1,
    cleanup_policy="compact",
    partitions=1,
)
# How each document stands is known as long as the document itself.
DOCUMENTS_INDEXED = TopicSpec(
    "rag.documents.indexed",
    "indexing",
    (events.DocumentIndexed, events.DocumentFailed),
    retention_ms=-1,
    cleanup_policy="compact",
    per_index=True,
)
# Which collection questions are answered from is what was said here last.
INDEXES = TopicSpec(
    "rag.indexes",
    "operator",
    (events.IndexChanged,),
    retention_ms=-1,
    cleanup_policy="compact",
    partitions=1,
)

TOPICS: tuple[TopicSpec, ...] = (
    QUERIES,
    QUERIES_ACCEPTED,
    QUERIES_EMBEDDED,
    PASSAGES_RETRIEVED,
    PROMPTS_BUILT,
    ANSWERS,
    CONTROL,
    DOCUMENTS,
    CHUNKS,
    CHUNKS_EMBEDDED,
    DOCUMENTS_INDEXED,
    DEAD_LETTERS_AUDIT,
    API_KEYS,
    INDEXES,
)
TOPIC_BY_NAME: dict[str, TopicSpec] = {spec.name: spec for spec in TOPICS}
TOPIC_OF_EVENT: dict[type[Event], TopicSpec] = {kind: spec for spec in TOPICS for kind in spec.events}

# What a stage consumes may hold a record that nobody can handle.
CONSUMED: tuple[TopicSpec, ...] = (
    QUERIES,
    QUERIES_ACCEPTED,
    QUERIES_EMBEDDED,
    PASSAGES_RETRIEVED,
    PROMPTS_BUILT,
    ANSWERS,
    DOCUMENTS,
    CHUNKS,
    CHUNKS_EMBEDDED,
)


def dead_letters(spec: TopicSpec) -> TopicSpec:
    """The topic that takes records of ``spec`` which could not be handled, with their raw bytes."""
    return TopicSpec(
        name=spec.name + DEAD_LETTERS_SUFFIX,
        owner=spec.owner,
        events=(),
        retention_ms=30 * DAY_MS,
        max_message_bytes=spec.max_message_bytes + DEAD_LETTERS_HEADROOM_BYTES,
        partitions=spec.partitions,
        per_index=spec.per_index,
    )


def all_topics() -> tuple[TopicSpec, ...]:
    """Every topic a cluster needs, dead letters included."""
    return TOPICS + tuple(dead_letters(spec) for spec in CONSUMED)


def index_topics() -> tuple[TopicSpec, ...]:
    """The topics that each version of the index has for itself, dead letters included."""
    return tuple(spec for spec in all_topics() if spec.per_index)
