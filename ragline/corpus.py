"""Where documents come from: files, folders, patterns, JSON lines, BEIR data sets, standard input, the demo corpus.

What is found is yielded lazily: one document at a time is in memory. What cannot be read is yielded as ``Skipped``,
with the reason; what must be converted first as ``File``.

The document ID of a file is its path within the folder that was named, after the folder's name: ``notes/a/b.md`` for
``ingest /home/me/notes``, wherever it is run from, and for ``notes/**/*.md``; of a JSON line, its ``_id`` or ``id``.
"""

import glob
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TextIO, TypeAlias

import orjson

from backends.conversion.kinds import HEAD_BYTES, kind_of
from backends.metadata import is_value
from backends.texts import NotTextError, decode_text, title_of
from ragline import pydoc_topics
from ragline.file_suffixes import READ_SUFFIXES

_BEIR_CORPUS = "corpus.jsonl"
_LEFT_OUT = "left out: metadata takes texts, numbers, true and false"
_MAX_NOTICES = 20
# A larger file cannot fit in a record, whatever its encoding.
_MAX_FILE_BYTES = 16 * 1024 * 1024


class CorpusError(ValueError):
    """What was named cannot be ingested at all; the message says why."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document to ingest. ``source`` is what a person recognises it by: a path, an address.

    ``metadata`` and ``page_starts`` are as in ``DocumentSubmitted``.
    """

    id: str
    text: str
    title: str = ""
    source: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict)
    page_starts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class File:
    """A file whose text must be taken out of it first. ``name`` is what a person recognises it by."""

    document_id: str
    path: Path
    name: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """What was not read, and why. ``is_failure`` tells damaged input from what was never meant to be read."""

    name: str
    reason: str
    is_failure: bool = True


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A document to take away."""

    id: str
    tenant: str


Item: TypeAlias = Document | Withdrawal | Skipped
Found: TypeAlias = Item | File


def demo_documents() -> Iterator[Document]:
    """The language reference that every Python carries."""
    for topic in pydoc_topics.topics():
        yield Document(f"python/{topic.name}", topic.text, topic.title, f"pydoc:{topic.name}")


def read_all(names: Iterable[str], prefix: str | None = None) -> Iterator[Found]:
    """Read files, folders, patterns (``docs/**/*.md``) and ``-`` for standard input, in this order.

    ``prefix`` takes the place of a folder's name in document IDs, and is put before all others.

    Raises:
        CorpusError: one of the names does not exist, or no file matches it, which is found before any is read.
    """
    names = list(names)
    for name in names:
        if name != "-" and not Path(name).exists() and not any(_matches(name)):
            kind = "file that matches" if glob.has_magic(name) else "file or folder"
            msg = f"there is no {kind} {name}"
            raise CorpusError(msg)
    # At once: a thread that waits for a keyboard could not be stopped.
    typed = list(_from_stream(sys.stdin, prefix)) if "-" in names else []
    return (item for name in names for item in (typed if name == "-" else _read(name, prefix)))


def read_lines(lines: Iterable[bytes], name: str, prefix: str | None = None) -> Iterator[Item]:
    """Read JSON lines: objects with ``text``, and if they like ``_id`` or ``id``, ``title``, ``source``, ``metadata``.

    What in ``metadata`` is neither text nor a number nor true or false is left out, and said once for each field.
    """
    left_out: set[str] = set()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{name}:{number}"
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            yield Skipped(where, f"not JSON: {error}")
            continue
        item = _from_record(record, where, prefix)
        if isinstance(item, Document):
            for field_name in _other_fields(item.metadata) - left_out:
                if len(left_out) < _MAX_NOTICES:
                    yield Skipped(f"{name}: metadata.{field_name}", _LEFT_OUT, is_failure=False)
                left_out.add(field_name)
            item = replace(item, metadata={key: value for key, value in item.metadata.items() if is_value(value)})
        yield item


def _read(name: str, prefix: str | None) -> Iterator[Found]:
    path = Path(name).resolve()
    if path.is_dir():
        yield from _read_folder(path, prefix)
    elif glob.has_magic(name) and not path.exists():
        yield from _read_matches(name, prefix)
    elif path.suffix == ".jsonl":
        yield from _read_jsonl(path, name, prefix)
    else:
        yield _read_file(path, _under(prefix, path.name), name)


def _read_folder(folder: Path, prefix: str | None) -> Iterator[Found]:
    if (folder / _BEIR_CORPUS).is_file():
        yield from _read_jsonl(folder / _BEIR_CORPUS, f"{folder.name}/{_BEIR_CORPUS}", prefix)
        return
    for path in _files(folder):
        yield from _read_member(path, folder, prefix)


def _read_matches(pattern: str, prefix: str | None) -> Iterator[Found]:
    """The files that match; what is before the pattern's first special character is their folder."""
    parts = Path(pattern).parts
    plain = next(at for at, part in enumerate(parts) if glob.has_magic(part))
    folder = Path(*parts[:plain]).resolve()
    for path in sorted(_matches(pattern)):
        yield from _read_member(folder / path.relative_to(Path(*parts[:plain])), folder, prefix)


