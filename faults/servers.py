"""Servers that are killed and come back under the same address."""

import asyncio
import contextlib
import os
import random
import signal
import socket
from pathlib import Path

from infra.local import child
from infra.local.process import ProcessSpec

HOST = "127.0.0.1"
# Below those that the system gives to outgoing connections: while a server is away, nobody takes its port.
_PORTS = range(20_000, 32_000)
_START_TIMEOUT_S = 90
_LOOK_S = 0.1


class Server:
    """One server as a process, which ends with this one."""

    def __init__(self, spec: ProcessSpec, log: Path) -> None:
        self._spec = spec
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def ended(self) -> bool:
        """Whether it does not run, by whoever's doing."""
        return self._process is None or self._process.returncode is not None

    async def start(self) -> None:
        """Start it; returns when it answers.

        Raises:
            RuntimeError: it ended instead.
            TimeoutError: it did neither.
        """
        with self._log.open("ab") as log:
            process = self._process = await asyncio.create_subprocess_exec(
                *child.command(self._spec.argv),
                env={**os.environ, **self._spec.env},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        async with asyncio.timeout(_START_TIMEOUT_S):
            while process.returncode is None:
                with contextlib.suppress(OSError):
                    if await self._spec.ready():
                        return
                await asyncio.sleep(_LOOK_S)
        msg = f"{self._spec.name} ended with status {process.returncode}; see {self._log}"
        raise RuntimeError(msg)

    async def kill(self) -> None:
        """SIGKILL."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """SIGTERM, or whatever it takes for one; returns when it has ended."""
        await self._end(self._spec.stop_signal)

    async def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.send_signal(how)
        await process.wait()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    ports: list[int] = []
    with contextlib.ExitStack() as listeners:
        for port in random.sample(_PORTS, len(_PORTS)):
            with contextlib.suppress(OSError):
                listeners.enter_context(socket.create_server((HOST, port)))
                ports.append(port)
            if len(ports) == count:
                return ports
    msg = f"there are no {count} free ports from {_PORTS.start} to {_PORTS.stop}"
    raise RuntimeError(msg)
