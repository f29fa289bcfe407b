"""The commands ``ragline documents …``."""

import asyncio
from collections.abc import Coroutine, Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn, TypeVar

import orjson
import typer
from aiokafka.errors import KafkaError

from backends.errors import BackendRejectedError, BackendUnavailableError
from backends.filters import AllOf, Comparison
from backends.vector_store import StoredChunk
from bridge.documents.states import DocumentStatus
from ragline.asking import place_of
from ragline.catalogue import Catalogue, Entry, read_catalogue, totals
from ragline.corpus import Withdrawal
from ragline.ingest import IngestError, ingest
from ragline.ledger import IngestSummary
from ragline.settings import Settings
from ragline.terminal import OUT, IngestProgress, ShownProgress, fail, print_summary

app = typer.Typer(help="Documents: what there is, what has become of it.", no_args_is_help=True)

T = TypeVar("T")

_SHOWN_CHARS = 500
_MOST_CHUNKS = 1_000

AsJson = Annotated[bool, typer.Option("--json", help="JSON, for programs.")]
Tenant = Annotated[str | None, typer.Option(help="Only documents of this tenant.")]
Prefix = Annotated[str | None, typer.Option(help="Only documents whose IDs begin so.")]


@app.command("list")
def list_documents(
    context: typer.Context,
    tenant: Tenant = None,
    prefix: Prefix = None,
    status: Annotated[
        DocumentStatus | None, typer.Option(help="Only documents that stand so.", show_choices=True)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show each document: how it stands, its chunks, its ID and title."""
    entries = _chosen(_catalogue(context), tenant, prefix)
    for entry in entries:
        if status not in {None, entry.status}:
            continue
        if as_json:
            _print_json(entry.model_dump(mode="json"))
        else:
            why = f"  ({entry.failure.stage}: {entry.failure.message})" if entry.failure else ""
            OUT.print(f"{entry.status:10}  {entry.chunks:5}  {entry.document_id}  {entry.title}{why}", markup=False)


@app.command()
def show(
    context: typer.Context,
    document_id: Annotated[str, typer.Argument(help="Its ID.")],
    chunks: Annotated[
        bool, typer.Option("--chunks", help="Its chunks as they are searched now, the first 1,000.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show one document and how its text begins; with --json the whole text."""
    catalogue = _catalogue(context, with_text_of=document_id)
    entry = catalogue.find(document_id)
    if entry is None:
        _refuse(f"there is no document {document_id}; see: ragline documents list")
    stored = _run(_chunks_of(_settings(context), entry)) if chunks else []
    if as_json:
        fields = entry.model_dump(mode="json") | {"text": catalogue.text}
        _print_json(fields | ({"searched": [_chunk_fields(chunk) for chunk in stored]} if chunks else {}))
        return
    _print_entry(entry)
    if not chunks:
        OUT.print(f"\n{_shortened(catalogue.text or '')}", markup=False)
    for chunk in stored:
        place = ", ".join([f"part {chunk.ordinal + 1}", *place_of(chunk)])
        OUT.print(f"\n[{place}]\n{_shortened(chunk.text)}", markup=False)


def _print_entry(entry: Entry) -> None:
    fields = entry.model_dump(mode="json")
    submitted_ms = fields.pop("submitted_ms")
    fields["submitted"] = (
        f"{datetime.fromtimestamp(submitted_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC" if submitted_ms else ""
    )
    fields["failure"] = f"{entry.failure.stage}: {entry.failure.message}" if entry.failure else None
    fields["metadata"] = ", ".join(f"{name}={orjson.dumps(value).decode()}" for name, value in entry.metadata.items())
    fields["pages"] = entry.pages or None
    for name, value in fields.items():
        if value not in {None, ""}:
            OUT.print(f"{name:12} {value}", markup=False)


def _shortened(text: str) -> str:
    return f"{text[:_SHOWN_CHARS]}{' …' if len(text) > _SHOWN_CHARS else ''}"


@app.command()
def delete(
    context: typer.Context,
    document_ids: Annotated[list[str] | None, typer.Argument(help="Their IDs.")] = None,
    tenant: Tenant = None,
    prefix: Annotated[str | None, typer.Option(help="Delete all documents whose IDs begin so.")] = None,
    timeout_s: Annotated[float, typer.Option(help="Give up after so many seconds without progress.")] = 120,
    as_json: AsJson = False,
) -> None:
    """Take documents away; ends when no question finds them any more, with status 1 if one cannot be taken away."""
    if bool(document_ids) == bool(prefix):
        _refuse("name documents, or give --prefix")
    catalogue = _catalogue(context)
    entries = _chosen(catalogue, tenant, prefix) if prefix else _named(catalogue, tenant, document_ids or [])
    settings = _settings(context)

    async def withdraw() -> IngestSummary:
        with IngestProgress(total=len(entries), done="taken away") as progress:
            return await ingest(
                settings.kafka,
                settings.names,
                [Withdrawal(entry.document_id, entry.tenant) for entry in entries],
                report=progress,
                timeout_s=timeout_s,
            )

    summary = _run(withdraw())
    if as_json:
        print_summary(summary, as_json=True)
    else:
        for failure in summary.failed:
            fail(f"{failure.document_id} is still there: {failure.reason}")
        gone = summary.indexed + summary.unchanged
        OUT.print(f"{gone} documents taken away ({summary.chunks_removed} chunks)", markup=False)
    raise typer.Exit(0 if summary.ok else 1)


@app.command()
def stats(context: typer.Context, tenant: Tenant = None, prefix: Prefix = None, as_json: AsJson = False) -> None:
    """Count documents by status and tenant, characters, and chunks."""
    sums = totals(_chosen(_catalogue(context), tenant, prefix)).model_dump(mode="json")
    stored, problem = _run(_stored(_settings(context)))
    if as_json:
        _print_json(sums | {"chunks_stored": stored})
        return
    for name, value in sums.items():
        listed = (
            ", ".join(f"{part} {count:,}" for part, count in value.items()) if isinstance(value, dict) else f"{value:,}"
        )
        OUT.print(f"{name:14} {listed or '-'}", markup=False)
    OUT.print(f"{'chunks_stored':14} {problem if stored is None else f'{stored:,}'}", markup=False)


async def _stored(settings: Settings) -> tuple[int | None, str]:
    """Chunks of all tenants in the collection; None, and why, where the store does not say."""
    # Only this command needs the store's client, which takes a second to import.
    from ragline.stages import create_store  # noqa: PLC0415

    store = create_store(settings)
    try:
        return await store.count(), ""
    except (BackendUnavailableError, BackendRejectedError) as error:
        return None, str(error)
    finally:
        await store.close()


async def _chunks_of(settings: Settings, entry: Entry) -> list[StoredChunk]:
    from ragline.stages import create_store  # noqa: PLC0415 - as above

    store = create_store(settings)
    try:
        of_document = Comparison("document_id", "==", entry.document_id)
        return await store.select(
            entry.tenant, AllOf((of_document, Comparison("ordinal", "<", _MOST_CHUNKS))), _MOST_CHUNKS
        )
    except (BackendUnavailableError, BackendRejectedError) as error:
        _refuse(str(error))
    finally:
        await store.close()


def _chunk_fields(chunk: StoredChunk) -> dict[str, Any]:
    names = ("chunk_id", "ordinal", "page", "last_page", "heading", "text")
    return {name: getattr(chunk, name) for name in names} | {"metadata": dict(chunk.metadata)}


def _chosen(catalogue: Iterable[Entry], tenant: str | None, prefix: str | None) -> list[Entry]:
    return [
        entry for entry in catalogue if tenant in {None, entry.tenant} and entry.document_id.startswith(prefix or "")
    ]


def _named(catalogue: Catalogue, tenant: str | None, document_ids: Iterable[str]) -> list[Entry]:
    found = []
    for document_id in dict.fromkeys(document_ids):
        entry = catalogue.find(document_id)
        if entry is None or tenant not in {None, entry.tenant}:
            _refuse(f"there is no document {document_id}; nothing was taken away, see: ragline documents list")
        found.append(entry)
    return found


def _catalogue(context: typer.Context, with_text_of: str | None = None) -> Catalogue:
    settings = _settings(context)
    with ShownProgress("reading", "records of documents") as progress:
        return _run(
            read_catalogue(settings.kafka, settings.names, settings.query.default_tenant, with_text_of, progress.show)
        )


def _settings(context: typer.Context) -> Settings:
    settings: Settings = context.obj.settings
    return settings.with_local_addresses()


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except (KafkaError, OSError) as error:
        fail(f"Kafka: {str(error) or 'no answer'}")
        raise typer.Exit(1) from None
    except IngestError as error:
        fail(str(error))
        raise typer.Exit(1) from None


def _print_json(document: dict[str, Any]) -> None:
    OUT.print(orjson.dumps(document).decode(), markup=False, soft_wrap=True)


def _refuse(sentence: str) -> NoReturn:
    fail(sentence)
    raise typer.Exit(1)
