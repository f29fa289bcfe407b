"""Versions of the index: which settings each is made with. Pure."""

from datetime import datetime

from pydantic import BaseModel, JsonValue, ValidationError

from ragline.settings import Settings, SettingsError
from schemas.events import IndexChanged, IndexVersion

# What may differ between the workers of one version; the rest decides what the collection holds, or how.
_OF_THE_WORKER: dict[str, set[str]] = {
    "embedder": {"device", "batch_size", "threads", "backend", "precision"},
    "chunking": {"max_in_flight"},
    "milvus": {"uri", "token", "collection", "consistency_level", "replicas", "timeout_ms"},
}


def collection_of(alias: str, version: int) -> str:
    """Name of the collection of a version."""
    return f"{alias}_v{version}"


def make_version(settings: Settings, number: int, at: datetime) -> IndexVersion:
    """The version that these settings make."""
    return IndexVersion(
        version=number,
        collection=collection_of(settings.milvus.collection, number),
        embedding_model=settings.embedder.model,
        settings=recorded(settings),
        made_at=at,
    )


def recorded(settings: Settings) -> dict[str, JsonValue]:
    """The settings that a version keeps, by section and name; a model's path that is not set is each worker's own."""
    kept: dict[str, JsonValue] = {}
    for name, others in _OF_THE_WORKER.items():
        section: BaseModel = getattr(settings, name)
        kept[name] = {
            key: value for key, value in section.model_dump(mode="json", exclude=others).items() if value != ""
        }
    return kept


def with_version(settings: Settings, version: IndexVersion) -> Settings:
    """The same settings, where those that the version keeps are the version's, and the collection is its own.

    Raises:
        SettingsError: the version keeps settings that are not known here, or do not fit the others.
    """
    update: dict[str, BaseModel] = {}
    try:
        for name in _OF_THE_WORKER:
            section: BaseModel = getattr(settings, name)
            kept = version.settings.get(name)
            update[name] = section.model_validate(dict(section) | (kept if isinstance(kept, dict) else {}))
        update["milvus"] = update["milvus"].model_copy(update={"collection": version.collection})
        # A copy is not checked by itself.
        return settings.model_copy(update=update).check_across_fields()
    except (ValidationError, ValueError) as error:
        msg = f"version {version.version} of the index was made with settings that cannot be used here: {error}"
        raise SettingsError(msg) from error


def state_of(settings: Settings, said: IndexChanged | None, now: datetime) -> IndexChanged:
    """What holds: what was ``said`` last, or else that the first version is live, made with these settings.

    Raises:
        SettingsError: the settings name another collection than the index has.
    """
    alias = settings.milvus.collection
    if said is None:
        first = make_version(settings, 1, now)
        return IndexChanged(alias=alias, live=first, last=1, by="", at=now)
    if said.alias != alias:
        msg = (
            f"milvus.collection is {alias!r}, but the index of this pipeline is called {said.alias!r}; "
            "for another index take another namespace"
        )
        raise SettingsError(msg)
    return said


def differences(before: Settings, after: Settings) -> dict[str, tuple[JsonValue, JsonValue]]:
    """Settings of a version that differ, by their full name: what they were and what they are."""
    found: dict[str, tuple[JsonValue, JsonValue]] = {}
    for name, others in _OF_THE_WORKER.items():
        was, now = (getattr(settings, name).model_dump(mode="json", exclude=others) for settings in (before, after))
        found |= {f"{name}.{key}": (was[key], now[key]) for key in was if was[key] != now[key]}
    return found
