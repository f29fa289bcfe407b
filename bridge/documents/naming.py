"""Names of uploads. What a client calls its file is hostile input: no path, no control, nothing invisible is left."""

import hashlib
import re
import unicodedata
from pathlib import PurePosixPath

NOBODYS = "upload"
_MAX_NAME_CHARS = 150
_MAX_SUFFIX_CHARS = 12
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9._-]+")


def file_name(given: str | None) -> str:
    """What a person recognises the file by: its name without folders, at most 150 characters."""
    name = PurePosixPath((given or "").replace("\\", "/")).name
    name = "".join(character for character in name if not unicodedata.category(character).startswith("C"))
    name = unicodedata.normalize("NFC", " ".join(name.split())).strip(" .")
    suffix = PurePosixPath(name).suffix[:_MAX_SUFFIX_CHARS]
    if len(name) > _MAX_NAME_CHARS:
        name = name[: _MAX_NAME_CHARS - len(suffix)] + suffix
    return name or NOBODYS


def document_id(tenant: str, name: str) -> str:
    """The ID of the document with this name: the same name again is the same document.

    It begins with the tenant, for document IDs are record keys, and those of tenants must not meet.
    """
    plain = _NOT_IN_IDS.sub("-", name).strip("-.")
    if plain != name:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        path = PurePosixPath(plain or NOBODYS)
        plain = f"{path.stem}-{digest}{path.suffix}"
    return f"{own_prefix(tenant)}{plain}"


def own_prefix(tenant: str) -> str:
    """What the IDs of a tenant's uploads begin with."""
    return f"{tenant}/"
