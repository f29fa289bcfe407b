"""The chunking stage: documents to chunks."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from backends import vector_store
from backends.errors import BackendRejectedError, BackendUnavailableError
from backends.references import References
from schemas.events import DocumentChunked, DocumentSubmitted, DocumentWithdrawn
from schemas.headers import derive_id
from schemas.revision import document_revision
from schemas.values import Chunk
from topics.specs import DOCUMENTS, TopicSpec
from workers.outline import Outline, context_of
from workers.runtime.stage import Delivery, Outcome, Produce, RejectedError, RetryableError
from workers.settings import ChunkingSettings
from workers.splitting import Piece, Splitter, load_splitter

# Of HTML and DOCX the conversion makes Markdown.
_MARKDOWN_SUFFIXES = frozenset({".docx", ".htm", ".html", ".markdown", ".md", ".mdown", ".xhtml"})


class ChunkingStage:
    """DocumentSubmitted or DocumentWithdrawn → DocumentChunked.

    ``model`` is the folder or hub name of the embedding model, whose tokenizer measures the chunks, and ``model_name``
    what its vectors are known by; ``prompt`` is what it reads before a passage. A document that names no tenant is the
    ``default_tenant``'s.
    """

    name = "chunking"
    consumes: tuple[TopicSpec, ...] = (DOCUMENTS,)
    subject: Literal["document"] = "document"

    def __init__(
        self,
        settings: ChunkingSettings,
        model: Path,
        model_name: str,
        default_tenant: str,
        references: References,
        prompt: str = "",
    ) -> None:
        self._settings = settings
        self._references = references
        self._model = model
        self._prompt = prompt
        # As it was before there were prompts, where there is none: chunks that are stored keep their IDs.
        self._vectors = (model_name, prompt) if prompt else (model_name,)
        self._default_tenant = default_tenant
        self._splitter: Splitter | None = None

    @property
    def max_in_flight(self) -> int:
        return self._settings.max_in_flight

    async def start(self) -> None:
        settings = self._settings
        self._splitter = await asyncio.to_thread(
            load_splitter,
            self._model,
            settings.max_tokens,
            settings.overlap_tokens,
            settings.context_tokens,
            self._prompt,
        )

    async def stop(self) -> None:
        self._splitter = None

    async def handle(self, delivery: Delivery[DocumentSubmitted | DocumentWithdrawn]) -> Outcome:
        event = delivery.event
        tenant = event.tenant_id or delivery.headers.tenant or self._default_tenant
        document = event if isinstance(event, DocumentSubmitted) else DocumentSubmitted(text="")
        if delivery.headers.dataref and isinstance(event, DocumentSubmitted) and not event.text:
            try:
                text = await self._references.read(delivery.headers.dataref)
            except BackendRejectedError as error:
                return RejectedError("bad_reference", f"The document's text cannot be fetched: {error}.")
            except BackendUnavailableError as error:
                return RetryableError("reference_unavailable", f"The document's text cannot be fetched: {error}.")
            document = event.model_copy(update={"text": text})
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
        markdown = self._is_markdown(document)
        pieces = self._splitter.split(document.text, markdown=markdown)
        outline = Outline(document.text if markdown else "")
        contexts = self._contexts(self._splitter, document.title, [outline.path_at(begin) for begin in begins(pieces)])
        return number_chunks((*self._vectors, tenant, document_id), document, pieces, contexts)

    def _is_markdown(self, document: DocumentSubmitted) -> bool:
        if self._settings.strategy == "auto":
            return PurePosixPath(document.source).suffix.lower() in _MARKDOWN_SUFFIXES
        return self._settings.strategy == "markdown"

    def _contexts(self, splitter: Splitter, title: str, paths: Sequence[tuple[str, ...]]) -> list[str]:
        max_tokens = self._settings.context_tokens
        known = {path: context_of(title, path, lambda text: splitter.cut(text, max_tokens)) for path in set(paths)}
        return [known[path] for path in paths]


def begins(pieces: Sequence[Piece]) -> Iterator[int]:
    """Where each piece begins with what the one before did not hold."""
    before = 0
    for piece in pieces:
        begin = max(piece.start, before)
        fresh = piece.text[begin - piece.start :]
        yield begin + len(fresh) - len(fresh.lstrip("\n\r\t "))
        before = piece.end


def number_chunks(
    owner: Sequence[str], document: DocumentSubmitted, pieces: Sequence[Piece], contexts: Sequence[str]
) -> list[Chunk]:
    """Give each piece an ID made from what is stored under it, its vector included: an edit elsewhere in the document
    does not change it, and the same text again gets one of its own.

    ``owner`` is whose it is: embedding model with its prompt, tenant and document ID.
    """
    seen: Counter[tuple[str, str]] = Counter()
    chunks = []
    for ordinal, (piece, context) in enumerate(zip(pieces, contexts, strict=True)):
        again = seen[piece.text, context]
        seen[piece.text, context] += 1
        chunks.append(
            Chunk(
                chunk_id=derive_id(*owner, document.title, document.source, context, piece.text, again),
                ordinal=ordinal,
                text=piece.text,
                start=piece.start,
                end=piece.end,
                context=context,
            )
        )
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
