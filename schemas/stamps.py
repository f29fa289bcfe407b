"""What decided an event, beside its input: the header ``ragline_stamp`` of every event that a stage writes."""

import dataclasses
from dataclasses import dataclass
from functools import lru_cache

import orjson
from pydantic import JsonValue

from schemas.values import Sampling

_MAX_STAMP_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Stamp:
    """What decided an event; a field that says nothing about it is None. ``ragline`` is the version that ran.

    ``*_revision`` tell apart models of one name: the commit of a model from a hub, else a hash of its files.
    ``collection_rows`` are the chunks that were there half a minute before, or later. The embedder of a
    retrieval is the one that reranks; the event says whose vectors were compared. ``seed`` None: none was set.
    """

    ragline: str | None = None
    embedder: str | None = None
    embedder_revision: str | None = None
    embedder_backend: str | None = None
    embedder_precision: str | None = None
    query_prompt: str | None = None
    passage_prompt: str | None = None
    cross_encoder: str | None = None
    cross_encoder_revision: str | None = None
    collection: str | None = None
    index_version: int | None = None
    collection_rows: int | None = None
    template: str | None = None
    template_version: str | None = None
    template_hash: str | None = None
    tokenizer: str | None = None
    model: str | None = None
    model_revision: str | None = None
    engine: str | None = None
    engine_version: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] | None = None
    response_format: str | None = None
    frequency_penalty: float | None = None


def sampled(sampling: Sampling) -> Stamp:
    """The stamp of a text that the engine has written."""
    return Stamp(
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        seed=sampling.seed,
        stop=sampling.stop or None,
        response_format=sampling.response_format.type if sampling.response_format else None,
    )


@lru_cache(maxsize=256)
def encode(stamp: Stamp, own: Stamp | None = None) -> bytes:
    """The header's value: ``stamp``, with what ``own`` says instead; empty where nothing is said."""
    said = _said(stamp) | (_said(own) if own else {})
    return orjson.dumps(said) if said else b""


def decode(value: bytes | None) -> dict[str, JsonValue]:
    """What a stamp says by name, names that are not known here too; nothing where it cannot be read."""
    if not value or len(value) > _MAX_STAMP_BYTES:
        return {}
    try:
        said = orjson.loads(value)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def _said(stamp: Stamp) -> dict[str, object]:
    return {name: value for name, value in dataclasses.asdict(stamp).items() if value is not None}
