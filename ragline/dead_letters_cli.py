"""The commands ``ragline dead-letters …``."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NoReturn, TypeVar

import orjson
import typer

from ragline import letter_text, letters
from ragline.dead_letters import DeadLetters, DeadLettersError, answering
from ragline.endings import live_names
from ragline.letters import Filter, Letter, State
from ragline.redrive import Clerk, Outcome
from ragline.settings import Settings
from ragline.terminal import ERR, OUT, fail, user
from schemas.headers import RawHeaders
from topics.names import Namespace

app = typer.Typer(help="Records that could not be handled.", no_args_is_help=True)

T = TypeVar("T")

_INTERRUPTED = 130

Topics = Annotated[list[str] | None, typer.Option("--topic", help="Topic it failed in, such as rag.queries.")]
Stages = Annotated[list[str] | None, typer.Option("--stage", help="Stage that failed.")]
Codes = Annotated[list[str] | None, typer.Option("--code", help="Code of the error, such as undecodable.")]
Since = Annotated[str | None, typer.Option(help="Failed at or after: 2026-01-31T12:00 (UTC), or 2h for so long ago.")]
Until = Annotated[str | None, typer.Option(help="Failed before; as --since.")]
Ids = Annotated[
    list[str] | None, typer.Option("--id", help="Request, document or letter ID; of a letter its first 6 or more.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="No more than so many, the oldest first.")]
All = Annotated[bool, typer.Option("--all", help="Every open one; needed where no filter is given.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
By = Annotated[str | None, typer.Option(help="Who does it, for the audit record; if not given, user@machine.")]


@app.command("list")
def list_letters(
    context: typer.Context,
    topic: Topics = None,
    stage: Stages = None,
    code: Codes = None,
    since: Since = None,
    until: Until = None,
    ids: Ids = None,
    limit: Limit = None,
    state: Annotated[str | None, typer.Option(help=f"One of {', '.join(letters.STATES)}; all if not given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show dead letters and what has become of them. Options that may be given several times are joined by or."""
    wanted = _filter(topic, stage, code, since, until, ids, limit, state=state)
    found = _run(_find(_settings(context), wanted))
    if as_json:
        for letter in found:
            OUT.print(orjson.dumps(letter_text.document(letter)).decode(), markup=False)
        return
    _print_list(found)


@app.command()
def show(
    context: typer.Context,
    letter_id: Annotated[str, typer.Argument(help="Letter, request or document ID.")],
    raw: Annotated[bool, typer.Option("--raw", help="Write the record's value as it is, and nothing else.")] = False,
) -> None:
    """Show all of a dead letter: cause, headers and value; of a request or document, all it has."""
    settings = _settings(context)
    found = _run(_fetch(settings, Filter(ids=frozenset({letter_id}))))
    if not found:
        fail(f"there is no dead letter {letter_id}; see: ragline dead-letters list")
        raise typer.Exit(1)
    if not raw:
        for letter, headers, value in found:
            OUT.print(letter_text.describe(letter, headers, value), markup=False)
        return
    if len({letter.id for letter, _, _ in found}) > 1:
        fail(f"{letter_id} has {len(found)} dead letters; say which: ragline dead-letters list --id {letter_id}")
        raise typer.Exit(1)
    sys.stdout.buffer.write(found[0][2] or b"")


@app.command()
def redrive(
    context: typer.Context,
    topic: Topics = None,
    stage: Stages = None,
    code: Codes = None,
    since: Since = None,
    until: Until = None,
    ids: Ids = None,
    limit: Limit = None,
    every: All = False,
    dry_run: DryRun = False,
    rate: Annotated[float | None, typer.Option(help="At most so many records a second.")] = None,
    timeout_ms: Annotated[
        int | None, typer.Option(min=1, help="Time for the answer, from now; query.timeout_ms if not given.")
    ] = None,
    by: By = None,
) -> None:
    """Put open dead letters back into the topic they failed in, for the stage that failed. Each is redriven once."""
    if rate is not None and rate <= 0:
        _refuse("--rate must be greater than 0")
    wanted = _filter(topic, stage, code, since, until, ids, limit, state="open", every=every)
    settings = _settings(context)
    if dry_run:
        _dry_run(settings, wanted, "redriven")
        return
    time_left = timedelta(milliseconds=timeout_ms or settings.query.timeout_ms)

    async def work(clerk: Clerk) -> Outcome:
        return await clerk.redrive(wanted, time_left, rate)

    _settle(settings, by, "redriven", work)


