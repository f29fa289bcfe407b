"""The command ``ragline replay``."""

import asyncio
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from types import TracebackType
from typing import Annotated, Any, NoReturn, Self, TypeVar

import orjson
import typer
from pydantic import JsonValue
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn

from infra.local.report import LocalStackError
from ragline import replay_options as options
from ragline.settings import Settings, SettingsError
from ragline.terminal import ERR, OUT, fail
from replay.errors import ReplayError
from replay.extra import MissingExtraError, needed
from replay.run_folder.errors import RunError
from topics.cluster import TopicsError

T = TypeVar("T")

_INTERRUPTED = 130
_LOG_INTERVAL_S = 5
_KNOWN = (ReplayError, RunError, SettingsError, TopicsError, LocalStackError, MissingExtraError, OSError)

# Workers, models and Parquet are imported when the command runs: no other command should wait for them.
# ruff: noqa: PLC0415


def replay(
    context: typer.Context,
    topic: Annotated[str, typer.Option("--from", help="Topic to replay from, such as rag.passages.retrieved.")],
    run: Annotated[str, typer.Option(help="Name of the run; the same command goes on with one that was interrupted.")],
    since: options.Since = None,
    until: options.Until = None,
    offsets: options.Offsets = None,
    ids: options.Ids = None,
    sample: options.Sample = None,
    seed: options.Seed = 0,
    changes: Annotated[list[str] | None, typer.Option("--set", help="A changed setting, stage.setting=value.")] = None,
    workers: Annotated[str, typer.Option(help="local starts the run's own, running waits for others.")] = "local",
    scale: Annotated[list[str] | None, typer.Option(help="Processes of a stage, as STAGE=N.")] = None,
    rate: Annotated[float | None, typer.Option(help="At most so many requests a second.")] = None,
    time_warp: Annotated[float | None, typer.Option(help="At their original pace, so many times as fast.")] = None,
    timeout_s: Annotated[float, typer.Option(help="Give up after so many seconds without an answer.")] = 300,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Answer recorded requests again, beside production, with changed settings."""
    _check(rate, time_warp, timeout_s, workers)
    settings: Settings = context.obj.settings

    async def work() -> None:
        options.check(since, until, offsets, ids, sample)
        with needed():
            from ragline import replaying
            from ragline.stack import parse_scale
        order = replaying.Order(
            run=run,
            asked=options.asked(topic, since, until, offsets, ids, sample, seed, changes or []),
            rate=rate,
            time_warp=time_warp,
            local=workers == "local",
            scale=parse_scale(scale or []),
            stalled_s=timeout_s,
        )
        prepared = await replaying.prepare(settings, order)
        for line in _plan_lines(prepared):
            ERR.print(line, markup=False)
        if dry_run:
            return
        with ReplayProgress() as progress:
            summary = await replaying.replay(settings, context.obj.config_file, order, prepared, progress, _say)
        _print_summary(run, summary, as_json=as_json)

    _run(work(), run)


def _check(rate: float | None, time_warp: float | None, timeout_s: float, workers: str) -> None:
    if rate is not None and time_warp is not None:
        _refuse("--rate and --time-warp say the same thing; give one of them")
    for name, value in (("--rate", rate), ("--time-warp", time_warp), ("--timeout-s", timeout_s)):
        if value is not None and value <= 0:
            _refuse(f"{name} must be greater than 0")
    if workers not in {"local", "running"}:
        _refuse(f"--workers takes local or running, not {workers!r}")


class ReplayProgress:
    """Shows a replay while it runs: a bar on a terminal, a line every few seconds elsewhere. A context manager."""

    def __init__(self) -> None:
        self._shown_at = time.monotonic()
        self._phase = ""
        self._bar: Progress | None = None
        if ERR.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TaskProgressColumn())
            self._bar = Progress(*columns, TextColumn("{task.fields[pace]}"), console=ERR, transient=True)
            self._task = self._bar.add_task("replay", total=None, pace="")

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, standing: Any) -> None:
        """Show where the replay stands."""
        pace = f"{standing.per_second:.0f}/s" if standing.per_second else ""
        if standing.left_s is not None and standing.phase == "replaying":
            pace += f", {_duration(standing.left_s)} left"
        if self._bar:
            self._bar.update(
                self._task,
                description=standing.phase,
                completed=standing.ended,
                total=standing.total or None,
                pace=pace,
            )
        elif standing.phase != self._phase or time.monotonic() - self._shown_at >= _LOG_INTERVAL_S:
            self._shown_at, self._phase = time.monotonic(), standing.phase
            ERR.print(f"{standing.phase}: {standing.ended} of at most {standing.total} requests {pace}", markup=False)


def _plan_lines(prepared: Any) -> list[str]:
    plan = prepared.plan
    offsets = ", ".join(f"{number}:{span.first}-{span.end - 1}" for number, span in sorted(plan.spans.items()))
    begins = "going on with" if prepared.begun else "replaying"
    where = f"from {plan.way.source.name} ({offsets}) through {', '.join(plan.way.stages)}"
    lines = [
        f"{begins} at most {plan.at_most} requests {where}",
        f"in namespace {prepared.own.namespace}, run {prepared.folder}",
    ]
    if plan.whole_from_ms is not None:
        from_when = datetime.fromtimestamp(plan.whole_from_ms / 1000, UTC).isoformat(timespec="seconds")
        lines.append(f"retention has deleted what {plan.way.source.name} had before; it is whole from {from_when} on")
    if plan.missing:
        lines.append(f"{plan.missing} of the request IDs are not there")
    return lines


def _print_summary(run: str, summary: dict[str, JsonValue], *, as_json: bool) -> None:
    from replay.comparison import Agreement, sentences

    if as_json:
        OUT.print(orjson.dumps({"run": run, **summary}).decode(), markup=False)
        return
    states, agreement = summary["states"], summary["agreement"]
    assert isinstance(states, dict)  # noqa: S101 - as the replay makes them
    assert isinstance(agreement, dict)  # noqa: S101
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    OUT.print(f"run {run}: {summary['requests']} requests, {counts}", markup=False)
    OUT.print("against what was recorded:", markup=False)
    for line in sentences({topic: Agreement.model_validate(counts) for topic, counts in agreement.items()}):
        OUT.print(f"  {line}", markup=False)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _say(line: str) -> None:
    ERR.print(line, markup=False)


def _run(work: Coroutine[Any, Any, T], run: str) -> T:
    try:
        return asyncio.run(work)
    except _KNOWN as error:
        fail(str(error) or type(error).__name__)
        raise typer.Exit(1) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        ERR.print(f"interrupted; the same command goes on with run {run}", markup=False)
        raise typer.Exit(_INTERRUPTED) from None


def _refuse(sentence: str) -> NoReturn:
    fail(sentence)
    raise typer.Exit(2)
