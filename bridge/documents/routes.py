"""``/v1/documents``. What people upload becomes an event like any other document."""

import time
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from backends.conversion import ConversionError, Converted
from backends.errors import BackendRejectedError
from backends.vector_store import MAX_DOCUMENT_ID_BYTES
from bridge.access import Ingester, Principal
from bridge.core import Core
from bridge.documents.naming import document_id as id_of
from bridge.documents.naming import own_prefix
from bridge.documents.states import WITHDRAWN_REVISION, DocumentBody, Submission, state
from bridge.documents.uploads import (
    MAX_TITLE_CHARS,
    REQUEST_BODY,
    TooLargeError,
    UnreadableFileError,
    UnsupportedFileError,
    Upload,
    received,
)
from bridge.errors import BridgeError, NotFoundError, OverloadedError, documented
from bridge.kept import beside, keep, kept
from bridge.leaving import CLIENT_LEFT, ClientLeftError, unless_client_leaves
from schemas.events import DocumentSubmitted, DocumentWithdrawn
from schemas.revision import document_revision
from schemas.values import Count

_RETRY_AFTER_S = 5

_LINKS = {
    name: {"operationId": name, "parameters": {"document_id": "$response.body#/document_id"}}
    for name in ("see_document", "withdraw_document")
}
_Id = Annotated[
    str,
    Path(
        min_length=1,
        max_length=MAX_DOCUMENT_ID_BYTES,
        description="As it was given when the document was uploaded; a slash in it stands as it is.",
    ),
]


class UploadedBody(DocumentBody):
    """A document on its way. ``characters`` is the length of its text."""

    title: str
    source: str
    characters: Count


def document_routes() -> APIRouter:
    """Routes under ``/v1/documents``."""
    router = APIRouter(prefix="/v1/documents", tags=["documents"])

    @router.post(
        "",
        status_code=202,
        summary="Upload a document",
        response_model=UploadedBody,
        responses=documented(400, 408, 413, 415) | {202: {"links": _LINKS}},
        openapi_extra={"requestBody": REQUEST_BODY},
    )
    async def upload(request: Request, principal: Ingester) -> UploadedBody | Response:
        """Text, Markdown, HTML, PDF, DOCX or CSV, as `multipart/form-data`. Searchable once its status says so."""
        core: Core = request.app.state.core
        await core.allow(principal)
        async with received(request) as uploaded:
            try:
                converted = await unless_client_leaves(request, _text_of(core, uploaded))
            except ClientLeftError:
                return Response(status_code=CLIENT_LEFT)
        return await _submit(core, principal, uploaded, converted)

    @router.get(
        "/{document_id:path}",
        operation_id="see_document",
        summary="See what has become of a document",
        responses=documented(404),
    )
    async def see_document(request: Request, principal: Ingester, document_id: _Id) -> DocumentBody:
        """Whether it is searchable yet."""
        core: Core = request.app.state.core
        await core.allow(principal)
        return await _find(core, principal, document_id)

    @router.delete(
        "/{document_id:path}",
        operation_id="withdraw_document",
        status_code=202,
        summary="Take a document away",
        responses=documented(404),
    )
    async def withdraw(request: Request, principal: Ingester, document_id: _Id) -> DocumentBody:
        """It is found no more once `GET` answers 404."""
        core: Core = request.app.state.core
        await core.allow(principal)
        if not document_id.startswith(own_prefix(principal.tenant)):
            await _find(core, principal, document_id)
        at_ms = _now_ms()
        await core.publisher.publish(document_id, DocumentWithdrawn(), tenant=principal.tenant)
        note = Submission(revision=WITHDRAWN_REVISION, at_ms=at_ms)
        await keep(core.live_view, _beside(principal, document_id), note)
        return DocumentBody(document_id=document_id, status="removing")

    return router


async def _text_of(core: Core, uploaded: Upload) -> Converted:
    try:
        return await core.converter.convert(uploaded.name, uploaded.file.read)
    except ConversionError as error:
        raise _refusal(error) from error


async def _submit(core: Core, principal: Principal, uploaded: Upload, converted: Converted) -> UploadedBody:
    title = (uploaded.title or converted.title)[:MAX_TITLE_CHARS]
    event = DocumentSubmitted(
        text=converted.text,
        title=title,
        source=uploaded.name,
        tenant=principal.tenant,
        metadata=dict(uploaded.metadata),
        page_starts=converted.page_starts,
    )
    document_id, at_ms = id_of(principal.tenant, uploaded.name), _now_ms()
    try:
        await core.publisher.publish(document_id, event, tenant=principal.tenant)
    except BackendRejectedError as error:
        raise TooLargeError(f"The text of the file is too long: {error} Split the file.") from error
    note = Submission(revision=document_revision(event), at_ms=at_ms)
    await keep(core.live_view, _beside(principal, document_id), note)
    return UploadedBody(
        document_id=document_id,
        status="processing",
        title=title,
        source=uploaded.name,
        characters=len(converted.text),
    )


async def _find(core: Core, principal: Principal, document_id: str) -> DocumentBody:
    submission = await kept(core.live_view, _beside(principal, document_id), Submission)
    found = state(document_id, submission, core.documents.find(principal.tenant, document_id))
    if found is None:
        if not core.documents.ready.is_set():
            message = "What became of documents is not known here yet; try again in a moment."
            raise OverloadedError(message, retry_after_s=_RETRY_AFTER_S)
        raise NotFoundError(f"Document {document_id} is not known here, or no longer.")
    return found


def _refusal(error: ConversionError) -> BridgeError:
    match error.code:
        case "unsupported":
            return UnsupportedFileError(str(error))
        case "too_large":
            return TooLargeError(str(error))
        case "busy":
            return OverloadedError(str(error), retry_after_s=_RETRY_AFTER_S)
        case code:
            return UnreadableFileError(str(error), code=f"{code}_file" if code != "too_slow" else code)


def _beside(principal: Principal, document_id: str) -> str:
    return beside("documents", principal.tenant, document_id)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
