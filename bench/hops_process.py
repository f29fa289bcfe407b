"""Starts and ends the process under measurement."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from bench.hops_options import HopsOptions
from infra.local import child
from infra.local.process import Probe
from infra.setup.peers import PEERS_VENV

ROOT = Path(__file__).parents[1]
PEERS_PYTHON = PEERS_VENV / "bin" / "python"
_READY_TIMEOUT_S = 60
_END_TIMEOUT_S = 60
_LOOK_S = 0.1
_KIB = 1024


@dataclass(frozen=True, slots=True)
class Peer:
    """A framework to compare one hop with: the program of its hop, and the Python it runs on."""

    name: str
    python: Path

    @property
    def program(self) -> Path:
        """Takes bootstrap servers, group, source and target topic; runs until SIGTERM."""
        return ROOT / "bench" / "peers" / f"{self.name}_hop.py"


class Subject:
    """A running process under measurement."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._usage = psutil.Process(process.pid)

    def begin(self) -> None:
        """Let the first stage start."""
        assert self._process.stdin  # noqa: S101 - piped
        self._process.stdin.write(b"go\n")

    def cpu_s(self) -> float:
        """CPU time used so far, user and system."""
        times = self._usage.cpu_times()
        return float(times.user + times.system)

    def rss_mb(self) -> float:
        """Resident memory in MiB."""
        return float(self._usage.memory_info().rss) / _KIB / _KIB

    def check(self) -> None:
        """Raise a RuntimeError if it has ended."""
        if self._process.returncode is not None:
            raise RuntimeError(f"the process under measurement ended with status {self._process.returncode}")


@contextlib.asynccontextmanager
async def hops_process(options: HopsOptions) -> AsyncIterator[Subject]:
    """Our own stages, or the raw loop: ready, but for the first stage."""
    argv = [sys.executable, "-m", "bench.hops_child", options.model_dump_json()]
    async with child_process(argv) as process:
        assert process.stdout  # noqa: S101 - piped
        async with asyncio.timeout(_READY_TIMEOUT_S):
            if await process.stdout.readline() != b"ready\n":
                raise RuntimeError("the process under measurement did not become ready")
        yield Subject(process)
        assert process.stdin  # noqa: S101 - piped
        process.stdin.close()
        await asyncio.wait_for(process.wait(), _END_TIMEOUT_S)
        if process.returncode:
            raise RuntimeError(f"the process under measurement ended with status {process.returncode}")


@contextlib.asynccontextmanager
async def peer_process(peer: Peer, *arguments: str) -> AsyncIterator[Subject]:
    """One hop of a peer, starting, in a folder of its own."""
    argv = [str(peer.python), "-W", "ignore", str(peer.program), *arguments]
    with TemporaryDirectory(prefix="ragline-bench-") as folder:
        async with child_process(argv, output=asyncio.subprocess.DEVNULL, folder=Path(folder)) as process:
            yield Subject(process)


@contextlib.asynccontextmanager
async def child_process(
    argv: Sequence[str],
    output: int = asyncio.subprocess.PIPE,
    folder: Path = ROOT,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process with piped input and output, killed at the end of the block if it runs then."""
    process = await asyncio.create_subprocess_exec(
        *child.command(argv), stdin=asyncio.subprocess.PIPE, stdout=output, cwd=folder, env=env
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()


async def until_ready(process: asyncio.subprocess.Process, ready: Probe, name: str, timeout_s: float) -> None:
    """Wait until the probe says that the process is ready.

    Raises:
        RuntimeError: the process ended before.
        TimeoutError: it took longer.
    """
    async with asyncio.timeout(timeout_s):
        while True:
            with contextlib.suppress(OSError):
                if await ready():
                    return
            if process.returncode is not None:
                raise RuntimeError(f"{name} ended with status {process.returncode} before it was ready")
            await asyncio.sleep(_LOOK_S)
