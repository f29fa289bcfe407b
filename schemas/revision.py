"""The revision of a document: a hash of its content, the same wherever it is computed."""

from schemas.events import DocumentSubmitted
from schemas.headers import derive_id


def document_revision(event: DocumentSubmitted) -> str:
    """Name the content of a document: 32 hexadecimal digits, equal for equal text, title, source and tenant."""
    return derive_id(event.tenant or "", event.title, event.source, event.text)
