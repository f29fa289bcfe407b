"""The prompts of an instruction model, as sentence-transformers keeps them beside it."""

from pathlib import Path
from typing import Any

import orjson

from backends.embedder import EmbedderSettings
from backends.errors import BackendRejectedError

_FILE = "config_sentence_transformers.json"
# The first that says something counts, as in sentence-transformers' encode_query and encode_document.
_QUERY_NAMES = ("query",)
_PASSAGE_NAMES = ("document", "passage", "corpus")


def with_own_prompts(settings: EmbedderSettings) -> EmbedderSettings:
    """The same settings, where a prompt that is not set is the model's own, or empty if it has none.

    Raises:
        BackendRejectedError: the model's file of prompts cannot be had or read.
    """
    if settings.query_prompt is not None and settings.passage_prompt is not None:
        return settings
    own = _own_prompts(settings.path)
    query, passage = settings.query_prompt, settings.passage_prompt
    return settings.model_copy(
        update={
            "query_prompt": _named(own, _QUERY_NAMES) if query is None else query,
            "passage_prompt": _named(own, _PASSAGE_NAMES) if passage is None else passage,
        }
    )


def _named(prompts: dict[str, Any], names: tuple[str, ...]) -> str:
    return next((str(prompts[name]) for name in names if prompts.get(name)), "")


def _own_prompts(path: str) -> dict[str, Any]:
    try:
        file = Path(path) / _FILE if Path(path).is_dir() else _fetched(path)
        config = orjson.loads(file.read_bytes()) if file is not None and file.is_file() else {}
        return dict(config.get("prompts") or {})
    except (OSError, ValueError, AttributeError, TypeError) as error:
        msg = f"no model at {path!r} whose prompts can be read (setting embedder.path): {error}"
        raise BackendRejectedError(msg) from error


def _fetched(name: str) -> Path | None:
    """The file of a hub name, or None where the model has none."""
    from huggingface_hub import hf_hub_download  # noqa: PLC0415 - only for a model that is not in a folder
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError  # noqa: PLC0415

    try:
        return Path(hf_hub_download(name, _FILE))
    except LocalEntryNotFoundError:
        # Nobody could be asked: whether it has prompts is not known.
        raise
    except EntryNotFoundError:
        return None
