"""The command ``ragline``."""

import asyncio
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from backends.errors import BackendRejectedError
from backends.metadata import MetadataError
from ragline.client import Client, RequestError
from ragline.collections_cli import app as collections_app
from ragline.dead_letters_cli import app as dead_letters_app
from ragline.documents_cli import app as documents_app
from ragline.evaluate_cli import evaluate
from ragline.explain_cli import explain
from ragline.ingest import IngestError
from ragline.keys_cli import app as keys_app
from ragline.reindex_cli import run as run_reindex
from ragline.replay_cli import replay
from ragline.runs_cli import app as runs_app
from ragline.settings import Settings, SettingsError, load
from ragline.terminal import ERR, OUT, fail
from topics.cluster import TopicsError

app = typer.Typer(
    help="Retrieval-augmented generation as an event pipeline on Kafka.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
topics_app = typer.Typer(help="The topics on the cluster.", no_args_is_help=True)
schemas_app = typer.Typer(help="The events' schemas.", no_args_is_help=True)
app.add_typer(topics_app, name="topics")
app.add_typer(schemas_app, name="schemas")
app.add_typer(dead_letters_app, name="dead-letters")
app.add_typer(keys_app, name="keys")
app.add_typer(collections_app, name="collections")
app.add_typer(documents_app, name="documents")
app.command("reindex")(run_reindex)
app.add_typer(runs_app, name="runs")
app.command()(replay)
app.command()(evaluate)
app.command()(explain)

T = TypeVar("T")

_INTERRUPTED = 130


@dataclass(frozen=True)
class Context:
    """What every command gets."""

    settings: Settings
    config_file: Path | None


@app.callback()
def configure(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option(help="Settings file (TOML); ragline.toml in this folder if not given.")
    ] = None,
) -> None:
    """Read the settings before any command."""
    from workers.runtime.logs import configure as configure_logs

    try:
        settings = load(config)
    except SettingsError as error:
        fail(str(error))
        raise typer.Exit(2) from None
    configure_logs(settings.log_format, settings.log_level)
    context.obj = Context(settings, config)


# Commands import what they need when they run: a worker must not load the local stack, nor `ask` a model.
# ruff: noqa: PLC0415


@app.command()
def up(
    context: typer.Context,
    only: Annotated[str | None, typer.Option(help="Start only a part: infra (the servers, without workers).")] = None,
    scale: Annotated[
        list[str] | None, typer.Option(help="Processes of a stage, as STAGE=N; may be given several times.")
    ] = None,
) -> None:
    """Start servers, workers, monitor and bridge on this machine, until Ctrl-C."""
    from ragline import stack

    if only not in {None, "infra"}:
        fail(f"--only takes infra, not {only!r}")
        raise typer.Exit(2)
    with _one_sentence():
        parsed = stack.parse_scale(scale or [])
        stack.up(_settings(context), context.obj.config_file, parsed, only_infra=only is not None)


@app.command()
def demo(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Exit after the answers.")] = False,
) -> None:
    """Start everything, ingest the demo corpus, ask three questions, and serve the page until Ctrl-C."""
    from ragline import stack

    with _one_sentence():
        answered = stack.demo(_settings(context), context.obj.config_file, once=once)
    raise typer.Exit(0 if answered else 1)


@app.command()
def worker(
    context: typer.Context,
    stage: Annotated[str, typer.Argument(help="Stage to run.")],
    index_version: Annotated[
        int | None, typer.Option(help="Version of the index to work for; the one that is live if not given.")
    ] = None,
) -> None:
    """Run one worker of one stage, until SIGTERM."""
    from ragline.working import work
    from workers.runtime.worker import stop_on_signals

    settings = _settings(context).with_local_addresses()

    async def run() -> None:
        async with stop_on_signals() as stop:
            await work(stage, settings, stop, version=index_version)

    _serve(run())


@app.command()
def monitor(context: typer.Context) -> None:
    """Run the monitor (Faust): timelines of requests and latency per stage, over HTTP."""
    from workers.monitor import run_monitor

    settings = _settings(context).with_local_addresses()
    _run(run_monitor(settings.kafka, settings.names, settings.monitor, settings.local.data_dir / "faust"))


