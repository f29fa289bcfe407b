"""The local stack from the command line: ``ragline up`` and ``ragline demo``."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

from aiokafka.errors import KafkaError

from infra.local import status
from infra.local.config import stack_config
from infra.local.lag import lag
from infra.local.report import LocalStackError
from infra.local.stack import LocalStack, prepare, run_stack
from ragline.demo import demo_questions
from ragline.endings import live_names
from ragline.settings import Settings, SettingsError
from ragline.terminal import ERR, OUT
from topics.admin import apply_topics
from topics.cluster import TopicsError
from topics.names import Namespace
from topics.render import render_plan

T = TypeVar("T")


def parse_scale(items: list[str]) -> dict[str, int]:
    """Read ``STAGE=N`` items.

    Raises:
        SettingsError: an item is not of that form.
    """
    scale: dict[str, int] = {}
    for item in items:
        stage, _, count = item.partition("=")
        if not stage or not count.isascii() or not count.isdigit():
            raise SettingsError(f"--scale takes STAGE=N, such as generation=2, not {item!r}")
        scale[stage] = int(count)
    return scale


def up(settings: Settings, config_file: Path | None, scale: Mapping[str, int], *, only_infra: bool) -> None:
    """Run the stack until Ctrl-C."""

    async def serve(stack: LocalStack) -> None:
        _say(_ready_line(settings, only_infra=only_infra))
        await stack.wait()

    _run(settings, config_file, scale, serve, only_infra=only_infra, quiet=False)


def demo(settings: Settings, config_file: Path | None, *, once: bool) -> bool:
    """Run the stack with the demo corpus and three questions; whether all were answered."""

    async def show(stack: LocalStack) -> bool:
        answered = await demo_questions(settings)
        if not once:
            OUT.print()
            _say(_ready_line(settings, only_infra=False))
            await stack.wait()
        return answered

    return bool(_run(settings, config_file, {}, show, only_infra=False, quiet=True))


def _run(
    settings: Settings,
    config_file: Path | None,
    scale: Mapping[str, int],
    body: Callable[[LocalStack], Awaitable[T]],
    *,
    only_infra: bool,
    quiet: bool,
) -> T | None:
    _check_store(settings, only_infra=only_infra)
    command = (sys.executable, "-m", "ragline", *(("--config", str(config_file)) if config_file else ()))
    config = stack_config(
        settings,
        command=command,
        environment=os.environ,
        scale=scale,
        only_infra=only_infra,
        quiet=quiet,
    )
    prepare(config, _say)
    return asyncio.run(run_stack(config, report=_say, after_servers=lambda: _make_topics(settings), body=body))


def _check_store(settings: Settings, *, only_infra: bool) -> None:
    if settings.vector_store == "qdrant" and settings.qdrant.path and not only_infra:
        raise SettingsError(
            "qdrant.path is for one process, and here are three that need it, indexing, retrieval and chunk-embedding: "
            "run a Qdrant server and set qdrant.url"
        )


async def _make_topics(settings: Settings) -> None:
    """Create missing topics. One that differs from its declaration is told of and left alone."""
    addressed = settings.with_local_addresses()
    applied = await apply_topics(addressed.kafka, settings.topics, settings.names, report=_say)
    if applied.created:
        _say(f"created {len(applied.created)} topics")
    if not applied.remaining.in_order:
        ERR.print(render_plan(applied.remaining), markup=False)
        raise TopicsError("the topics on the cluster differ from their declaration (above); see: ragline topics plan")


def _ready_line(settings: Settings, *, only_infra: bool) -> str:
    if only_infra:
        addressed = settings.with_local_addresses()
        kafka, redis = addressed.kafka.bootstrap_servers, addressed.redis.url
        uses_qdrant = addressed.vector_store == "qdrant"
        store = f"Qdrant {addressed.qdrant.place}" if uses_qdrant else f"Milvus {addressed.milvus.uri}"
        return f"servers are ready: Kafka {kafka}, {store}, Redis {redis}. Ctrl-C stops them."
    bridge, monitor = settings.bridge, settings.monitor
    return (
        f"ready: page http://{bridge.host}:{bridge.port}, monitor http://{monitor.http_host}:{monitor.http_port}. "
        "Ask here with: ragline ask QUESTION. Ctrl-C stops everything."
    )


def _say(line: str) -> None:
    OUT.print(f"ragline: {line}", markup=False)


async def show_status(settings: Settings) -> None:
    """Print one line per stage, server and other part."""
    addressed = settings.with_local_addresses()
    found = await status.processes(settings.local.data_dir)
    try:
        lags = await lag(addressed.kafka.client_options(), await _live_names(addressed))
    except LocalStackError as error:
        if found is None:
            raise
        ERR.print(f"ragline: no lag is known: {error}", markup=False)
        lags = {}
    OUT.print(status.render(status.rows(found, lags)))


async def _live_names(settings: Settings) -> Namespace:
    try:
        return await live_names(settings.kafka, settings.names)
    except (KafkaError, OSError) as error:
        reason = str(error) or type(error).__name__
        raise LocalStackError(f"Kafka at {settings.kafka.bootstrap_servers}: {reason}") from error
