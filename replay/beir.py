"""Reads a data set in BEIR's form: ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/SPLIT.tsv``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from replay.evaluation.gold import DataError, Qrels
from replay.evaluation.gold import read_qrels as read_qrels_file
from schemas.events import DocumentSubmitted


def read_documents(folder: Path) -> Iterator[tuple[str, DocumentSubmitted]]:
    """Document IDs with the documents.

    Raises:
        DataError: the file is missing or holds something else.
    """
    path = folder / "corpus.jsonl"
    for line in _lines(path):
        yield _text(line, "_id", path), DocumentSubmitted(text=_text(line, "text", path), title=line.get("title") or "")


def read_queries(folder: Path) -> dict[str, str]:
    """Questions by query ID.

    Raises:
        DataError: as above.
    """
    path = folder / "queries.jsonl"
    return {_text(line, "_id", path): _text(line, "text", path) for line in _lines(path)}


def read_qrels(folder: Path, split: str) -> Qrels:
    """What is relevant to the queries of a split.

    Raises:
        DataError: as above.
    """
    return read_qrels_file(folder / "qrels" / f"{split}.tsv")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            for line in map(orjson.loads, file):
                if not isinstance(line, dict):
                    raise DataError(f"{path} does not hold JSON objects")
                yield line
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise DataError(f"{path} does not hold JSON lines: {error}") from error


def _text(line: dict[str, Any], name: str, path: Path) -> str:
    value = line.get(name)
    if not isinstance(value, str):
        raise DataError(f"{path} has a line without the text {name}")
    return value
