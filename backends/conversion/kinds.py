"""Which kind of file it is. Importing this loads none of the libraries that read them."""

import re
from pathlib import PurePosixPath
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["pdf", "docx", "html", "table", "text"]

# As much of a file's beginning as tells its kind; some writers of PDF put a line of their own before its mark.
HEAD_BYTES = 1024
HTML_SUFFIXES = frozenset({".htm", ".html", ".xhtml"})
TABLE_SUFFIXES = frozenset({".csv", ".tsv"})
CONVERTED_SUFFIXES = HTML_SUFFIXES | TABLE_SUFFIXES | {".docx", ".pdf"}
# Word's files before DOCX, and DOCX that is encrypted.
OLE_MARK = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_HTML_MARK = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)


def kind_of(name: str, data: bytes) -> Kind:
    """Tell a file's kind by the first ``HEAD_BYTES`` of its content; ``name`` matters only for what they do not say."""
    head = data[:HEAD_BYTES]
    if b"%PDF-" in head:
        return "pdf"
    if head.startswith((b"PK\x03\x04", OLE_MARK)):
        return "docx"
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in HTML_SUFFIXES or _HTML_MARK.match(head):
        return "html"
    return "table" if suffix in TABLE_SUFFIXES else "text"
