"""The commands ``ragline collections …``."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, TypeVar

import typer

from backends.collection_reports import Collection, Description, Stats
from backends.errors import BackendError
from ragline.settings import Settings, SettingsError
from ragline.terminal import OUT, fail, user

app = typer.Typer(help="The collections of chunks in the vector store.", no_args_is_help=True)

T = TypeVar("T")

Name = Annotated[str | None, typer.Argument(help="Collection or alias; the one of the settings if not given.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON.")]


@dataclass(frozen=True, slots=True)
class _Reports:
    """What the store tells of its collections."""

    collections: Callable[[], list[Collection]]
    description: Callable[[str], Description]
    stats: Callable[[str, Iterable[str]], Stats]


@app.command("list")
def list_collections(context: typer.Context, as_json: AsJson = False) -> None:
    """Show all collections; * marks the one that questions are answered from."""
    found = _one_sentence(_reports(_settings(context)).collections)
    for collection in found:
        if as_json:
            OUT.print(collection.model_dump_json(), markup=False)
            continue
        mark = "*" if collection.is_live else " "
        aliases = f"  ({', '.join(collection.aliases)})" if collection.aliases else ""
        OUT.print(f"{mark} {collection.name}{aliases}  {collection.chunks} chunks", markup=False)
    if not found and not as_json:
        OUT.print("no collections", markup=False)


@app.command()
def describe(context: typer.Context, name: Name = None, as_json: AsJson = False) -> None:
    """Show how a collection is kept: vectors, words, indexes, partitions."""
    settings = _settings(context)
    found = _one_sentence(lambda: _reports(settings).description(name or settings.collection))
    if as_json:
        OUT.print(found.model_dump_json(), markup=False)
        return
    aliases = f" ({', '.join(found.aliases)})" if found.aliases else ""
    OUT.print(f"{found.name}{aliases}", markup=False)
    OUT.print(f"  vectors of length {found.dimensions}, words: {found.language or 'none'}", markup=False)
    kept = [f"{found.shards} shards"]
    if found.partitions is not None:
        kept.append(f"{found.partitions} partitions")
    if found.consistency_level is not None:
        kept.append(f"consistency {found.consistency_level}")
    OUT.print(f"  {', '.join(kept)}", markup=False)
    for index in found.indexes:
        params = "".join(f", {key} {value}" for key, value in index.params.items())
        rows = f"{index.indexed_rows} of {index.rows} rows"
        OUT.print(f"  index of {index.field}: {index.index_type}, {index.metric}{params}, {rows}", markup=False)


@app.command()
def stats(context: typer.Context, name: Name = None, as_json: AsJson = False) -> None:
    """Show what is in a collection: chunks, also by tenant of the settings."""
    settings = _settings(context)
    tenants = sorted(settings.query.tenants)
    found = _one_sentence(lambda: _reports(settings).stats(name or settings.collection, tenants))
    if as_json:
        OUT.print(found.model_dump_json(), markup=False)
        return
    OUT.print(f"{found.name}: {found.chunks} chunks, {found.load_state}", markup=False)
    for tenant, chunks in found.tenants.items():
        OUT.print(f"  {tenant}: {chunks}", markup=False)


@app.command()
def drop(context: typer.Context, name: Annotated[str, typer.Argument(help="Collection, as list shows it.")]) -> None:
    """Remove a collection of the index that is not live: one kept from a re-index, or half made."""
    # ruff: noqa: PLC0415 - no other command should wait for these
    from aiokafka.errors import KafkaError

    from ragline.reindex.errors import ReindexError
    from ragline.reindex.session import Change, Session
    from ragline.stages import create_aliases

    settings = _settings(context)

    async def remove() -> None:
        async with Session(Change(settings, create_aliases(settings), user())) as session:
            await session.remove(name)

    try:
        _one_sentence(lambda: asyncio.run(remove()))
    except (ReindexError, SettingsError, KafkaError, OSError) as error:
        fail(str(error) or type(error).__name__)
        raise typer.Exit(1) from None
    OUT.print(f"dropped {name}", markup=False)


def _reports(settings: Settings) -> _Reports:
    # A store's client takes a second to import: no other command should wait for it.
    if settings.vector_store == "qdrant":
        from backends import qdrant_collections as qdrant

        return _Reports(
            partial(qdrant.list_collections, settings.qdrant),
            partial(qdrant.describe, settings.qdrant),
            partial(qdrant.stats, settings.qdrant),
        )
    from backends import milvus_collections as milvus

    return _Reports(
        partial(milvus.list_collections, settings.milvus),
        partial(milvus.describe, settings.milvus),
        partial(milvus.stats, settings.milvus),
    )


def _settings(context: typer.Context) -> Settings:
    settings: Settings = context.obj.settings
    return settings.with_local_addresses()


def _one_sentence(call: Callable[[], T]) -> T:
    try:
        return call()
    except BackendError as error:
        fail(str(error))
        raise typer.Exit(1) from None