@app.command()
def bridge(context: typer.Context) -> None:
    """Run the bridge: websocket, HTTP and the page."""
    from bridge.server import serve

    settings = _settings(context).with_local_addresses()
    _serve(serve(settings.bridge, settings.kafka, settings.redis, settings.names, settings.query))


@app.command()
def ask(
    context: typer.Context,
    question: Annotated[str, typer.Argument(help="The question.")],
    top_k: Annotated[int | None, typer.Option(help="Passages to retrieve.")] = None,
    min_score: Annotated[float | None, typer.Option(help="Lowest cosine similarity of a passage.")] = None,
    mode: Annotated[str | None, typer.Option(help="By vectors (dense), words (sparse) or both (hybrid).")] = None,
    rerank: Annotated[str | None, typer.Option(help="none, late_interaction or cross_encoder.")] = None,
    filter_: Annotated[
        str | None, typer.Option("--filter", help="Which chunks count, as in: source starts_with 'docs/'.")
    ] = None,
    diversity: Annotated[
        float | None, typer.Option(help="How much passages that resemble better ones lose, 0 to 1.")
    ] = None,
    neighbours: Annotated[
        int | None, typer.Option(help="Chunks before and after each passage that come with it.")
    ] = None,
    expansion: Annotated[
        str | None, typer.Option(help="What the model writes before the search: none, multi_query or hyde.")
    ] = None,
    variants: Annotated[int | None, typer.Option(help="How many texts it writes for that.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest answer, in tokens.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature; 0 is greedy.")] = None,
    model: Annotated[str | None, typer.Option(help="Model to answer.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Tenant to ask for.")] = None,
    request_id: Annotated[str | None, typer.Option(help="Request ID; the same one is answered once.")] = None,
    timeout_ms: Annotated[int | None, typer.Option(help="Time after which the answer is no longer wanted.")] = None,
) -> None:
    """Ask a question and see the answer come."""
    from ragline.asking import ask_on_terminal

    options: dict[str, Any] = {
        "top_k": top_k,
        "min_score": min_score,
        "mode": mode,
        "rerank": rerank,
        "filter": filter_,
        "diversity": diversity,
        "neighbours": neighbours,
        "expansion": expansion,
        "variants": variants,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "model": model,
        "tenant": tenant,
        "timeout_ms": timeout_ms,
        "request_id": request_id,
    }

    async def run() -> None:
        async with Client(_settings(context)) as client:
            await ask_on_terminal(client, question, **options)

    _run(run())


@app.command()
def cancel(
    context: typer.Context,
    request_id: Annotated[str, typer.Argument(help="Request ID, as ask shows it.")],
    reason: Annotated[str | None, typer.Option(help="Why, for whoever waits for the answer.")] = None,
) -> None:
    """Ask every worker to stop work on a request; one that has ended stays as it ended."""

    async def run() -> None:
        async with Client(_settings(context)) as client:
            await client.cancel(request_id, reason)

    _run(run())
    OUT.print(f"cancellation of {request_id} requested", markup=False)


