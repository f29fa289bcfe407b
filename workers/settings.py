"""Settings of the stages, one model each."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.values import MAX_NEIGHBOURS, MAX_VARIANTS, Expansion, Reranking, RetrievalMode


class StageSettings(BaseModel):
    """Base of the stages' settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TenantSettings(StageSettings):
    """What a tenant's questions get where they do not say; unset takes the query stage's own default."""

    model: str | None = Field(None, description="Model.")
    top_k: int | None = Field(None, gt=0, le=100, description="Passages to retrieve.")
    min_score: float | None = Field(None, ge=-1, le=1, description="Lowest cosine similarity of a passage.")
    mode: RetrievalMode | None = Field(None, description="Search by vectors (dense), words (sparse) or both (hybrid).")
    rerank: Reranking | None = Field(None, description="What orders the best passages again.")
    diversity: float | None = Field(None, ge=0, le=1, description="How much passages that resemble better ones lose.")
    neighbours: int | None = Field(
        None, ge=0, le=MAX_NEIGHBOURS, description="Chunks before and after each passage that come with it."
    )
    expansion: Expansion | None = Field(None, description="What the engine writes before the search.")
    variants: int | None = Field(None, gt=0, le=MAX_VARIANTS, description="How many texts it writes.")
    template: str | None = Field(None, description="Prompt template.")
    max_tokens: int | None = Field(None, gt=0, description="Longest answer, in tokens.")
    temperature: float | None = Field(None, ge=0, le=2, description="Sampling temperature; 0 is greedy.")
    timeout_ms: int | None = Field(None, gt=0, description="Time after which an answer is no longer wanted.")


class QuerySettings(StageSettings):
    """Which questions are taken, and what they get where they do not say."""

    max_question_chars: int = Field(8_000, gt=0, description="Longest question, in characters.")
    max_history_chars: int = Field(
        32_000, gt=0, description="Longest earlier conversation, in characters; its oldest messages are left out first."
    )
    max_in_flight: int = Field(64, gt=0, description="Questions checked at once.")
    models: tuple[str, ...] = Field(
        ("SmolLM2-135M-Instruct",), description="Models that may be asked for; the first is the default."
    )
    tenants: dict[str, TenantSettings] = Field(
        default_factory=lambda: {"default": TenantSettings()}, description="Known tenants and their defaults."
    )
    default_tenant: str = Field("default", description="Tenant of a question or document that names none.")
    top_k: int = Field(5, gt=0, le=100, description="Passages to retrieve.")
    min_score: float = Field(
        0.2, ge=-1, le=1, description="Lowest cosine similarity of a passage, however it was found."
    )
    mode: RetrievalMode = Field("hybrid", description="Search by vectors (dense), words (sparse) or both (hybrid).")
    rerank: Reranking = Field(
        "none", description="What orders the best passages again: none, late_interaction or cross_encoder."
    )
    diversity: float = Field(0.0, ge=0, le=1, description="How much passages that resemble better ones lose.")
    neighbours: int = Field(
        0, ge=0, le=MAX_NEIGHBOURS, description="Chunks before and after each passage that come with it."
    )
    expansion: Expansion = Field(
        "none",
        description="What the engine writes before the search: none, multi_query (the question in other words) or hyde "
        "(passages that might answer it).",
    )
    variants: int = Field(3, gt=0, le=MAX_VARIANTS, description="How many texts it writes.")
    expansion_max_tokens: int = Field(160, gt=0, description="Longest answer of the engine to that, in tokens.")
    template: str = Field("default", description="Prompt template.")
    max_tokens: int = Field(160, gt=0, description="Longest answer, in tokens.")
    temperature: float = Field(0.0, ge=0, le=2, description="Sampling temperature; 0 is greedy.")
    timeout_ms: int = Field(600_000, gt=0, description="Time after which an answer is no longer wanted.")


class EmbeddingSettings(StageSettings):
    """Batches of questions to embed."""

    max_batch: int = Field(
        128, gt=0, description="Questions per batch; those of about the same length share a forward pass."
    )
    linger_ms: int = Field(5, ge=0, description="Longest wait for a batch to fill.")