def _matches(pattern: str) -> Iterator[Path]:
    if not glob.has_magic(pattern):
        return iter(())
    return (path for path in map(Path, glob.iglob(pattern, recursive=True)) if not path.is_dir())  # noqa: PTH207 - Path.glob takes no absolute patterns


def _read_member(path: Path, folder: Path, prefix: str | None) -> Iterator[Found]:
    """A file that was not named by itself: of one that is nothing to read that is said, and no failure."""
    document_id = _under(folder.name if prefix is None else prefix, path.relative_to(folder).as_posix())
    if path.suffix == ".jsonl":
        yield from _read_jsonl(path, document_id, prefix)
    elif path.is_symlink() and path.is_dir():
        yield Skipped(document_id, "a link to a folder, which is not followed", is_failure=False)
    elif path.suffix.lower() not in READ_SUFFIXES:
        yield Skipped(
            document_id, f"{path.suffix or 'a file without suffix'} is nothing that is read", is_failure=False
        )
    else:
        yield _read_file(path, document_id, document_id)


def _files(folder: Path) -> Iterator[Path]:
    """Everything below a folder but hidden files, in the order of names; links to folders are given, not followed."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for name in sorted([*files, *links]):
            if not name.startswith("."):
                yield Path(parent, name)


def _read_file(path: Path, document_id: str, name: str) -> Found:
    try:
        document_id.encode()
        text = _open(path)
    except UnicodeEncodeError:
        return Skipped(name.encode(errors="replace").decode(), "its name is not UTF-8")
    except NotTextError as error:
        return Skipped(name, str(error))
    except OSError as error:
        return Skipped(name, f"cannot be read: {error.strerror}")
    if text is None:
        return File(document_id, path, name)
    if not text.strip():
        return Skipped(name, "empty", is_failure=False)
    return Document(document_id, text, title_of(text, PurePosixPath(path.name)), document_id)


def _open(path: Path) -> str | None:
    """The text of a file; None where it must be converted.

    Raises:
        NotTextError: it is no file, too large, or in another encoding.
        OSError: it cannot be read.
    """
    if not path.is_file():
        raise NotTextError("not a file" if path.exists() else "a link that leads nowhere")
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        return _text_of(head + file.read(_MAX_FILE_BYTES)) if kind_of(path.name, head) == "text" else None


def _text_of(data: bytes) -> str:
    if len(data) > _MAX_FILE_BYTES:
        raise NotTextError(f"larger than {_MAX_FILE_BYTES // 1024**2} MiB; split it")
    return decode_text(data)


def _read_jsonl(path: Path, name: str, prefix: str | None) -> Iterator[Item]:
    try:
        with path.open("rb") as file:
            # In pieces, for a file without line ends would fill the memory.
            yield from read_lines(iter(lambda: file.readline(_MAX_FILE_BYTES), b""), name, prefix)
    except OSError as error:
        yield Skipped(name, f"cannot be read: {error.strerror}")


def _from_record(record: object, where: str, prefix: str | None) -> Item:
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        return Skipped(where, "not an object with a text")
    given = record.get("_id", record.get("id", where))
    if not isinstance(given, str | int) or not str(given):
        return Skipped(where, "its ID is neither text nor a number")
    if not record["text"].strip():
        return Skipped(where, "its text is empty")
    metadata = record.get("metadata") or {}
    if not isinstance(metadata, dict):
        return Skipped(where, "its metadata is no object")
    title, source = (str(record.get(name) or "") for name in ("title", "source"))
    document_id = _under(prefix, str(given))
    return Document(document_id, record["text"], title, source or document_id, metadata)


def _other_fields(metadata: Mapping[str, object]) -> set[str]:
    """Fields that hold something, but nothing that metadata may."""
    return {name for name, value in metadata.items() if value is not None and not is_value(value)}


def _from_stream(stream: TextIO, prefix: str | None) -> Iterator[Item]:
    """One document, or one per line where the first is a JSON object with a text."""
    data = stream.buffer.read(_MAX_FILE_BYTES + 1)
    try:
        text = _text_of(data)
    except NotTextError as error:
        yield Skipped("-", str(error))
        return
    if _are_json_lines(data):
        yield from read_lines(data.split(b"\n"), "stdin", prefix)
    elif text.strip():
        document_id = prefix or "stdin"
        yield Document(document_id, text, title_of(text, PurePosixPath(document_id)), document_id)
    else:
        yield Skipped("-", "empty")


def _are_json_lines(data: bytes) -> bool:
    try:
        first = orjson.loads(data.lstrip().split(b"\n", 1)[0])
    except orjson.JSONDecodeError:
        return False
    return isinstance(first, dict) and isinstance(first.get("text"), str)


def _under(prefix: str | None, name: str) -> str:
    return f"{prefix}/{name}" if prefix else name