@app.command()
def ingest(
    context: typer.Context,
    paths: Annotated[
        list[str], typer.Argument(help="Files, folders, patterns (quoted), JSONL, BEIR folders, or - for stdin.")
    ],
    prefix: Annotated[str | None, typer.Option(help="Put before the document IDs.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Tenant the documents belong to.")] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(help="Metadata of every document, as name=value, to filter by; may be given several times."),
    ] = None,
    timeout_s: Annotated[float, typer.Option(help="Give up after so many seconds without progress.")] = 120,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Make documents searchable; ends when they are, with status 1 if any is not."""
    from backends.metadata import parsed
    from backends.references import References
    from ragline.corpus import read_all
    from ragline.ingest import ingest as submit
    from ragline.terminal import IngestProgress, error_as_json, print_summary

    settings = _settings(context).with_local_addresses()
    with _one_sentence(), error_as_json(as_json):
        # Here, for inside the event loop Ctrl-C would not end the wait for standard input.
        documents = read_all(paths, prefix)
        given = parsed(metadata or [])

    async def run() -> bool:
        with IngestProgress() as progress, error_as_json(as_json):
            summary = await submit(
                settings.kafka,
                settings.names,
                documents,
                tenant=tenant,
                metadata=given,
                report=progress,
                timeout_s=timeout_s,
                conversion=settings.bridge.conversion,
                references=References(settings.references),
            )
        print_summary(summary, as_json=as_json)
        return summary.ok

    raise typer.Exit(0 if _run(run()) else 1)


@app.command()
def status(context: typer.Context) -> None:
    """Show stages, processes, partitions, lag, work in flight and the last error."""
    from ragline.stack import show_status

    _run(show_status(_settings(context).with_local_addresses()))


@topics_app.command("plan")
def topics_plan(context: typer.Context) -> None:
    """Show what differs between the declared topics and the cluster; status 1 if anything does."""
    from topics.admin import plan_topics
    from topics.render import render_plan

    settings = _settings(context).with_local_addresses()
    plan = _run(plan_topics(settings.kafka, settings.topics, settings.names, report=ERR.print))
    OUT.print(render_plan(plan), markup=False)
    raise typer.Exit(0 if plan.in_order else 1)


@topics_app.command("apply")
def topics_apply(
    context: typer.Context,
    fix: Annotated[
        bool, typer.Option("--fix", help="Also change settings and grow partitions of topics that exist.")
    ] = False,
) -> None:
    """Create what is missing; status 1 if something still differs."""
    from topics.admin import apply_topics
    from topics.render import render_plan

    settings = _settings(context).with_local_addresses()
    applied = _run(apply_topics(settings.kafka, settings.topics, settings.names, fix=fix, report=ERR.print))
    for topic in applied.created:
        OUT.print(f"created {topic}", markup=False)
    for topic in applied.changed:
        OUT.print(f"changed {topic}", markup=False)
    OUT.print(render_plan(applied.remaining), markup=False)
    raise typer.Exit(0 if applied.remaining.in_order else 1)


@topics_app.command("describe")
def topics_describe(context: typer.Context) -> None:
    """Show each partition: leader, replicas, offsets."""
    from topics.admin import describe_topics
    from topics.render import render_description

    settings = _settings(context).with_local_addresses()
    OUT.print(render_description(_run(describe_topics(settings.kafka, settings.names, report=ERR.print))), markup=False)


@schemas_app.command("export")
def schemas_export(
    folder: Annotated[Path, typer.Argument(help="Folder to write to; made if it is missing.")] = Path("schemas-export"),
) -> None:
    """Write a JSON Schema per event, AsyncAPI of topics and websocket, and OpenAPI of the bridge."""
    from bridge.document import openapi, websocket
    from schemas.export import dump, export_schemas
    from topics.asyncapi import export_asyncapi

    files = export_schemas(folder)
    export_asyncapi(folder / "asyncapi.json", version("ragline"), websocket())
    (folder / "openapi.json").write_bytes(dump(openapi()))
    OUT.print(f"wrote {len(files)} JSON Schemas, asyncapi.json and openapi.json to {folder}", markup=False)


def _settings(context: typer.Context) -> Settings:
    settings: Settings = context.obj.settings
    return settings


def _run(work: Coroutine[Any, Any, T]) -> T:
    with _one_sentence():
        return asyncio.run(work)


def _serve(work: Coroutine[Any, Any, None]) -> None:
    """Run what serves many at a time, on the faster event loop."""
    import uvloop

    with _one_sentence():
        uvloop.run(work)


@contextmanager
def _one_sentence() -> Iterator[None]:
    """A user's mistake or an outage ends the command with one sentence, not a traceback."""
    from infra.local.report import LocalStackError
    from ragline.corpus import CorpusError

    known = (
        *(SettingsError, RequestError, ConnectionError, TopicsError, IngestError, CorpusError, LocalStackError),
        *(BackendRejectedError, MetadataError),
    )
    try:
        yield
    except known as error:
        fail(str(error))
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None


def main() -> None:
    """Entry point of the command."""
    sys.exit(app())
