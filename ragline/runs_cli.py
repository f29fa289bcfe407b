"""The commands ``ragline runs …``."""

import asyncio
from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from ragline import replay_options as options
from ragline.settings import Settings
from ragline.terminal import ERR, OUT, fail
from replay.errors import ReplayError
from replay.extra import MissingExtraError, needed
from replay.run_folder.errors import RunError
from replay.run_folder.manifest import Manifest
from topics.cluster import TopicsError

app = typer.Typer(help="Runs: what replays and evaluations have left.", no_args_is_help=True)

T = TypeVar("T")

Name = Annotated[str, typer.Argument(help="Name of the run.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON.")]

# Commands import Parquet and Kafka when they run: no other command should wait for them.
# ruff: noqa: PLC0415


@app.command("list")
def list_runs(context: typer.Context, as_json: AsJson = False) -> None:
    """Show all runs, the oldest first."""
    folder = _settings(context).replay.runs_folder

    def read() -> list[Manifest]:
        with needed():
            from replay.run_folder import reader
        return reader.list_runs(folder)

    found = _one_sentence(read)
    for manifest in found:
        if as_json:
            OUT.print(manifest.model_dump_json(), markup=False)
            continue
        changed = "".join(f"  {name}={value}" for name, value in manifest.settings.items())
        source = f"from {manifest.source.topic}" if manifest.source else "asked"
        created = manifest.created_at.isoformat(timespec="seconds")
        OUT.print(
            f"{manifest.name}  {manifest.state}  {created}  {_requests(manifest)} requests {source}{changed}",
            markup=False,
        )
    if not found and not as_json:
        OUT.print(f"no runs in {folder}", markup=False)


@app.command()
def show(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show a run: where its requests come from, what was changed, what came of it."""
    folder = _settings(context).replay.runs_folder

    def read() -> Manifest:
        with needed():
            from replay.run_folder import reader
        return reader.find_run(name, folder).manifest

    manifest = _one_sentence(read)
    if as_json:
        OUT.print(manifest.model_dump_json(), markup=False)
        return
    for line in _lines(manifest):
        OUT.print(line, markup=False)


@app.command()
def record(
    context: typer.Context,
    name: Name,
    topic: Annotated[str, typer.Option("--from", help="Topic that says which requests.")] = "rag.queries.accepted",
    since: options.Since = None,
    until: options.Until = None,
    offsets: options.Offsets = None,
    ids: options.Ids = None,
    sample: options.Sample = None,
    seed: options.Seed = 0,
) -> None:
    """Make a run of what production has answered, to compare replays with; nothing is asked again."""
    settings = _settings(context)

    def work() -> tuple[int, int]:
        options.check(since, until, offsets, ids, sample)
        with needed():
            from ragline import replaying
        asked = options.asked(topic, since, until, offsets, ids, sample, seed, [])
        export = asyncio.run(replaying.record(settings, name, asked))
        return export.requests, export.endings

    requests, endings = _one_sentence(work)
    OUT.print(f"run {name}: {requests} requests, {endings} of them ended", markup=False)


@app.command()
def delete(context: typer.Context, name: Name) -> None:
    """Remove a run: its topics, consumer groups and Redis keys, and its folder."""
    settings = _settings(context)
    _one_sentence(lambda: asyncio.run(_delete(settings, name)))
    OUT.print(f"removed run {name}", markup=False)


async def _delete(settings: Settings, name: str) -> None:
    with needed():
        from replay.run_folder import reader
        from replay.run_folder.writer import RunWriter
    from backends.errors import BackendUnavailableError
    from replay.removal import remove_namespace
    from topics.names import Namespace

    run = reader.find_run(name, settings.replay.runs_folder)
    # One that is still written has a process that would go on.
    writer = RunWriter.resume(run.folder) if run.manifest.state == "partial" else None
    try:
        namespace = (run.manifest.model_extra or {}).get("namespace")
        if isinstance(namespace, str) and namespace:
            try:
                await remove_namespace(settings.kafka, settings.redis, Namespace(namespace))
            except BackendUnavailableError as error:
                ERR.print(f"{error}; the run's keys there expire by themselves", markup=False)
        await asyncio.to_thread(reader.delete_run, run.folder)
    finally:
        if writer is not None:
            writer.close()


def _lines(manifest: Manifest) -> list[str]:
    lines = [f"{manifest.name}: {manifest.state}, created {manifest.created_at.isoformat(timespec='seconds')}"]
    if manifest.source:
        offsets = manifest.source.offsets.items()
        ranges = ", ".join(f"{number}:{first}-{end - 1}" for number, (first, end) in sorted(offsets))
        lines.append(f"  from {manifest.source.topic} ({ranges})")
    lines += [f"  {name} = {value}" for name, value in manifest.settings.items()]
    lines += [f"  {table}: {sum(part.rows for part in parts)} rows" for table, parts in manifest.parts.items()]
    summary = (manifest.model_extra or {}).get("summary")
    if isinstance(summary, dict):
        from replay.comparison import Agreement, sentences

        lines.append("  " + ", ".join(f"{count} {state}" for state, count in summary["states"].items()))
        agreements = {topic: Agreement.model_validate(counts) for topic, counts in summary["agreement"].items()}
        lines += [f"  {line}" for line in sentences(agreements)]
    return lines


def _requests(manifest: Manifest) -> int:
    return sum(part.rows for part in manifest.parts.get("requests", ()))


def _settings(context: typer.Context) -> Settings:
    settings: Settings = context.obj.settings
    return settings.with_local_addresses()


def _one_sentence(call: Callable[[], T]) -> T:
    try:
        return call()
    except (ReplayError, RunError, TopicsError, MissingExtraError, OSError) as error:
        fail(str(error))
        raise typer.Exit(1) from None
