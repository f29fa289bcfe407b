"""Carries a replay out: topics, workers, feeding until all has ended, and the run's folder."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from backends.kafka import KafkaSettings
from replay.comparison import compare
from replay.endings import Endings
from replay.errors import ReplayError
from replay.export import Export
from replay.feeder import Feeder, group_of
from replay.index import keep_index
from replay.overrides import OptionChanges
from replay.pace import Pace
from replay.planning import Plan, namespace_of
from replay.recording import Recording
from replay.requests import incoming, maker, request_id
from replay.run_folder.writer import RunWriter
from replay.schedule import Schedule
from replay.selection import Span
from replay.tracker import Tracker
from topics.admin import apply_topics
from topics.names import Namespace
from topics.settings import TopicSettings

_LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a replay stands. ``total`` bounds the number of requests; ``left_s`` is None where no time is known yet."""

    phase: str
    sent: int
    ended: int
    total: int
    per_second: float = 0.0
    left_s: float | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """How a replay is carried out. ``schedule`` makes one of the time of the earliest record; ``workers`` a context in
    which the stages are at work, searching ``collection``; ``stalled_s`` without an ending is the end of it.
    """

    schedule: Callable[[int], Schedule]
    workers: Callable[[], AbstractAsyncContextManager[Any]]
    collection: str
    stalled_s: float
    replication_factor: int
    report: Callable[[Standing], None]


class Replay:
    """A replay of recorded requests of the pipeline ``names`` into the run that ``writer`` writes."""

    def __init__(
        self,
        kafka: KafkaSettings,
        names: Namespace,
        plan: Plan,
        changes: OptionChanges,
        writer: RunWriter,
        options: Options,
    ) -> None:
        self._kafka = kafka
        self._names = names
        self._plan = plan
        self._changes = changes
        self._writer = writer
        self._options = options
        self._own = namespace_of(names, writer.manifest.name)
        self._tracker = Tracker()
        self._pace = Pace()

    @property
    def sent(self) -> int:
        """Requests that were sent so far, in all."""
        return self._tracker.sent

    async def run(self) -> dict[str, JsonValue]:
        """Go on from where the run stands, to its end; gives its summary, as the manifest has it.

        Raises:
            ReplayError: Kafka does not answer, or no request ends any more; the same again goes on.
            TopicsError: the run's topics cannot be made.
            OSError: the disk is full.
        """
        way = self._plan.way
        topics = TopicSettings(partitions=self._plan.partitions, replication_factor=self._options.replication_factor)
        await apply_topics(self._kafka, topics, self._own, specs=way.topics)
        if way.searches:
            await keep_index(self._kafka, self._names, self._own, self._options.collection)
        await self._answer_all()
        self._tracker.forget()
        self._report("comparing")
        agreements = await compare(self._kafka, self._names, self._own, way, self._plan.first_ms)
        self._report("writing")
        await Export(self._kafka, self._own, way, self._writer).run()
        summary: dict[str, JsonValue] = {
            "requests": self._tracker.sent,
            "states": dict(self._tracker.states),
            "agreement": {topic: agreement.model_dump() for topic, agreement in agreements.items()},
        }
        self._writer.manifest = self._writer.manifest.model_copy(update={"summary": summary})
        await asyncio.to_thread(self._writer.finish)
        return summary

    async def _answer_all(self) -> None:
        source = self._plan.way.source
        copies = self._own.topic(source)
        make = maker(source, copies, self._writer.manifest.name, self._changes)
        async with Recording(self._kafka, self._names.topic(source), group_of(self._own)) as recording:
            feeder = Feeder(
                self._kafka, self._own, recording, make, self._plan.selection, self._options.schedule, self._tracker
            )
            endings = Endings(self._kafka, self._own, self._tracker, feeder.make_room)
            try:
                spans = await feeder.start(self._plan.spans)
                await self._remember(copies)
                await endings.catch_up()
                # Where a run was killed while it was written, nothing is left to be answered.
                if feeder.left or self._tracker.pending:
                    self._report("starting workers", feeder.left)
                    async with self._options.workers():
                        await self._feed(feeder, endings, spans)
            finally:
                await feeder.stop()

    async def _remember(self, copies: str) -> None:
        """Tell the tracker of what was sent before this process."""
        async with Recording(self._kafka, copies) as sent:
            async for records in sent.read(await sent.whole()):
                for record in records:
                    self._tracker.send(request_id(incoming(record)))

    async def _feed(self, feeder: Feeder, endings: Endings, spans: dict[int, Span]) -> None:
        feeding = asyncio.create_task(feeder.run(spans))
        following = asyncio.create_task(endings.follow())
        running = {feeding, following}
        try:
            while running != {following} or self._tracker.pending:
                done, running = await asyncio.wait(running, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                self._pace.note(self._tracker.ended, pending=self._tracker.pending)
                self._report("replaying", feeder.left)
                self._check_progress()
        finally:
            for task in (feeding, following):
                task.cancel()
            await asyncio.wait({feeding, following})
            for task in (feeding, following):
                with suppress(asyncio.CancelledError):
                    task.exception()

    def _check_progress(self) -> None:
        if self._tracker.pending and self._pace.idle_s > self._options.stalled_s:
            stages = ", ".join(self._plan.way.stages)
            raise ReplayError(
                f"no request has ended for {self._options.stalled_s:g} s, {self._tracker.pending} are under way; "
                f"are the workers of {stages} running? What was answered is kept: the same command goes on"
            )

    def _report(self, phase: str, left: int = 0) -> None:
        sent, ended = self._tracker.sent, self._tracker.ended
        total = max(sent, min(sent + left, self._plan.at_most))
        rate = self._pace.per_second
        left_s = (total - ended) / rate if rate else None
        self._options.report(Standing(phase, sent, ended, total, rate, left_s))
