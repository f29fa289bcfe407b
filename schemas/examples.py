"""One example of every event, as the schemas show them and as the golden files began."""

from datetime import UTC, datetime
from typing import Any

import numpy as np

from schemas import events
from schemas.events import Event
from schemas.headers import Headers, Origin, StageTime, derive_id
from schemas.values import (
    ChatMessage,
    Chunk,
    Embedding,
    Passage,
    QueryOptions,
    RetrievalOptions,
    Sampling,
    Source,
    Usage,
)

_REQUEST = "019aa6f2-52a1-7d10-9c5e-3f0a6b1c2d3e"
_DOCUMENT = "python/yield"
_REVISION = "5f0c6d1e8a7b4c3d9e2f1a0b8c7d6e5f"
_ASKED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_ASKED_MS = int(_ASKED.timestamp() * 1000)
_DEADLINE = datetime(2026, 1, 2, 3, 14, 5, tzinfo=UTC)

_SAMPLING = Sampling(max_tokens=160)
_QUERY = events.QueryAccepted(
    request_id=_REQUEST,
    tenant="default",
    question="What does the yield expression do?",
    lane="interactive",
    asked_at=_ASKED,
    deadline_at=_DEADLINE,
    options=QueryOptions(model="SmolLM2-135M-Instruct", top_k=5, min_score=0.2, template="default", sampling=_SAMPLING),
)
_EXPANDING = _QUERY.model_copy(
    update={
        "options": _QUERY.options.model_copy(
            update={"retrieval": RetrievalOptions(mode="hybrid", expansion="multi_query", variants=2)}
        )
    }
)
_CHUNK = Chunk(
    chunk_id="b1946ac92492d2347c6235b4d2611184",
    ordinal=0,
    text="A yield expression makes a generator.",
    start=0,
    end=37,
)
_EMBEDDING = Embedding.pack("all-MiniLM-L6-v2", np.array([0.6, -0.8, 0.0], dtype=np.float32))
_PASSAGE = Passage(
    chunk_id=_CHUNK.chunk_id,
    document_id=_DOCUMENT,
    title="Yield expressions",
    text=_CHUNK.text,
    source="python",
    ordinal=0,
    score=0.75,
)
_SOURCE = Source(number=1, passage=_PASSAGE)
_LETTER: dict[str, Any] = {
    "letter_id": "0b8f1a52c7d94e6f8a3b5c1d2e4f6071",
    "topic": "rag.queries.dead-letters",
    "partition": 3,
    "offset": 7,
    "record_key": _REQUEST,
    "by": "ana@ops",
    "at": _DEADLINE,
}

_API_KEY: dict[str, Any] = {
    "key_id": "4f1c9a7d20be",
    "tenant": "default",
    "label": "the search page",
    "by": "ana@ops",
    "at": _ASKED,
}


def _index_version(version: int, max_tokens: int) -> events.IndexVersion:
    return events.IndexVersion(
        version=version,
        collection=f"ragline_v{version}",
        embedding_model=_EMBEDDING.model,
        settings={"chunking": {"max_tokens": max_tokens, "overlap_tokens": 30}},
        made_at=_ASKED,
    )


EXAMPLES: tuple[Event, ...] = (
    events.QueryAsked(question=_QUERY.question),
    _QUERY,
    events.ExpansionPromptBuilt(
        query=_EXPANDING,
        messages=(ChatMessage(role="user", content="Write 2 other ways to ask: What does the yield expression do?"),),
        samplings=(Sampling(max_tokens=96),),
    ),
    events.QueryExpanded(
        query=_EXPANDING,
        texts=("What is the effect of yield in Python?", "How does a generator hand out values?"),
        usage=Usage(prompt_tokens=61, completion_tokens=21),
    ),
    events.QueryEmbedded(query=_QUERY, embedding=_EMBEDDING),
    events.PassagesRetrieved(
        query=_QUERY, collection="ragline", embedding_model=_EMBEDDING.model, passages=(_PASSAGE,)
    ),
    events.PromptBuilt(
        query=_QUERY,
        template="default",
        template_hash="3a7bd3e2360a3d29eea436fcfb7e44c7",
        messages=(
            ChatMessage(role="system", content="Answer from the sources."),
            ChatMessage(role="user", content="[1] A yield expression makes a generator.\n\nWhat does yield do?"),
        ),
        prompt_tokens=42,
        sources=(_SOURCE,),
        sampling=_SAMPLING,
    ),
    events.Answered(
        request_id=_REQUEST,
        tenant="default",
        question=_QUERY.question,
        answer="It makes the function a generator [1].",
        finish_reason="stop",
        sources=(_SOURCE,),
        model=_QUERY.options.model,
        usage=Usage(prompt_tokens=42, completion_tokens=9),
    ),
    events.RequestFailed(
        request_id=_REQUEST,
        tenant="default",
        stage="query",
        code="question_empty",
        message="the question is empty",
    ),
    events.RequestExpired(request_id=_REQUEST, tenant="default", stage="generation", deadline_at=_DEADLINE),
    events.RequestCancelled(request_id=_REQUEST, tenant="default", stage="generation", reason="the client left"),
    events.CancellationRequested(request_id=_REQUEST, reason="the client left"),
    events.DocumentSubmitted(text=_CHUNK.text, title="Yield expressions", source="python", tenant="default"),
    events.DocumentWithdrawn(),
    events.DocumentChunked(
        document_id=_DOCUMENT,
        revision=_REVISION,
        tenant="default",
        title="Yield expressions",
        source="python",
        chunks=(_CHUNK,),
    ),
    events.ChunksEmbedded(
        document_id=_DOCUMENT,
        revision=_REVISION,
        tenant="default",
        title="Yield expressions",
        source="python",
        chunks=(_CHUNK,),
        embeddings=(_EMBEDDING,),
    ),
    events.DocumentIndexed(document_id=_DOCUMENT, revision=_REVISION, tenant="default", chunks=1, added=1, removed=0),
    events.DocumentFailed(
        document_id=_DOCUMENT,
        revision=_REVISION,
        tenant="default",
        stage="chunking",
        code="document_too_long",
        message="the document has 4000000 characters; at most 3000000 are allowed",
    ),
    events.DeadLetterRedriven(**_LETTER, redrives=1),
    events.DeadLetterDropped(**_LETTER, reason="the question was a test"),
    events.ApiKeyCreated(
        **_API_KEY, digest="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", scopes=("ask", "ingest")
    ),
    events.ApiKeyRevoked(**_API_KEY),
    events.IndexChanged(
        alias="ragline",
        live=_index_version(2, max_tokens=300),
        previous=_index_version(1, max_tokens=200),
        last=2,
        by="ana@ops",
        at=_DEADLINE,
    ),
)
EXAMPLE_BY_TYPE: dict[str, Event] = {example.TYPE: example for example in EXAMPLES}


def example_headers(event: Event) -> Headers:
    """Headers as a record of ``event`` carries them."""
    return Headers(
        id=derive_id("example", event.TYPE),
        type=event.TYPE,
        source="ragline/query",
        time=_ASKED,
        subject=_REQUEST,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        tenant="default",
        deadline_at=_DEADLINE,
        attempt=1,
        origin=Origin("rag.queries", 3, 42),
        timeline=(StageTime("query", _ASKED_MS, _ASKED_MS + 12),),
    )