@app.command()
def drop(
    context: typer.Context,
    topic: Topics = None,
    stage: Stages = None,
    code: Codes = None,
    since: Since = None,
    until: Until = None,
    ids: Ids = None,
    limit: Limit = None,
    every: All = False,
    dry_run: DryRun = False,
    reason: Annotated[str | None, typer.Option(help="Why, for whoever looks later.")] = None,
    by: By = None,
) -> None:
    """Mark open dead letters as done with. They stay to be seen until the topic's retention takes them."""
    wanted = _filter(topic, stage, code, since, until, ids, limit, state="open", every=every)
    settings = _settings(context)
    if dry_run:
        _dry_run(settings, wanted, "dropped")
        return

    async def work(clerk: Clerk) -> Outcome:
        return await clerk.drop(wanted, reason)

    _settle(settings, by, "dropped", work)


# --- filters ------------------------------------------------------------------------------------------------


def _filter(
    topics: list[str] | None,
    stages: list[str] | None,
    codes: list[str] | None,
    since: str | None,
    until: str | None,
    ids: list[str] | None,
    limit: int | None,
    *,
    state: str | None,
    every: bool = True,
) -> Filter:
    """The filter that the options say; without any, only ``every`` means all letters."""
    if not (every or topics or stages or codes or since or until or ids or limit):
        _refuse("say which dead letters: give a filter, or --all for every open one")
    now = datetime.now(UTC)
    try:
        return Filter(
            topics=frozenset(map(letters.topic_name, topics or ())),
            stages=frozenset(stages or ()),
            codes=frozenset(codes or ()),
            ids=frozenset(ids or ()),
            since=letters.moment(since, now) if since else None,
            until=letters.moment(until, now) if until else None,
            state=_state(state),
            limit=limit,
        )
    except ValueError as error:
        _refuse(str(error))


def _state(text: str | None) -> State | None:
    for state in letters.STATES:
        if text == state:
            return state
    if text is not None:
        raise ValueError(f"--state takes {', '.join(letters.STATES)}, not {text!r}")
    return None


# --- work ---------------------------------------------------------------------------------------------------


async def _find(settings: Settings, wanted: Filter) -> list[Letter]:
    async with DeadLetters(settings.kafka, await _names(settings)) as reader:
        return await reader.find(wanted)


async def _fetch(settings: Settings, wanted: Filter) -> list[tuple[Letter, RawHeaders, bytes | None]]:
    async with DeadLetters(settings.kafka, await _names(settings)) as reader:
        fetched = reader.fetch(await reader.find(wanted))
        return [(letter, record.headers, record.value) async for letter, record in fetched]


def _dry_run(settings: Settings, wanted: Filter, verb: str) -> None:
    found = _run(_find(settings, wanted))
    _print_list(found)
    OUT.print(f"{len(found)} would be {verb}", markup=False)


def _settle(
    settings: Settings, by: str | None, verb: str, work: Callable[[Clerk], Coroutine[Any, Any, Outcome]]
) -> None:
    async def run() -> Outcome:
        async with Clerk(settings.kafka, await _names(settings), by or user(), report) as clerk:
            return await work(clerk)

    def report(outcome: Outcome) -> None:
        if ERR.is_terminal:
            ERR.print(f"{verb} {outcome.done}", end="\r")

    outcome = _run(run())
    for letter, reason in outcome.refused:
        fail(f"{letter.id[: letter_text.SHORT_ID_CHARS]} ({letter.key}) was not {verb}: {reason}")
    OUT.print(f"{verb} {outcome.done}", markup=False)
    if outcome.refused:
        raise typer.Exit(1)


async def _names(settings: Settings) -> Namespace:
    """The names of the live version of the index: letters of another one were written for a collection that is not."""
    with answering(settings.kafka.bootstrap_servers):
        try:
            return await live_names(settings.kafka, settings.names)
        except OSError as error:
            raise DeadLettersError(str(error)) from error


def _settings(context: typer.Context) -> Settings:
    settings: Settings = context.obj.settings
    return settings.with_local_addresses()


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except DeadLettersError as error:
        fail(str(error))
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        ERR.print("interrupted; what was done is marked, and the same command goes on with the rest")
        raise typer.Exit(_INTERRUPTED) from None


def _refuse(sentence: str) -> NoReturn:
    fail(sentence)
    raise typer.Exit(2)


def _print_list(found: list[Letter]) -> None:
    if not found:
        OUT.print("no dead letters", markup=False)
        return
    OUT.print(letter_text.render_list(found), markup=False)
