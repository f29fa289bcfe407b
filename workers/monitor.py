"""The monitor: follows requests through the stage topics and shows their timelines and the latency of each stage.

It only watches. Faust reads uncommitted records and may read one twice, so nothing depends on what it says.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

import structlog

from backends.kafka import KafkaSettings
from topics.admin import wait_for_topics
from topics.names import Namespace
from topics.specs import TopicSpec
from workers.monitor_app import build_app
from workers.monitor_pages import MonitorMetrics, routes
from workers.runtime.http import status_page
from workers.runtime.records import Incoming
from workers.runtime.worker import stop_on_signals
from workers.settings import MonitorSettings
from workers.timelines import WATCHED, Timelines, see

log = structlog.get_logger(__name__)

STAGE = "monitor"
_STOP_TIMEOUT_S = 5.0


class MonitorDiedError(Exception):
    """Faust gave up; the message says why."""


async def run_monitor(kafka: KafkaSettings, names: Namespace, settings: MonitorSettings, data_dir: Path) -> None:
    """Run the monitor until SIGTERM or SIGINT.

    Raises:
        TopicsError: the topics did not appear.
        MonitorDiedError: Faust gave up.
        OSError: the port is taken.
    """
    async with stop_on_signals() as stop:
        monitor = Monitor(kafka, names, settings, data_dir)
        try:
            await monitor.run(stop)
        except MonitorDiedError as error:
            if monitor.hung:
                log.error(str(error), stage=STAGE)  # noqa: TRY400 - one sentence, no traceback
                os._exit(1)
            raise
        if monitor.hung:
            os._exit(0)


class Monitor:
    """One monitor. ``data_dir`` is a folder that Faust may use."""

    def __init__(self, kafka: KafkaSettings, names: Namespace, settings: MonitorSettings, data_dir: Path) -> None:
        self._kafka = kafka
        self._names = names
        self._settings = settings
        self._data_dir = data_dir
        self._timelines = Timelines(settings.max_requests, settings.window_s * 1000)
        self._metrics = MonitorMetrics(self._timelines)
        self._records = 0
        self._app: Any = None
        self.port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.ready = asyncio.Event()
        # Faust would not stop: its threads and tasks are still there, and only the end of the process ends them.
        self.hung = False

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set. ``port`` is known first; ``ready`` is set once records are read."""
        settings = self._settings
        pages = routes(self._timelines, settings.window_s)
        async with status_page(
            settings.http_host, settings.http_port, self._metrics.registry, self.status, pages
        ) as port:
            self.port.set_result(port)
            log.info("starting", stage=STAGE, http=f"http://{settings.http_host}:{port}")
            work = asyncio.create_task(self._work())
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            self.ready.clear()
            for task in (work, stopped):
                task.cancel()
            await asyncio.wait({work, stopped})
            if not work.cancelled():
                work.result()
        log.info("stopped", stage=STAGE)

    def status(self) -> dict[str, object]:
        """What the monitor is doing, for ``/status``."""
        return {
            "stage": STAGE,
            "ready": self.ready.is_set(),
            "in_flight": 0,
            "queued": 0,
            "processed": self._records,
            "failed": 0,
            "last_error": None,
            "partitions": sorted(f"{place.topic}/{place.partition}" for place in self._assigned()),
        }

    async def _work(self) -> None:
        await wait_for_topics(self._kafka, self._names, WATCHED, report=log.warning)
        app = self._app = build_app(self._kafka, self._names, self._data_dir, self._take)
        try:
            await app.start()
            self.ready.set()
            log.info("ready", stage=STAGE)
            await app.wait_until_stopped()
        finally:
            await self._stop()
        msg = f"the monitor's stream ended: {app.crash_reason or 'without a reason'}"
        raise MonitorDiedError(msg) from app.crash_reason

    async def _stop(self) -> None:
        stopping = asyncio.ensure_future(self._app.stop())
        # Not cancelled when the time is up: Faust takes a cancelled task for a crashed one and starts it again.
        await asyncio.wait({stopping}, timeout=_STOP_TIMEOUT_S)
        if stopping.done():
            stopping.result()
        else:
            # Faust wants to commit and to leave the group first, however long Kafka is away.
            log.warning("Kafka does not answer; stopping without taking leave", stage=STAGE)
            self.hung = True

    def _take(self, record: Incoming, spec: TopicSpec) -> None:
        self._records += 1
        self._metrics.records.labels(spec.name).inc()
        if not self._timelines.add(see(record, spec)):
            self._metrics.repeated.inc()

    def _assigned(self) -> Any:
        return self._app.consumer.assignment() if self.ready.is_set() else ()
