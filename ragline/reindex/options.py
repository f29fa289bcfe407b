"""Reads what a re-index should change: ``--embedder``, ``--index``, ``--chunking``. Pure, but for a model's folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from backends.milvus_settings import BUILD_PARAMS, SEARCH_PARAMS
from ragline.settings import Settings, SettingsError

# What a value without a name is, by section.
_FIRST = {"embedder": "path", "milvus": "index_type", "chunking": "strategy"}
_OPTION = {"embedder": "--embedder", "milvus": "--index", "chunking": "--chunking"}
_OF_AN_INDEX = {"index_type", "metric", "language", "bm25_k1", "bm25_b", "tenant_partitions", "shards"}
_BUILD = {name for params in BUILD_PARAMS.values() for name in params}
_SEARCH = {name for params in SEARCH_PARAMS.values() for name in params}


@dataclass(frozen=True, slots=True)
class Options:
    """What is to change, each as ``NAME=VALUE`` between commas; a first value may go without a name."""

    embedder: str | None = None
    index: str | None = None
    chunking: str | None = None


def with_options(settings: Settings, options: Options) -> Settings:
    """The same settings, changed as the options say.

    Raises:
        SettingsError: an option cannot be read, or does not fit.
    """
    changes = {
        section: read(section, text)
        for section, text in (("embedder", options.embedder), ("milvus", options.index), ("chunking", options.chunking))
        if text is not None
    }
    if "embedder" in changes:
        changes["embedder"] = _completed(changes["embedder"])
    if "milvus" in changes:
        changes["milvus"] = _index(changes["milvus"], settings)
    update = {}
    for section, values in changes.items():
        before = getattr(settings, section)
        try:
            update[section] = before.model_validate(dict(before) | values)
        except ValidationError as error:
            raise SettingsError(f"{_OPTION[section]}: {_sentences(error)}") from error
    try:
        return settings.model_copy(update=update).check_across_fields()
    except ValueError as error:
        raise SettingsError(str(error)) from error


def read(section: str, text: str) -> dict[str, Any]:
    """The values of one option, by name.

    Raises:
        SettingsError: it is not of that form.
    """
    values: dict[str, Any] = {}
    for number, item in enumerate(text.split(",")):
        name, separator, value = item.partition("=")
        if not separator and number == 0:
            name, value = _FIRST[section], name
        name, value = name.strip(), value.strip()
        if not name or not value or name in values:
            raise SettingsError(f"{_OPTION[section]} takes NAME=VALUE,…, each name once; {item!r} is not such a pair")
        values[name] = value
    return values


def _completed(values: dict[str, Any]) -> dict[str, Any]:
    """A model that is given by its folder tells its name and the length of its vectors."""
    path = Path(values["path"]) if "path" in values else None
    if path is not None and path.is_absolute() and not path.is_dir():
        raise SettingsError(f"--embedder: there is no folder {path}")
    if path is None:
        return values
    found: dict[str, Any] = {"model": path.name} | values
    dimensions = _dimensions(path)
    if "dimensions" not in found and dimensions is None:
        raise SettingsError(f"--embedder: how long the vectors of {path} are is not known here; add dimensions=N")
    return {"dimensions": dimensions} | found


def _dimensions(model: Path) -> int | None:
    """Length of a model's vectors, where its files say so."""
    for file, name in (
        (model / "1_Pooling" / "config.json", "word_embedding_dimension"),
        (model / "config.json", "hidden_size"),
    ):
        if file.is_file():
            length = orjson.loads(file.read_bytes()).get(name)
            if isinstance(length, int):
                return length
    return None


def _index(values: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Parameters go where the settings have them; those of another index type are dropped."""
    unknown = values.keys() - _OF_AN_INDEX - _BUILD - _SEARCH
    if unknown:
        known = ", ".join(sorted(_OF_AN_INDEX | _BUILD | _SEARCH))
        raise SettingsError(f"--index knows no {min(unknown)}; it knows {known}")
    stays = values.get("index_type", settings.milvus.index_type) == settings.milvus.index_type
    build = dict(settings.milvus.index_params) if stays else {}
    search = dict(settings.milvus.search_params) if stays else {}
    return {
        **{name: value for name, value in values.items() if name in _OF_AN_INDEX},
        "index_params": build | {name: value for name, value in values.items() if name in _BUILD},
        "search_params": search | {name: value for name, value in values.items() if name in _SEARCH},
    }


def _sentences(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_input=False)
    return "; ".join(
        ": ".join([*filter(None, [".".join(map(str, problem["loc"]))]), problem["msg"].removeprefix("Value error, ")])
        for problem in problems
    )
