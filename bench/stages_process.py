"""Starts workers under measurement, and looks at what processes use."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict

from bench.hops_process import child_process

_READY_TIMEOUT_S = 120
_END_TIMEOUT_S = 60
_MIB = 1024 * 1024
# As `ragline up` gives them to each worker where the cores are few.
_ENV = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


class StageOptions(BaseModel):
    """The stages of one process, and which of ragline's settings are not the defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stages: tuple[str, ...]
    settings: dict[str, Any]


class Usage:
    """What a process uses."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process

    def cpu_s(self) -> float:
        """CPU time so far, user and system."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def rss_mb(self) -> float:
        """Resident memory in MiB."""
        return float(self._process.memory_info().rss) / _MIB


@asynccontextmanager
async def stages_process(options: StageOptions) -> AsyncIterator[Usage]:
    """Workers that have their partitions, until the block ends.

    Raises:
        RuntimeError: they do not become ready, or end with an error.
    """
    argv = [sys.executable, "-m", "bench.stages_child", options.model_dump_json()]
    async with child_process(argv, env=os.environ | _ENV) as process:
        assert process.stdin  # noqa: S101 - piped
        assert process.stdout  # noqa: S101
        async with asyncio.timeout(_READY_TIMEOUT_S):
            if await process.stdout.readline() != b"ready\n":
                raise RuntimeError(f"the workers of {', '.join(options.stages)} did not become ready")
        yield Usage(psutil.Process(process.pid))
        process.stdin.close()
        await asyncio.wait_for(process.wait(), _END_TIMEOUT_S)
        if process.returncode:
            raise RuntimeError(f"the workers of {', '.join(options.stages)} ended with status {process.returncode}")


def usage_of(module: str) -> Usage:
    """Of the process below this one that runs ``python -m module``.

    Raises:
        RuntimeError: there is none.
    """
    for process in psutil.Process().children(recursive=True):
        if module in process.cmdline():
            return Usage(process)
    raise RuntimeError(f"no process runs {module}")
