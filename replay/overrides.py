"""The settings that a replay changes: read, tried, and what they have an effect on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, SecretStr, ValidationError

from replay.errors import ReplayError
from replay.topology import READS, Way
from schemas.events import Event, PromptBuilt, QueryAccepted, QueryStageEvent
from schemas.values import QueryOptions, RetrievalOptions, Sampling

S = TypeVar("S", bound=BaseModel)

# Which stages of a request each section of the settings has to do with.
_READERS: Mapping[str, tuple[str, ...]] = {
    **{stage: (stage,) for stage in READS},
    "embedder": ("embedding", "retrieval"),
    "cross_encoder": ("retrieval",),
    "milvus": ("retrieval",),
    "engine": ("prompt", "generation"),
    "runtime": tuple(READS),
}
# What says what a collection must hold: the model of its vectors, and of the store all that no search needs to know.
_OF_VECTORS = frozenset({"model", "path", "dimensions"})
_OF_SEARCH = frozenset({"uri", "token", "collection", "search_params", "consistency_level", "timeout_ms"})


@dataclass(frozen=True, slots=True)
class Override:
    """A changed setting: its path and the text it is set to."""

    path: tuple[str, ...]
    text: str

    @property
    def name(self) -> str:
        """As it is written at the command line."""
        return ".".join(self.path)


def parse(items: Iterable[str]) -> tuple[Override, ...]:
    """Read ``stage.setting=value`` items; of a setting that is given twice the last counts.

    Raises:
        ReplayError: an item is not of that form.
    """
    found: dict[tuple[str, ...], Override] = {}
    for item in items:
        name, equals, text = item.partition("=")
        path = tuple(name.strip().split("."))
        if not equals or len(path) < 2 or not all(path):  # noqa: PLR2004 - a stage and a setting
            raise ReplayError(f"--set takes stage.setting=value, such as query.top_k=8, not {item!r}")
        found.pop(path, None)
        found[path] = Override(path, text)
    return tuple(found.values())


def apply(settings: S, overrides: Sequence[Override]) -> S:
    """The settings with the overrides in place; a value is read as text, else as JSON.

    Raises:
        ReplayError: a setting does not exist, or its value is wrong.
    """
    for override in overrides:
        _check_exists(settings, override)
        settings = _applied(settings, override)
    return settings


def _check_exists(settings: BaseModel, override: Override) -> None:
    at: Any = settings
    for depth, name in enumerate(override.path):
        if not isinstance(at, BaseModel):
            return
        fields = list(type(at).model_fields)
        if name not in fields:
            near = get_close_matches(name, fields, 1)
            where = f"settings of {'.'.join(override.path[:depth])}" if depth else "sections"
            hint = f"did you mean {near[0]}?" if near else f"{where} are {', '.join(fields)}"
            raise ReplayError(f"there is no setting {override.name}; {hint}")
        at = getattr(at, name)


def _applied(settings: S, override: Override) -> S:
    refusal: ValidationError | None = None
    for value in _readings(override.text):
        document = settings.model_dump()
        inner = document
        for name in override.path[:-1]:
            inner = inner.setdefault(name, {}) if isinstance(inner.get(name, {}), dict) else {}
        inner[override.path[-1]] = value
        try:
            return type(settings).model_validate(document)
        except ValidationError as error:
            refusal = refusal or error
    assert refusal is not None  # noqa: S101 - there is a reading at least
    said = refusal.errors(include_url=False, include_input=False)[0]["msg"].removeprefix("Value error, ")
    raise ReplayError(f"--set {override.name}={override.text}: {said}") from refusal


def _readings(text: str) -> list[Any]:
    try:
        return [text, orjson.loads(text)]
    except orjson.JSONDecodeError:
        return [text]


def environment(settings: BaseModel, overrides: Sequence[Override]) -> dict[str, str]:
    """The overrides as environment variables of a worker; ``settings`` are those with the overrides in place."""
    variables = {}
    for override in overrides:
        section, name = override.path[:2]
        value = getattr(getattr(settings, section), name)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if isinstance(value, BaseModel):
            value = value.model_dump(mode="json")
        text = value if isinstance(value, str) else orjson.dumps(value, default=_plain).decode()
        variables[f"RAGLINE_{section}__{name}".upper()] = text
    return variables


def _plain(value: object) -> object:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


@dataclass(frozen=True, slots=True)
class OptionChanges:
    """What recorded requests had decided by the query stage, and are to have otherwise in a replay."""

    options: Mapping[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    retrieval: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.options or self.sampling or self.retrieval)

    def made_to(self, event: Event) -> Event:
        """The event with these options in place of its own."""
        match event:
            case PromptBuilt():
                sampling = event.sampling.model_copy(update=dict(self.sampling))
                return event.model_copy(update={"query": self._query(event.query), "sampling": sampling})
            case QueryStageEvent():
                return event.model_copy(update={"query": self._query(event.query)})
            case QueryAccepted():
                return self._query(event)
            case _:
                return event

    def _query(self, query: QueryAccepted) -> QueryAccepted:
        options = query.options
        update = {
            **self.options,
            "sampling": options.sampling.model_copy(update=dict(self.sampling)),
            "retrieval": options.retrieval.model_copy(update=dict(self.retrieval)),
        }
        return query.model_copy(update={"options": options.model_copy(update=update)})


# What of the options each stage looks at.
_OPTION_READERS: Mapping[str, str] = {
    **dict.fromkeys(RetrievalOptions.model_fields, "retrieval"),
    **dict.fromkeys(("top_k", "min_score"), "retrieval"),
    "template": "prompt",
    **dict.fromkeys(Sampling.model_fields, "generation"),
}


def effects(settings: Any, overrides: Sequence[Override], way: Way) -> OptionChanges:
    """Check that every override has an effect on a way; gives those that recorded requests themselves must have.

    ``settings`` are those with the overrides in place. Where the query stage does not run, what it had decided is
    decided anew: the request has the changed default, whatever it had.

    Raises:
        ReplayError: an override has no effect, or asks for another collection than the one that is there.
    """
    changes: dict[str, dict[str, Any]] = {"options": {}, "sampling": {}, "retrieval": {}}
    for override in overrides:
        section, name = override.path[:2]
        if section == "query" and "query" not in way.stages:
            changes[_place_of(override, way)][name] = getattr(settings.query, name)
            continue
        readers = _READERS.get(section)
        if readers is None:
            raise ReplayError(f"{override.name} decides no answer; a replay can change {', '.join(_READERS)}")
        if not set(readers) & set(way.stages):
            raise _no_effect(override, readers[0], way)
        if section == "embedder" and "embedding" not in way.stages:
            raise _no_effect(override, "embedding", way)
        _check_collection(override, overrides)
    return OptionChanges(**changes)


def _place_of(override: Override, way: Way) -> str:
    name = override.path[1]
    reader = _OPTION_READERS.get(name)
    if reader is None or len(override.path) > 2:  # noqa: PLR2004 - a part of a setting
        raise _no_effect(override, "query", way)
    if reader not in way.stages:
        raise _no_effect(override, reader, way)
    if name in QueryOptions.model_fields:
        return "options"
    return "retrieval" if name in RetrievalOptions.model_fields else "sampling"


def _check_collection(override: Override, overrides: Sequence[Override]) -> None:
    section, name = override.path[:2]
    of_collection = (section == "embedder" and name in _OF_VECTORS) or (section == "milvus" and name not in _OF_SEARCH)
    if of_collection and not any(other.path == ("milvus", "collection") for other in overrides):
        raise ReplayError(
            f"{override.name} says how a collection is made, and the one that is there was made without; "
            "make one beside it, and name that: --set milvus.collection=NAME"
        )


def _no_effect(override: Override, stage: str, way: Way) -> ReplayError:
    reads = ", ".join(spec.name for spec in READS[stage])
    return ReplayError(
        f"{override.name} has no effect on a replay from {way.source.name}, in which stage {stage} does not run; "
        f"replay from {reads} or before"
    )
