"""Runs a worker for a version of the index, and anew when another one becomes live."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

import structlog

from backends.index_topic import FollowedIndex
from ragline.settings import Settings, SettingsError
from ragline.stages import AnyStage, Binding, build_stage
from ragline.stamps import stamping
from ragline.versions import differences, state_of, with_version
from schemas.events import IndexVersion
from topics.names import INGEST_STAGES
from workers.runtime.worker import Worker

log = structlog.get_logger(__name__)

Build: TypeAlias = Callable[[str, Settings, Binding | None], AnyStage]

# The others have nothing to do with the index.
BOUND_STAGES = (*INGEST_STAGES, "embedding", "retrieval")


@dataclass(frozen=True, slots=True)
class _Task:
    """What a worker works for, and the settings that follow."""

    version: IndexVersion
    settings: Settings
    is_live: bool


async def work(
    name: str,
    settings: Settings,
    stop: asyncio.Event,
    *,
    version: int | None = None,
    build: Build = build_stage,
) -> None:
    """Run a worker of the stage until ``stop`` is set.

    It works for the live version of the index, with the settings that the version was made with; when another one
    becomes live and has other settings for this stage, it drains and begins anew with them, in this process.
    ``version`` holds it to one version, for as long as there is that one.

    Raises:
        SettingsError: there is no such stage or version, or the settings do not fit.
        Exception: whatever ended the worker.
    """
    if name not in BOUND_STAGES:
        if version is not None:
            raise SettingsError(f"the stage {name!r} is the same for every version of the index")
        stage = build(name, settings, None)
        stamp = stamping(name, settings)
        await Worker(stage, settings.kafka, settings.names, settings.runtime, stamp).run(stop)
        return
    changed = asyncio.Event()
    index = FollowedIndex(settings.kafka, settings.names, on_change=lambda _: changed.set())
    async with _following(index) as following:
        await _first(stop.wait(), index.ready.wait(), following)
        task: _Task | None = None
        while not stop.is_set():
            changed.clear()
            task = _task(settings, index, version, task)
            if task is None:
                return
            await _Run(name, settings, index, version, build).run(task, stop, changed, following)


class _Run:
    """One worker from its start to its end, which ``stop`` or another version of the index brings about."""

    def __init__(self, name: str, settings: Settings, index: FollowedIndex, version: int | None, build: Build) -> None:
        self._name = name
        self._settings = settings
        self._index = index
        self._version = version
        self._build = build

    async def run(
        self, task: _Task, stop: asyncio.Event, changed: asyncio.Event, following: "asyncio.Task[None]"
    ) -> None:
        self._say(task)
        settings = task.settings
        stage = self._build(self._name, settings, Binding(self._index, self._settings, task.is_live))
        names = settings.names.of_index(task.version.version)
        end = asyncio.Event()
        stamp = stamping(self._name, settings, task.version)
        worker = Worker(stage, settings.kafka, names, settings.runtime, stamp)
        working = asyncio.create_task(worker.run(end), name=self._name)
        try:
            while not (working.done() or end.is_set()):
                await _first(stop.wait(), changed.wait(), working, following)
                changed.clear()
                if stop.is_set() or self._has_other_work(task):
                    end.set()
            await working
        finally:
            if not working.done():
                working.cancel()
                await asyncio.wait({working})

    def _has_other_work(self, task: _Task) -> bool:
        new = _task(self._settings, self._index, self._version, task)
        if new is not None and matters(self._name, new.settings) == matters(self._name, task.settings):
            return False
        log.info("another version of the index is live; beginning anew", stage=self._name)
        return True

    def _say(self, task: _Task) -> None:
        others = differences(self._settings, task.settings)
        if others:
            held = {name: now for name, (_, now) in others.items()}
            log.info("the index decides these settings", version=task.version.version, **held)


def matters(name: str, settings: Settings) -> object:
    """What of the settings must not change under a running worker of the stage."""
    if name == "embedding":
        return settings.embedder
    if name == "retrieval":
        # It finds the collections by itself; only this reranker has loaded the embedding model.
        return settings.embedder if "late_interaction" in settings.retrieval.rerankers else None
    return settings.milvus, settings.embedder, settings.chunking


def _task(settings: Settings, index: FollowedIndex, version: int | None, before: _Task | None) -> _Task | None:
    """What there is to work for now; None if the version that the worker is held to has gone since."""
    state = state_of(settings, index.state, datetime.now(UTC))
    if version is None:
        return _Task(state.live, with_version(settings, state.live), is_live=True)
    found = next((known for known in state.versions if known.version == version), None)
    if found is None and before is None:
        raise SettingsError(f"there is no version {version} of the index")
    is_live = found == state.live
    return _Task(found, with_version(settings, found), is_live) if found else None


@asynccontextmanager
async def _following(index: FollowedIndex) -> "AsyncIterator[asyncio.Task[None]]":
    task = asyncio.create_task(index.run(), name="index")
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _first(*things: Awaitable[object]) -> None:
    """Wait until one is done, and raise what it has failed with; what was made for the wait ends with it."""
    futures: list[asyncio.Future[object]] = [asyncio.ensure_future(thing) for thing in things]
    own = [future for future, thing in zip(futures, things, strict=True) if future is not thing]
    try:
        done, _ = await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        for future in done:
            future.result()
    finally:
        for future in own:
            future.cancel()
        await asyncio.gather(*own, return_exceptions=True)
