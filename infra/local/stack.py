"""The local stack: prepared, started, stopped."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar

from infra.local import preflight
from infra.local.config import StackConfig
from infra.local.kafka import jars_path, prepare_jars, prepare_node
from infra.local.logs import MergedView
from infra.local.models import prepare_models
from infra.local.processes import available_cores, kafka_node, server_specs, worker_specs
from infra.local.report import Report
from infra.local.state import only_one
from infra.local.supervisor import Supervisor

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

T = TypeVar("T")


def prepare(config: StackConfig, report: Report) -> None:
    """Check the machine and make what is missing: jars, model, Kafka's storage. Quick when all is there.

    Not asynchronous: it comes before the event loop, so that Ctrl-C ends it at once.

    Raises:
        LocalStackError: something is not so, or a step failed; another stack runs on the data folder.
    """
    with only_one(config.data_dir, report):
        preflight.check(config)
        if "kafka" in config.servers:
            prepare_jars(config.data_dir, report)
            prepare_node(kafka_node(config), jars_path(config.data_dir), report)
        if config.needs_engine_model and not config.engine and not config.only_infra:
            prepare_models(config.data_dir, report)


async def run_stack(
    config: StackConfig,
    *,
    report: Report,
    after_servers: Callable[[], Awaitable[None]],
    body: Callable[["LocalStack"], Awaitable[T]],
) -> T | None:
    """Start the stack, run ``body`` while it is ready, stop it; gives what ``body`` returned.

    ``after_servers`` runs between servers and workers: it makes the topics. SIGINT, SIGTERM or SIGHUP stop the stack at
    any moment, and the result is None; a second one stops it without grace. ``prepare`` comes first.

    Raises:
        LocalStackError: a process does not start.
    """
    stack = LocalStack(config, report=report, after_servers=after_servers)

    async def work() -> T:
        async with stack:
            return await body(stack)

    loop = asyncio.get_running_loop()
    task = asyncio.create_task(work())
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if interrupted:
            report("stopping at once")
        else:
            report("stopping; press Ctrl-C again to stop at once")
        interrupted = True
        # While the stack stops, cancelling cuts the grace short.
        task.cancel()

    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, interrupt)
    try:
        return await task
    except asyncio.CancelledError:
        if not interrupted:
            raise
        return None
    finally:
        for number in _STOP_SIGNALS:
            loop.remove_signal_handler(number)


class LocalStack:
    """Servers and workers as one asynchronous context: entered when all are ready, left when all have ended.

    Being cancelled while it stops makes it stop without grace.
    """

    def __init__(self, config: StackConfig, *, report: Report, after_servers: Callable[[], Awaitable[None]]) -> None:
        self._config = config
        self._after_servers = after_servers
        self._supervisor = Supervisor(
            config.data_dir,
            view=MergedView(_print, colour=sys.stdout.isatty(), quiet=config.quiet),
            report=report,
            start_timeout_s=config.local.start_timeout_s,
        )

    async def __aenter__(self) -> Self:
        await self._supervisor.__aenter__()
        try:
            await self._supervisor.start(server_specs(self._config))
            await self._after_servers()
            await self._supervisor.start(worker_specs(self._config, available_cores()))
        except BaseException:
            await self.__aexit__(*sys.exc_info())
            raise
        return self

    async def wait(self) -> None:
        """Wait while the stack runs; returns only by an error of the supervision itself."""
        await self._supervisor.wait()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._supervisor.__aexit__(kind, error, trace)


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
