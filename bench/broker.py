"""Servers for a benchmark, gone with it."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from backends.kafka import KafkaSettings
from bench.hops_process import until_ready
from infra.local import child
from infra.local.kafka import KafkaNode, jars_path, kafka_process, prepare_jars, prepare_node
from infra.local.milvus import milvus_process
from infra.local.milvus_server import PORTS, milvus_server_process
from infra.local.process import ProcessSpec
from infra.local.report import Report
from infra.local.valkey import valkey_process

_HOST = "127.0.0.1"
_START_TIMEOUT_S = 90
# Every record gets its time from the one clock of the broker, whoever produced it.
_OVERRIDES = {"log.message.timestamp.type": "LogAppendTime"}


@contextlib.asynccontextmanager
async def running_broker(data_dir: Path, report: Report) -> AsyncIterator[KafkaSettings]:
    """One broker on free ports with an empty log, for as long as the block runs; ``data_dir`` keeps Kafka's jars.

    Raises:
        LocalStackError: there is no Java, or the jars cannot be had.
        RuntimeError: the broker does not start.
    """
    await asyncio.to_thread(prepare_jars, data_dir, report)
    with TemporaryDirectory(prefix="ragline-bench-") as folder:
        port, controller_port = _free_ports(2)
        node = KafkaNode(
            node_id=1,
            folder=Path(folder),
            host=_HOST,
            port=port,
            controller_port=controller_port,
            voters={1: f"{_HOST}:{controller_port}"},
            replication=1,
            overrides=_OVERRIDES,
        )
        jars = jars_path(data_dir)
        await asyncio.to_thread(prepare_node, node, jars, report)
        report("starting a Kafka broker")
        async with _started(kafka_process(node, jars), node.folder / "log"):
            yield KafkaSettings(bootstrap_servers=f"{_HOST}:{port}")


@contextlib.asynccontextmanager
async def running_valkey() -> AsyncIterator[str]:
    """An empty Valkey on a free port, for as long as the block runs; gives its address.

    Raises:
        RuntimeError: it does not start.
    """
    async with _alone(valkey_process) as address:
        yield f"redis://{address}/0"


@contextlib.asynccontextmanager
async def running_milvus() -> AsyncIterator[str]:
    """An empty Milvus Lite on a free port, for as long as the block runs; gives its address.

    Raises:
        RuntimeError: it does not start.
    """
    async with _alone(milvus_process) as address:
        yield f"http://{address}"


@contextlib.asynccontextmanager
async def running_milvus_server(server: Path) -> AsyncIterator[str]:
    """An empty standalone Milvus, unpacked in ``server``, for as long as the block runs; gives its address.

    Raises:
        RuntimeError: it does not start.
    """
    with TemporaryDirectory(prefix="ragline-bench-") as folder:
        port = _free_range(PORTS)
        spec = await asyncio.to_thread(milvus_server_process, server, Path(folder) / "server", _HOST, port)
        async with _started(spec, Path(folder, "log")):
            yield f"http://{_HOST}:{port}"


def free_port() -> int:
    """A port that nobody listens on now."""
    return _free_ports(1)[0]


@contextlib.asynccontextmanager
async def _alone(process: Callable[[Path, str, int], ProcessSpec]) -> AsyncIterator[str]:
    """A server on a free port with a folder of its own; gives host and port."""
    with TemporaryDirectory(prefix="ragline-bench-") as folder:
        port = free_port()
        spec = await asyncio.to_thread(process, Path(folder) / "data", _HOST, port)
        async with _started(spec, Path(folder, "log")):
            yield f"{_HOST}:{port}"


@contextlib.asynccontextmanager
async def _started(spec: ProcessSpec, log: Path) -> AsyncIterator[None]:
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *child.command(spec.argv),
            env={**os.environ, **spec.env},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        try:
            await until_ready(process, spec.ready, spec.name, _START_TIMEOUT_S)
        except RuntimeError as error:
            said = await asyncio.to_thread(log.read_text, errors="replace")
            raise RuntimeError(f"{error}: {said[-2000:]}") from None
        yield
    finally:
        # Nothing of it is kept.
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind((_HOST, 0))
        return [int(listener.getsockname()[1]) for listener in sockets]


def _free_range(count: int) -> int:
    """The first of so many ports in a row that nobody listens on now."""
    while True:
        first = _free_ports(1)[0]
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind((_HOST, port))
            except (OSError, OverflowError):
                continue
        return first
