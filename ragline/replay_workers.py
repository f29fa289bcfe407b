"""The workers of a replay: processes of its own, with the run's settings, that end with it."""

import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from infra.local.config import HOST
from infra.local.logs import MergedView
from infra.local.probes import http_ok
from infra.local.process import ProcessSpec
from infra.local.processes import available_cores, tuning
from infra.local.report import Report
from infra.local.supervisor import Supervisor
from ragline.settings import Settings
from ragline.stages import with_local_models

# Beyond its drain, a worker commits, leaves its group and closes its engine.
_STOP_MARGIN_S = 10.0
# Nobody looks at the live view of a replay.
_LIVE_VIEW_TTL_S = 60


@asynccontextmanager
async def local_workers(
    specs: Sequence[ProcessSpec], folder: Path, settings: Settings, report: Report
) -> AsyncIterator[None]:
    """Processes that are ready while the block runs; their logs are in the run's folder, their warnings are reported.

    Raises:
        LocalStackError: one does not start.
    """
    view = MergedView(report, colour=False, quiet=True)
    start_timeout_s = settings.local.start_timeout_s
    async with Supervisor(folder, view=view, report=report, start_timeout_s=start_timeout_s) as supervisor:
        await supervisor.start(specs)
        yield


def worker_specs(
    settings: Settings,
    config_file: Path | None,
    stages: Sequence[str],
    scale: Mapping[str, int],
    changed: Mapping[str, str],
) -> list[ProcessSpec]:
    """One process or more for each stage. ``changed`` are variables that say what the run has otherwise.

    ``settings`` are the run's, in its namespace.
    """
    command = (sys.executable, "-m", "ragline", *(("--config", str(config_file)) if config_file else ()), "worker")
    named = [
        (stage if number == 1 else f"{stage}-{number}", stage)
        for stage in stages
        for number in range(1, scale.get(stage, 1) + 1)
    ]
    common = {**_addresses(settings), **changed}
    return [
        ProcessSpec(
            name=name,
            stage=stage,
            argv=(*command, stage),
            env={
                **_tuning(stage, scale),
                **common,
                "RAGLINE_RUNTIME__HTTP_HOST": HOST,
                "RAGLINE_RUNTIME__HTTP_PORT": str(port),
            },
            ready=http_ok(HOST, port, "/readyz"),
            http_port=port,
            stop_grace_s=settings.runtime.drain_timeout_ms / 1000 + _STOP_MARGIN_S,
        )
        for (name, stage), port in zip(named, _free_ports(len(named)), strict=True)
    ]


def _addresses(settings: Settings) -> dict[str, str]:
    addressed = with_local_models(settings.with_local_addresses())
    return {
        "RAGLINE_NAMESPACE": addressed.namespace,
        "RAGLINE_KAFKA__BOOTSTRAP_SERVERS": addressed.kafka.bootstrap_servers,
        "RAGLINE_MILVUS__URI": addressed.milvus.uri,
        "RAGLINE_REDIS__URL": addressed.redis.url,
        "RAGLINE_REDIS__TTL_S": str(_LIVE_VIEW_TTL_S),
        "RAGLINE_EMBEDDER__PATH": addressed.embedder.path,
        "RAGLINE_ENGINE__PATH": addressed.engine.path,
    }


def _tuning(stage: str, scale: Mapping[str, int]) -> dict[str, str]:
    threads = max(1, available_cores() // max(1, scale.get(stage, 1))) if stage == "generation" else 1
    return {name: value for name, value in tuning(threads).items() if name not in os.environ}


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [int(listener.getsockname()[1]) for listener in listeners]
