"""An upload as it comes in: one file, and what its sender says of it.

It is read only once its sender is known, and from the network straight to a temporary file.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import Request
from starlette.datastructures import FormData, UploadFile

from backends.metadata import MAX_BYTES, MetadataError, checked
from bridge.documents.naming import file_name
from bridge.errors import BridgeError
from schemas.values import MetadataValue

_MAX_FIELD_BYTES = 4_096
MAX_TITLE_CHARS = 300
_FIELDS = ("file", "title", "metadata")
_MULTIPART = "multipart/form-data"

# FastAPI reads a declared form before it asks who sends it.
REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        _MULTIPART: {
            "schema": {
                "type": "object",
                "required": ["file"],
                "additionalProperties": False,
                "properties": {
                    "file": {
                        "type": "string",
                        "format": "binary",
                        "description": "Text, Markdown, HTML, PDF, DOCX or CSV. Its name is the document's: the same "
                        "name again replaces it.",
                    },
                    "title": {
                        "type": "string",
                        "maxLength": MAX_TITLE_CHARS,
                        "description": "What the passages are headed with; by default what the file calls itself.",
                    },
                    "metadata": {
                        "type": "string",
                        "maxLength": MAX_BYTES,
                        "contentMediaType": "application/json",
                        "description": "An object of texts, numbers, true and false, which questions may filter by.",
                    },
                },
            }
        }
    },
}


class UnsupportedFileError(BridgeError):
    """The upload is nothing that is read."""

    status = 415
    code = "unsupported_file"


class UnreadableFileError(BridgeError):
    """The upload is of a kind that is read, but cannot be."""

    status = 422
    code = "unreadable_file"


class TooLargeError(BridgeError):
    """The upload is larger than is taken."""

    status = 413
    code = "too_large"


@dataclass(frozen=True, slots=True)
class Upload:
    """A file; ``name`` has nothing dangerous left."""

    name: str
    title: str
    file: UploadFile
    metadata: dict[str, MetadataValue]


@asynccontextmanager
async def received(request: Request) -> AsyncIterator[Upload]:
    """The upload, for as long as the block runs.

    Raises:
        UnsupportedFileError: the body is not a form with a file.
        UnreadableFileError: it has no file or several, or a title or metadata that cannot be used.
        starlette.exceptions.HTTPException: the form is damaged, or over the limits.
    """
    if not request.headers.get("content-type", "").lower().startswith(_MULTIPART):
        raise UnsupportedFileError(f"Send the file as {_MULTIPART}, in the field file.")
    async with request.form(max_files=1, max_fields=8, max_part_size=_MAX_FIELD_BYTES) as form:
        yield _upload(form)


def _upload(form: FormData) -> Upload:
    if unknown := form.keys() - set(_FIELDS):
        name = min(unknown)[:50]
        raise UnreadableFileError(f"The form has the fields {', '.join(_FIELDS)}, and none named {name!r}.")
    file, title = form.get("file"), form.get("title", "")
    if not isinstance(file, UploadFile):
        raise UnreadableFileError("The form needs one file, in the field file.")
    if not isinstance(title, str) or len(title) > MAX_TITLE_CHARS:
        raise UnreadableFileError(f"The title must be text of at most {MAX_TITLE_CHARS} characters.")
    return Upload(file_name(file.filename), " ".join(title.split()), file, _metadata(form.get("metadata", "{}")))


def _metadata(field: UploadFile | str) -> dict[str, MetadataValue]:
    try:
        found = orjson.loads(field) if isinstance(field, str) else None
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise UnreadableFileError("The metadata must be a JSON object, as text.")
    try:
        return checked(found)
    except MetadataError as error:
        raise UnreadableFileError(str(error)) from error
