"""The chunking stage: documents to chunks."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from backends import vector_store
from schemas.events import DocumentChunked, DocumentSubmitted, DocumentWithdrawn
from schemas.headers import derive_id
from schemas.revision import document_revision
from schemas.values import Chunk
from topics.specs import DOCUMENTS, TopicSpec
from workers.runtime.stage import Delivery, Outcome, Produce, RejectedError
from workers.settings import ChunkingSettings
from workers.splitting import Piece, Splitter, load_splitter

_MARKDOWN_SUFFIXES = frozenset({".md", ".markdown", ".mdown"})


class ChunkingStage:
    """DocumentSubmitted or DocumentWithdrawn → DocumentChunked.

    ``model`` is the folder or hub name of the embedding model, whose tokenizer measures the chunks; a document that
    names no tenant is the ``default_tenant``'s.
    """

    name = "chunking"
    consumes: tuple[TopicSpec, ...] = (DOCUMENTS,)
    subject: Literal["document"] = "document"

    def __init__(self, settings: ChunkingSettings, model: Path, default_tenant: str) -> None:
        self._settings = settings
        self._model = model
        self._default_tenant = default_tenant
        self._splitter: Splitter | None = None

    @property
    def max_in_flight(self) -> int:
        return self._settings.max_in_flight

    async def start(self) -> None:
        settings = self._settings
        self._splitter = await asyncio.to_thread(
            load_splitter, self._model, settings.max_tokens, settings.overlap_tokens
        )

    async def stop(self) -> None:
        self._splitter = None

    async def handle(self, delivery: Delivery[DocumentSubmitted | DocumentWithdrawn]) -> Outcome:
        event = delivery.event
        tenant = event.tenant_id or delivery.headers.tenant or self._default_tenant
        document = event if isinstance(event, DocumentSubmitted) else DocumentSubmitted(text="")
        problem = next(_problems(delivery.key, tenant, document, self._settings.max_document_chars), None)
        if problem:
            return RejectedError("bad_document", problem)
        # The splitter works for seconds on a long document, without the interpreter's lock.
        chunks = await asyncio.to_thread(self._chunks, tenant, delivery.key, document)
        chunked = DocumentChunked(
            document_id=delivery.key,
            revision=document_revision(document),
            tenant=tenant,
            title=document.title,
            source=document.source,
            chunks=tuple(chunks),
        )
        return Produce((chunked,))

    def _chunks(self, tenant: str, document_id: str, document: DocumentSubmitted) -> list[Chunk]:
        if self._splitter is None:
            msg = "the chunking stage has not been started"
            raise RuntimeError(msg)
        markdown = PurePosixPath(document.source).suffix.lower() in _MARKDOWN_SUFFIXES
        pieces = self._splitter.split(document.text, markdown=markdown)
        return number_chunks(tenant, document_id, document, pieces)


def number_chunks(tenant: str, document_id: str, document: DocumentSubmitted, pieces: Sequence[Piece]) -> list[Chunk]:
    """Give each piece an ID made from what is stored under it: an edit elsewhere in the document does not change it,
    and the same text again gets one of its own.
    """
    seen: Counter[str] = Counter()
    chunks = []
    for ordinal, piece in enumerate(pieces):
        chunk_id = derive_id(tenant, document_id, document.title, document.source, piece.text, seen[piece.text])
        seen[piece.text] += 1
        chunks.append(Chunk(chunk_id=chunk_id, ordinal=ordinal, text=piece.text, start=piece.start, end=piece.end))
    return chunks


def _problems(document_id: str, tenant: str, document: DocumentSubmitted, max_chars: int) -> Iterator[str]:
    """Why the document cannot be taken, one sentence each."""
    if len(document.text) > max_chars:
        yield f"The document has {len(document.text)} characters; {max_chars} are allowed."
    fields = (
        ("document ID", document_id, vector_store.MAX_DOCUMENT_ID_BYTES),
        ("tenant", tenant, vector_store.MAX_TENANT_BYTES),
        ("title", document.title, vector_store.MAX_TITLE_BYTES),
        ("source", document.source, vector_store.MAX_SOURCE_BYTES),
        ("text", document.text, None),
    )
    for name, value, max_bytes in fields:
        if "\x00" in value:
            yield f"The document's {name} holds a NUL character at {value.index(chr(0))}; it must be text."
            continue
        try:
            size = len(value.encode())
        except UnicodeEncodeError as error:
            yield f"The document's {name} is not valid Unicode at character {error.start}."
            continue
        if max_bytes is not None and size > max_bytes:
            yield f"The document's {name} has {size} bytes; {max_bytes} are allowed."
