"""What is known to be right: relevance judgements (qrels) and gold answers, read from files.

Qrels are lines of TREC's form (query, iteration, document, relevance, by white space) or BEIR's (a head line, then
query, document and relevance, by tabs). Gold answers are JSON lines.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import orjson

from replay.evaluation.errors import EvaluationError

# Relevance by query ID and document ID.
Qrels: TypeAlias = dict[str, dict[str, int]]

_TREC_FIELDS = 4
_BEIR_FIELDS = 3


class DataError(EvaluationError):
    """A file does not hold what it should; the message says where and what."""


@dataclass(frozen=True, slots=True)
class GoldAnswer:
    """What a request should be answered with: any of ``answers``; none of them says that it cannot be answered."""

    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Gold:
    """All that is known to be right, by query ID; None where nothing was given."""

    qrels: Qrels | None = None
    answers: dict[str, GoldAnswer] | None = field(default=None)


def read_qrels(path: Path) -> Qrels:
    """Read relevance judgements.

    Raises:
        DataError: the file cannot be read, holds a line of another form, or none at all.
    """
    qrels: Qrels = {}
    is_beir = False
    for number, line in enumerate(_text_lines(path), start=1):
        if number == 1 and "\t" in line and not line.split("\t")[-1].strip().lstrip("-").isdigit():
            is_beir = True
            continue
        fields = [part.strip() for part in line.split("\t")] if is_beir else line.split()
        if not any(fields):
            continue
        try:
            if is_beir and len(fields) == _BEIR_FIELDS:
                query, document, relevance = fields
            elif not is_beir and len(fields) == _TREC_FIELDS:
                query, _, document, relevance = fields
            else:
                raise ValueError  # noqa: TRY301 - the sentence is the same
            qrels.setdefault(query, {})[document] = int(relevance)
        except ValueError:
            raise DataError(
                f"{path}:{number} is no relevance judgement: TREC's form is 'query 0 document relevance', "
                "BEIR's is 'query-id, corpus-id, score' by tabs below a line that says so"
            ) from None
    if not qrels:
        raise DataError(f"{path} holds no relevance judgements")
    return qrels


def read_answers(path: Path) -> dict[str, GoldAnswer]:
    """Read gold answers: objects with ``id`` (or ``_id``) and ``answers``, a list of texts, [] for the unanswerable.

    Raises:
        DataError: the file cannot be read, holds a line of another form, an ID twice, or nothing at all.
    """
    gold: dict[str, GoldAnswer] = {}
    for number, line in enumerate(_text_lines(path), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        query_id, answers = _gold_line(line, where)
        if query_id in gold:
            raise DataError(f"{where} has the ID {query_id} again")
        gold[query_id] = GoldAnswer(answers)
    if not gold:
        raise DataError(f"{path} holds no gold answers")
    return gold


def _gold_line(line: str, where: str) -> tuple[str, tuple[str, ...]]:
    try:
        value: Any = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise DataError(f"{where} is not JSON: {error}") from None
    query_id = value.get("id", value.get("_id")) if isinstance(value, dict) else None
    answers = value.get("answers") if isinstance(value, dict) else None
    if not isinstance(query_id, str | int) or not isinstance(answers, list):
        raise DataError(f"{where} is no object with an id and a list of answers")
    if not all(isinstance(answer, str) and answer.strip() for answer in answers):
        raise DataError(f"{where} has an answer that is empty or no text")
    return str(query_id), tuple(answers)


def _text_lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from file
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8") from None
