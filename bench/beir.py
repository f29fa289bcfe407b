"""Reads a data set in BEIR's form: ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/SPLIT.tsv``."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import orjson

from schemas.events import DocumentSubmitted

# Relevance by query ID and document ID.
Qrels: TypeAlias = dict[str, dict[str, int]]


class DataError(ValueError):
    """The folder is no such data set; the message says what is missing."""


def read_documents(folder: Path) -> Iterator[tuple[str, DocumentSubmitted]]:
    """Document IDs with the documents.

    Raises:
        DataError: the file is missing or holds something else.
    """
    for line in _lines(folder / "corpus.jsonl"):
        yield line["_id"], DocumentSubmitted(text=line["text"], title=line.get("title", ""))


def read_queries(folder: Path) -> dict[str, str]:
    """Questions by query ID.

    Raises:
        DataError: as above.
    """
    return {line["_id"]: line["text"] for line in _lines(folder / "queries.jsonl")}


def read_qrels(folder: Path, split: str) -> Qrels:
    """What is relevant to the queries of a split.

    Raises:
        DataError: as above.
    """
    qrels: Qrels = {}
    path = folder / "qrels" / f"{split}.tsv"
    try:
        with path.open(newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                qrels.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    except (OSError, KeyError, ValueError) as error:
        msg = f"{path} is no table of query-id, corpus-id and score: {error}"
        raise DataError(msg) from error
    return qrels


def _lines(path: Path) -> Iterator[dict[str, str]]:
    try:
        with path.open("rb") as file:
            yield from map(orjson.loads, file)
    except (OSError, orjson.JSONDecodeError) as error:
        msg = f"{path} does not hold JSON lines: {error}"
        raise DataError(msg) from error