class RetrievalSettings(StageSettings):
    """Batches of searches, and how two ways of searching become one ranking."""

    max_batch: int = Field(32, gt=0, description="Searches per batch.")
    linger_ms: int = Field(5, ge=0, description="Longest wait for a batch to fill.")
    candidates: int = Field(15, gt=0, le=1_000, description="Passages of each search that a ranking is made from.")
    fusion: Literal["weighted", "rrf"] = Field(
        "weighted", description="Hybrid search: weighted sum of scores between 0 and 1, or reciprocal ranks."
    )
    dense_weight: float = Field(0.5, ge=0, le=1, description="Weight of vectors in hybrid search; words have the rest.")
    rerankers: tuple[Literal["late_interaction", "cross_encoder"], ...] = Field(
        (), description="Rerankers to load; a question may ask for no other."
    )
    rerank_candidates: int = Field(20, gt=0, le=200, description="Best passages that a reranker reads.")
    late_interaction_weight: float = Field(
        0.5, ge=0, le=1, description="Weight of late interaction in the order of what it read; the search has the rest."
    )
    late_interaction_max_tokens: int = Field(
        512, gt=0, description="Tokens that late interaction reads of a passage, as far as the model's positions go."
    )
    late_interaction_cache_mb: int = Field(
        256, ge=0, description="Memory for token vectors of passages that late interaction has read, in MiB."
    )
    cross_encoder_weight: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Weight of the cross-encoder in the order of what it read; the search has the rest.",
    )
    rrf_k: int = Field(60, gt=0, description="How little the first ranks differ in reciprocal rank fusion.")


class PromptSettings(StageSettings):
    """How prompts are built."""

    max_in_flight: int = Field(32, gt=0, description="Prompts built at once.")
    templates_path: str = Field("", description="Folder of NAME.j2 templates; empty takes the ones that come along.")
    max_prompt_tokens: int = Field(1_536, gt=0, description="Longest prompt, in the model's tokens.")
    max_history_tokens: int = Field(
        512, ge=0, description="Tokens of the prompt that earlier messages may take; the oldest are left out first."
    )


class GenerationSettings(StageSettings):
    """How answers are generated."""

    max_in_flight: int = Field(16, gt=0, description="Answers generated at once; near the engine's max_num_seqs.")
    delta_interval_ms: int = Field(40, ge=0, description="Tokens that come closer together travel as one delta.")
    flush_timeout_ms: int = Field(500, gt=0, description="Longest wait of a whole answer for its last delta.")
    expansion_timeout_ms: int = Field(
        30_000, gt=0, description="Longest wait for what a search is expanded with; then the question is all there is."
    )


class ChunkingSettings(StageSettings):
    """How documents are cut."""

    max_in_flight: int = Field(8, gt=0, description="Documents cut at once.")
    max_tokens: int = Field(200, gt=0, description="Longest chunk, in the embedder's tokens.")
    overlap_tokens: int = Field(30, ge=0, description="Tokens repeated from the end of the chunk before.")
    strategy: Literal["auto", "markdown", "text"] = Field(
        "auto",
        description="Where to cut: markdown at headings first, text at paragraphs; auto goes by the document's source.",
    )
    context_tokens: int = Field(
        48, ge=0, description="Longest title and heading path, in tokens, that is embedded before a chunk's text."
    )
    max_document_chars: int = Field(6_000_000, gt=0, description="Longest document, in characters.")


class ChunkEmbeddingSettings(StageSettings):
    """Batches of documents to embed."""

    max_batch: int = Field(4, gt=0, description="Documents per batch.")
    linger_ms: int = Field(20, ge=0, description="Longest wait for a batch to fill.")
    slice_chunks: int = Field(64, gt=0, description="Chunks embedded in one call, whichever document they are of.")


class IndexingSettings(StageSettings):
    """Batches of documents to write to the vector store."""

    max_batch: int = Field(32, gt=0, description="Documents per batch.")
    linger_ms: int = Field(100, ge=0, description="Longest wait for a batch to fill.")
    flush_after_ms: int = Field(
        1_000, ge=0, description="Quiet time after which the index takes in what was written; 0 leaves it to the store."
    )


class ProjectorSettings(StageSettings):
    """Batches of events to show in the live view."""

    max_batch: int = Field(128, gt=0, description="Events per batch.")
    linger_ms: int = Field(5, ge=0, description="Longest wait for a batch to fill.")


class MonitorSettings(StageSettings):
    """The Faust monitor."""

    http_host: str = Field("127.0.0.1", description="Address of the monitor's page.")
    http_port: int = Field(8089, ge=0, le=65535, description="Port of the monitor's page.")
    window_s: int = Field(60, gt=0, description="Length of the latency window, in seconds.")
    max_requests: int = Field(10_000, gt=0, description="Timelines kept.")
