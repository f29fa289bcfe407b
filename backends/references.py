"""Texts that are too long for a record and travel beside it: the record says where (CloudEvents' ``dataref``).

A reference comes from whoever may write to a topic, so it opens nothing but files and S3 objects below the prefixes
that the settings name.
"""

import asyncio
import hashlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, NoReturn, TypeVar
from urllib.parse import quote, unquote, urlsplit

import fsspec
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from backends.errors import BackendRejectedError, BackendUnavailableError
from backends.texts import NotTextError, decode_text

A = TypeVar("A")
R = TypeVar("R")

_SCHEMES = ("file", "s3")
_SHOWN_CHARS = 200


class ReferenceSettings(BaseModel):
    """Which references are followed, and where ingest puts what must travel by one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    allowed: tuple[str, ...] = Field(
        (), description="Prefixes of what may be referred to: file:///folder/ or s3://bucket/prefix/. None allows none."
    )
    write_to: str = Field(
        "", description="Prefix, of those allowed, under which ingest puts texts over a record's limit; empty for none."
    )
    max_bytes: int = Field(64 * 1024 * 1024, gt=0, description="Longest text that is fetched.")
    timeout_ms: int = Field(30_000, gt=0, description="Longest wait for one text.")

    @field_validator("allowed")
    @classmethod
    def _are_folders(cls, prefixes: tuple[str, ...]) -> tuple[str, ...]:
        for prefix in prefixes:
            _parse(prefix)
            if not prefix.endswith("/"):
                msg = f"{prefix} must end with a slash, or it would allow what only begins like it"
                raise ValueError(msg)
        return prefixes

    @model_validator(mode="after")
    def _writes_where_it_may_read(self) -> "ReferenceSettings":
        if self.write_to and not self.write_to.startswith(self.allowed or ("\n",)):
            msg = "write_to must be below one of the prefixes in allowed"
            raise ValueError(msg)
        return self


class _Place(NamedTuple):
    """A file's path, or a bucket and key."""

    scheme: str
    path: str


class References:
    """Reads and writes texts by reference, in threads; of S3 with the credentials that boto finds."""

    def __init__(self, settings: ReferenceSettings) -> None:
        self._settings = settings
        self._allowed = [_parse(prefix) for prefix in settings.allowed]

    @property
    def can_write(self) -> bool:
        """Whether there is a place to put texts."""
        return bool(self._settings.write_to)

    async def read(self, uri: str) -> str:
        """The text that is there.

        Raises:
            BackendRejectedError: the reference is not allowed, or leads to no text, or to one that is too long.
            BackendUnavailableError: what holds the text does not answer.
        """
        try:
            text = decode_text(await self._in_time(self._read, uri))
        except NotTextError as error:
            raise BackendRejectedError(f"what {_shown(uri)} refers to is no text: {error}") from error
        if not text.strip():
            # A document without text would be taken for one that is to go.
            raise BackendRejectedError(f"what {_shown(uri)} refers to is empty")
        return text

    async def write(self, text: str) -> str:
        """Put a text where ``read`` finds it; gives its reference, the same for the same text.

        Raises:
            BackendRejectedError: it cannot be put there.
            BackendUnavailableError: what holds the texts does not answer.
        """
        return await self._in_time(self._write, text.encode())

    async def _in_time(self, call: Callable[[A], R], argument: A) -> R:
        try:
            async with asyncio.timeout(self._settings.timeout_ms / 1000):
                return await asyncio.to_thread(call, argument)
        except TimeoutError as error:
            msg = f"what is referred to was not there within {self._settings.timeout_ms} ms"
            raise BackendUnavailableError(msg) from error

    def _read(self, uri: str) -> bytes:
        place = self._place(uri)
        limit = self._settings.max_bytes
        files = _filesystem(place.scheme)
        try:
            with files.open(place.path, "rb") as file:
                data: bytes = file.read(limit + 1)
        except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
            msg = f"what {_shown(uri)} refers to cannot be opened: {error.strerror or type(error).__name__}"
            raise BackendRejectedError(msg) from error
        except Exception as error:  # libraries of filesystems raise what they like
            msg = f"what {_shown(uri)} refers to cannot be read now: {error}"
            raise BackendUnavailableError(msg) from error
        if len(data) > limit:
            msg = f"what {_shown(uri)} refers to has over {limit:,} bytes; split it"
            raise BackendRejectedError(msg)
        return data

    def _place(self, uri: str) -> _Place:
        """Where a reference leads.

        Raises:
            BackendRejectedError: it may not be followed.
        """
        try:
            place = _parse(uri)
        except ValueError as error:
            raise BackendRejectedError(f"the reference {_shown(uri)} is refused: {error}") from error
        if place.scheme == "file":
            # Links are followed first, for one could lead out of what is allowed.
            place = _Place("file", os.path.realpath(place.path))
        if not any(_is_below(place, allowed) for allowed in self._allowed):
            _refuse(uri, "it is not below a prefix in references.allowed")
        if place.scheme == "file" and Path(place.path).exists() and not Path(place.path).is_file():
            _refuse(uri, "it is not a file")
        return place

    def _write(self, data: bytes) -> str:
        uri = f"{self._settings.write_to.removesuffix('/')}/{hashlib.sha256(data).hexdigest()}.txt"
        place = self._place(uri)
        files = _filesystem(place.scheme)
        try:
            if not files.exists(place.path):
                _put(files, place, data)
        except Exception as error:  # libraries of filesystems raise what they like
            msg = f"{self._settings.write_to} takes no text: {error}"
            raise BackendRejectedError(msg) from error
        return uri


