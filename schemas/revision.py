"""The revision of a document: a hash of its content, the same wherever it is computed."""

import json

from schemas.events import DocumentSubmitted
from schemas.headers import derive_id


def document_revision(event: DocumentSubmitted) -> str:
    """Name the content of a document: 32 hexadecimal digits, equal for equal text, title, source, tenant, metadata and
    pages.
    """
    parts = [event.tenant or "", event.title, event.source, event.text]
    if event.metadata or event.page_starts:
        # The standard library's JSON also writes what is no Unicode, which a stage then refuses.
        parts.append(json.dumps([event.metadata, event.page_starts], sort_keys=True))
    return derive_id(*parts)
