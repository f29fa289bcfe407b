"""``ragline replay``: from what was said at the command line to a run."""

import asyncio
import contextlib
import shlex
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from pydantic import JsonValue

from backends.errors import BackendUnavailableError
from ragline.replay_workers import local_workers, worker_specs
from ragline.settings import Settings, SettingsError
from ragline.stages import build_stage, templates
from replay import overrides
from replay.errors import ReplayError
from replay.export import Export
from replay.overrides import OptionChanges
from replay.planning import Asked, Plan, make_plan, namespace_of
from replay.removal import remove_namespace
from replay.run import Options, Replay, Standing
from replay.run_folder.errors import RunError
from replay.run_folder.manifest import Manifest, check_name
from replay.run_folder.reader import delete_run
from replay.run_folder.writer import RunWriter
from replay.schedule import AtOnce, AtRate, Schedule, Warped
from replay.topology import Way, way_from
from topics.cluster import TopicsError
from workers.template import TemplateError


@dataclass(frozen=True, slots=True)
class Order:
    """A replay as it is asked for. ``local`` has it start its own workers, ``scale`` how many of each stage."""

    run: str
    asked: Asked
    rate: float | None = None
    time_warp: float | None = None
    local: bool = True
    scale: Mapping[str, int] = field(default_factory=dict)
    stalled_s: float = 300.0

    def schedule(self, first_ms: int) -> Schedule:
        """When each record may go."""
        if self.rate is not None:
            return AtRate(self.rate)
        return AtOnce() if self.time_warp is None else Warped(self.time_warp, first_ms)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A replay that could begin: ``own`` are the settings of its workers, ``changed`` what of them is changed, as
    environment variables. ``begun`` tells that the run is there and not complete.
    """

    plan: Plan
    own: Settings
    changes: OptionChanges
    changed: Mapping[str, str]
    folder: Path
    begun: bool


async def prepare(settings: Settings, order: Order) -> Prepared:
    """Check everything that can be checked without making anything.

    Raises:
        ReplayError, RunError, SettingsError, TopicsError: it cannot be done; the message says why.
    """
    settings = settings.with_local_addresses()
    folder = settings.replay.runs_folder / check_name(order.run)
    begun = folder.exists()
    if begun:
        manifest = Manifest.read(folder)
        if manifest.state == "complete":
            raise RunError(
                f"there is a run {order.run} already; name another, or remove that one: ragline runs delete {order.run}"
            )
        plan = Plan.resumed(manifest, order.asked)
    own = overrides.apply(settings, order.asked.overrides)
    own = own.model_copy(update={"namespace": namespace_of(settings.names, order.run).prefix})
    changes = overrides.effects(own, order.asked.overrides, way_from(order.asked.topic))
    _check_stages(own, way_from(order.asked.topic), changes, local=order.local, scale=order.scale)
    if not begun:
        plan = await make_plan(settings.kafka, settings.names, order.asked)
    return Prepared(plan, own, changes, overrides.environment(own, order.asked.overrides), folder, begun)


async def replay(
    settings: Settings,
    config_file: Path | None,
    order: Order,
    prepared: Prepared,
    report: Callable[[Standing], None],
    say: Callable[[str], None],
) -> dict[str, JsonValue]:
    """Begin a run, or go on with it, to its end; gives its summary.

    One that fails before anything was sent leaves nothing behind.

    Raises:
        ReplayError, RunError, TopicsError, LocalStackError: it cannot be done or gone on with.
    """
    settings = settings.with_local_addresses()

    options = Options(
        schedule=order.schedule,
        workers=lambda: workers_of(config_file, order, prepared, say),
        collection=prepared.own.milvus.collection,
        stalled_s=order.stalled_s,
        replication_factor=settings.topics.replication_factor,
        report=report,
    )
    with _writer(order, prepared) as writer:
        replaying = Replay(settings.kafka, settings.names, prepared.plan, prepared.changes, writer, options)
        try:
            async with _stopped_by_sigterm():
                return await replaying.run()
        except Exception:
            if not prepared.begun and not replaying.sent:
                with contextlib.suppress(ReplayError, TopicsError, BackendUnavailableError, RunError):
                    await remove_namespace(settings.kafka, settings.redis, prepared.own.names)
                    delete_run(prepared.folder)
            raise


def workers_of(
    config_file: Path | None, order: Order, prepared: Prepared, say: Callable[[str], None]
) -> AbstractAsyncContextManager[None]:
    """A context in which the stages of a replay are at work: its own, or whoever has been started elsewhere."""
    stages, own = prepared.plan.way.stages, prepared.own
    if not order.local:
        variables = {"RAGLINE_NAMESPACE": own.namespace, **prepared.changed}
        environment = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
        say(f"waiting for workers of {', '.join(stages)}; start each with: {environment} ragline worker STAGE")
        return nullcontext()
    specs = worker_specs(own, config_file, stages, order.scale, prepared.changed)
    return local_workers(specs, prepared.folder, own, say)


async def record(settings: Settings, run: str, asked: Asked) -> Export:
    """Make a run of what production itself has answered, as a replay of it would be; gives what was added.

    Raises:
        ReplayError, RunError, TopicsError: it cannot be done; nothing is left behind.
    """
    settings = settings.with_local_addresses()
    folder = settings.replay.runs_folder / check_name(run)
    if folder.exists():
        raise RunError(f"there is a run {run} already; name another, or remove that one: ragline runs delete {run}")
    plan = await make_plan(settings.kafka, settings.names, asked)
    manifest = Manifest(name=run, ragline_version=version("ragline"), source=plan.source(asked))
    with RunWriter.create(folder, manifest) as writer:
        export = Export(settings.kafka, settings.names, plan.way, writer, plan.selection.takes, plan.spans)
        try:
            await export.run()
            await asyncio.to_thread(writer.finish)
        except BaseException:
            delete_run(folder)
            raise
    return export


def _writer(order: Order, prepared: Prepared) -> RunWriter:
    if prepared.begun:
        return RunWriter.resume(prepared.folder)
    manifest = Manifest.model_validate(
        {
            "name": order.run,
            "ragline_version": version("ragline"),
            "source": prepared.plan.source(order.asked),
            "settings": {override.name: override.text for override in order.asked.overrides},
            "namespace": prepared.own.namespace,
            "stages": prepared.plan.way.stages,
        }
    )
    return RunWriter.create(prepared.folder, manifest)


def _check_stages(own: Settings, way: Way, changes: OptionChanges, *, local: bool, scale: Mapping[str, int]) -> None:
    template = changes.options.get("template")
    try:
        if template is not None and template not in (known := templates(own)):
            raise SettingsError(f"query.template is {template!r}, but known are {', '.join(sorted(known))}")
    except TemplateError as error:
        raise SettingsError(str(error)) from error
    for stage, count in scale.items():
        if stage not in way.stages or count < 1:
            raise ReplayError(f"--scale takes {', '.join(way.stages)} and a number from 1 on, not {stage}={count}")
    if local:
        # Nothing is loaded or connected by it, and most of what can be wrong shows.
        for stage in way.stages:
            build_stage(stage, own)


@contextlib.asynccontextmanager
async def _stopped_by_sigterm() -> AsyncIterator[None]:
    """Let SIGTERM end a replay as Ctrl-C does: workers are stopped in good order."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task  # noqa: S101 - coroutines run in tasks
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
