"""API keys: how they are made and recognised. Pure; only a key's digest is ever kept.

A key is ``rl_<ID>_<secret>``. The secret has 256 random bits, so a plain SHA-256 of the key cannot be turned round; a
slow hash is for what people make up.
"""

import hashlib
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

from schemas.events import ApiKeyCreated, ApiKeyRevoked

Scope: TypeAlias = Literal["ask", "ingest", "admin"]

SCOPES: tuple[Scope, ...] = ("ask", "ingest", "admin")
TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PREFIX = "rl"
_ID_BYTES = 6
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made: ``text`` is told once and never kept."""

    key_id: str
    text: str = field(repr=False)

    @property
    def digest(self) -> str:
        """What is kept of it."""
        return digest(self.text)


def new_key() -> NewKey:
    """Make a key."""
    key_id = secrets.token_hex(_ID_BYTES)
    return NewKey(key_id, f"{_PREFIX}_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}")


def looks_like_key(text: str) -> bool:
    """Whether a credential is meant to be an API key."""
    return text.startswith(f"{_PREFIX}_")


def digest(text: str) -> str:
    """SHA-256 of a key, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class KeyRing:
    """The keys that are valid, as events tell. ``watch`` says when one no longer is."""

    def __init__(self) -> None:
        self._by_digest: dict[str, ApiKeyCreated] = {}
        self._by_id: dict[str, ApiKeyCreated] = {}
        self._revoked: set[str] = set()
        self._watchers: dict[str, set[Callable[[], None]]] = {}

    def __iter__(self) -> Iterator[ApiKeyCreated]:
        return iter(self._by_id.values())

    def take(self, event: ApiKeyCreated | ApiKeyRevoked) -> None:
        """Note what has become of a key. Revoked is revoked, in whatever order that is heard."""
        if isinstance(event, ApiKeyRevoked):
            self._revoked.add(event.key_id)
            if known := self._by_id.pop(event.key_id, None):
                self._by_digest.pop(known.digest, None)
            for watcher in self._watchers.pop(event.key_id, ()):
                watcher()
        elif event.key_id not in self._revoked:
            self._by_id[event.key_id] = self._by_digest[event.digest] = event

    def find(self, text: str, now: datetime) -> ApiKeyCreated | None:
        """The key that ``text`` is, if it is valid at ``now``.

        It is looked up by its digest: how long that takes says nothing of the key.
        """
        key = self._by_digest.get(digest(text))
        return key if key and (key.valid_until is None or now < key.valid_until) else None

    def watch(self, key_id: str, watcher: Callable[[], None]) -> Callable[[], None]:
        """Call ``watcher`` when the key is revoked; gives what ends the watching."""
        if key_id in self._revoked:
            watcher()
            return lambda: None
        watchers = self._watchers.setdefault(key_id, set())
        watchers.add(watcher)

        def unwatch() -> None:
            watchers.discard(watcher)
            if not watchers and self._watchers.get(key_id) is watchers:
                del self._watchers[key_id]

        return unwatch