def _put(files: Any, place: _Place, data: bytes) -> None:
    if place.scheme != "file":
        files.pipe_file(place.path, data)
        return
    files.makedirs(str(PurePosixPath(place.path).parent), exist_ok=True)
    # Under its name it is whole, also for who writes the same at this moment.
    partial = f"{place.path}.{uuid.uuid4().hex}.part"
    files.pipe_file(partial, data)
    os.replace(partial, place.path)  # noqa: PTH105 - a path as fsspec has it


def _parse(uri: str) -> _Place:
    """Read a reference.

    Raises:
        ValueError: it is no plain ``file:///path`` or ``s3://bucket/key``.
    """
    parts = urlsplit(uri)
    path = unquote(parts.path, errors="strict")
    if parts.scheme not in _SCHEMES:
        msg = f"only {' and '.join(f'{scheme}://' for scheme in _SCHEMES)} are followed"
        raise ValueError(msg)
    if parts.query or parts.fragment or "\0" in path or any(part in {".", ".."} for part in path.split("/")):
        msg = "it must be a plain path"
        raise ValueError(msg)
    if parts.scheme == "file":
        if parts.netloc not in {"", "localhost"} or not path.startswith("/"):
            msg = "a file is referred to as file:///path"
            raise ValueError(msg)
        return _Place("file", path)
    if not parts.netloc or any(character in parts.netloc for character in "@:%*"):
        msg = "an object is referred to as s3://bucket/key"
        raise ValueError(msg)
    return _Place("s3", f"{parts.netloc}{path}")


def _is_below(place: _Place, allowed: _Place) -> bool:
    top = os.path.realpath(allowed.path) if allowed.scheme == "file" else allowed.path
    return place.scheme == allowed.scheme and place.path.startswith(f"{top.rstrip('/')}/")


def _filesystem(scheme: str) -> Any:
    try:
        return fsspec.filesystem(scheme, skip_instance_cache=True)
    except ImportError as error:
        msg = f"references to {scheme}:// need a library that is not here; install ragline with the extra {scheme!r}"
        raise BackendRejectedError(msg) from error


def _shown(uri: str) -> str:
    return quote(uri[:_SHOWN_CHARS], safe="/:%")


def _refuse(uri: str, reason: str) -> NoReturn:
    raise BackendRejectedError(f"the reference {_shown(uri)} is refused: {reason}")
