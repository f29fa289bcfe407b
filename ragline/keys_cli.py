"""The commands ``ragline keys …``."""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NoReturn, TypeVar

import orjson
import typer
from aiokafka.errors import KafkaError

from bridge.key_topic import read_keys, write_key
from bridge.keys import SCOPES, TENANT, new_key
from ragline.settings import Settings
from ragline.terminal import ERR, OUT, fail, user
from schemas.events import ApiKeyCreated, ApiKeyRevoked

app = typer.Typer(help="API keys of the bridge.", no_args_is_help=True)

T = TypeVar("T")

_TIMEOUT_S = 30
_MAX_LABEL_CHARS = 100
_MAX_DAYS = 3_650

By = Annotated[str | None, typer.Option(help="Who does it; if not given, user@machine.")]


@app.command()
def create(
    context: typer.Context,
    label: Annotated[str, typer.Argument(help="What the key is for, to know it by in the list.")],
    tenant: Annotated[str | None, typer.Option(help="Tenant it asks for; the default one if not given.")] = None,
    scopes: Annotated[
        list[str] | None, typer.Option("--scope", help="ask, ingest or admin; several times for several. ask if none.")
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=_MAX_DAYS, help="Valid for so many days; else for ever.")
    ] = None,
    by: By = None,
) -> None:
    """Make a key and print it. It cannot be shown again: only its digest is kept."""
    settings = _settings(context)
    tenant = tenant or settings.query.default_tenant
    if not TENANT.fullmatch(tenant) or tenant not in settings.query.tenants:
        _refuse(
            f"tenant {tenant!r} is not known; known are {', '.join(sorted(settings.query.tenants))} (query.tenants)"
        )
    wanted = tuple(dict.fromkeys(scopes or ["ask"]))
    if unknown := [scope for scope in wanted if scope not in SCOPES]:
        _refuse(f"--scope takes {', '.join(SCOPES)}, not {unknown[0]!r}")
    if not 0 < len(label) <= _MAX_LABEL_CHARS:
        _refuse(f"the label may have 1 to {_MAX_LABEL_CHARS} characters")
    key, now = new_key(), datetime.now(UTC)
    event = ApiKeyCreated(
        key_id=key.key_id,
        tenant=tenant,
        label=label,
        by=by or user(),
        at=now,
        digest=key.digest,
        scopes=wanted,
        valid_until=now + timedelta(days=days) if days else None,
    )
    _run(write_key(settings.kafka, settings.names, event))
    # The key alone on standard output, so that a script can take it.
    ERR.print(f"key {key.key_id} for tenant {tenant}, scopes {', '.join(wanted)}; it is shown this once:", markup=False)
    OUT.print(key.text, markup=False)
    if not settings.bridge.access.required:
        ERR.print("bridges ask for keys only with bridge.access.required = true", markup=False)


@app.command("list")
def list_keys(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show the keys that are valid."""
    settings = _settings(context)
    ring = _run(read_keys(settings.kafka, settings.names))
    now = datetime.now(UTC)
    keys = sorted((key for key in ring if key.valid_until is None or now < key.valid_until), key=lambda key: key.at)
    for key in keys:
        if as_json:
            OUT.print(orjson.dumps(key.model_dump(mode="json", exclude={"digest"})).decode(), markup=False)
            continue
        until = f"until {key.valid_until:%Y-%m-%d %H:%M} UTC" if key.valid_until else "for ever"
        made = f"made {key.at:%Y-%m-%d %H:%M} UTC by {key.by}"
        OUT.print(f"{key.key_id}  {key.tenant}  {','.join(key.scopes)}  {until}  {made}  {key.label}", markup=False)
    if not keys and not as_json:
        OUT.print("no keys", markup=False)


@app.command()
def revoke(context: typer.Context, key_id: Annotated[str, typer.Argument(help="Its ID.")], by: By = None) -> None:
    """End a key for good: running bridges refuse it, and close its connections, within seconds."""
    settings = _settings(context)

    async def find_and_revoke() -> bool:
        ring = await read_keys(settings.kafka, settings.names)
        known = next((key for key in ring if key.key_id == key_id), None)
        if known is not None:
            event = ApiKeyRevoked(
                key_id=key_id, tenant=known.tenant, label=known.label, by=by or user(), at=datetime.now(UTC)
            )
            await write_key(settings.kafka, settings.names, event)
        return known is not None

    if not _run(find_and_revoke()):
        fail(f"there is no valid key {key_id}; see: ragline keys list")
        raise typer.Exit(1)
    OUT.print(f"revoked {key_id}", markup=False)


def _settings(context: typer.Context) -> Settings:
    settings: Settings = context.obj.settings
    return settings.with_local_addresses()


def _run(work: Coroutine[Any, Any, T]) -> T:
    async def in_time() -> T:
        async with asyncio.timeout(_TIMEOUT_S):
            return await work

    try:
        return asyncio.run(in_time())
    except (KafkaError, OSError) as error:
        fail(f"Kafka: {str(error) or 'no answer'}")
        raise typer.Exit(1) from None


def _refuse(sentence: str) -> NoReturn:
    fail(sentence)
    raise typer.Exit(2)
