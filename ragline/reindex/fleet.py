"""The workers that fill a version of the index while nobody else does: child processes that end with this one."""

import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeAlias

from infra.local.config import HOST
from infra.local.logs import MergedView
from infra.local.probes import http_ok
from infra.local.process import ProcessSpec
from infra.local.report import LocalStackError, Report
from infra.local.supervisor import Supervisor
from ragline.reindex.errors import ReindexError
from ragline.settings import Settings
from topics.names import INGEST_STAGES

# Enters when workers of every ingest stage have joined their groups for the version; its value is how many of each.
Fleet: TypeAlias = Callable[[int], AbstractAsyncContextManager[Mapping[str, int]]]

_STOP_MARGIN_S = 10.0


def child_workers(settings: Settings, command: tuple[str, ...], scale: Mapping[str, int], report: Report) -> Fleet:
    """Worker processes, started again when they die; ``command`` is the command line before ``worker STAGE``.

    ``scale`` maps stages to numbers of workers, one where it says nothing.
    """
    counts = {stage: scale.get(stage, 1) for stage in INGEST_STAGES}

    @asynccontextmanager
    async def fleet(version: int) -> AsyncIterator[Mapping[str, int]]:
        view = MergedView(_show, colour=sys.stderr.isatty(), quiet=True)
        folder = settings.local.data_dir.absolute() / "reindex"
        try:
            async with Supervisor(
                folder, view=view, report=report, start_timeout_s=settings.local.start_timeout_s
            ) as supervisor:
                await supervisor.start([*_specs(settings, command, counts, version)])
                yield counts
        except LocalStackError as error:
            raise ReindexError(f"the workers of the re-index do not run: {error}") from error

    return fleet


def _specs(settings: Settings, command: tuple[str, ...], counts: Mapping[str, int], version: int) -> list[ProcessSpec]:
    specs = []
    for stage, count in counts.items():
        for number in range(1, count + 1):
            port = _free_port()
            specs.append(
                ProcessSpec(
                    name=stage if number == 1 else f"{stage}-{number}",
                    stage=stage,
                    argv=(*command, "worker", stage, "--index-version", str(version)),
                    env={
                        "RAGLINE_RUNTIME__HTTP_HOST": HOST,
                        "RAGLINE_RUNTIME__HTTP_PORT": str(port),
                        # A name in the group, where the environment gives one, belongs to a worker of production.
                        "RAGLINE_RUNTIME__GROUP_INSTANCE_ID": "",
                        "PYTHONUNBUFFERED": "1",
                        "TOKENIZERS_PARALLELISM": "false",
                    },
                    ready=http_ok(HOST, port, "/readyz"),
                    http_port=port,
                    stop_grace_s=settings.runtime.drain_timeout_ms / 1000 + _STOP_MARGIN_S,
                )
            )
    return specs


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _show(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def own_command(config_file: Path | None) -> tuple[str, ...]:
    """The command line of this very program, up to the command."""
    return (sys.executable, "-m", "ragline", *(("--config", str(config_file)) if config_file else ()))
