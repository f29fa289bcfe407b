"""Converts files without trusting them: each in a process of its own, with limits."""

import asyncio
import sys
from collections.abc import Awaitable, Callable

import orjson
import structlog
from pydantic import BaseModel, ConfigDict, Field

from backends.conversion.values import ConversionError, Converted

_CHILD = "backends.conversion.child"

log = structlog.get_logger(__name__)


class ConversionSettings(BaseModel):
    """What one file may cost."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_bytes: int = Field(25 * 1024 * 1024, gt=0, description="Largest file.")
    max_chars: int = Field(3_000_000, gt=0, description="Longest text of a file, in characters.")
    timeout_s: int = Field(30, gt=0, description="Longest conversion, in seconds.")
    memory_mib: int = Field(1_024, gt=0, description="Most memory for one file, in MiB.")
    processes: int = Field(2, gt=0, description="Files converted at once.")
    waiting: int = Field(32, ge=0, description="Files that wait for their turn; more are refused.")


class Converter:
    """Makes text of files, ``processes`` at a time."""

    def __init__(self, settings: ConversionSettings) -> None:
        self._settings = settings
        self._turns = asyncio.Semaphore(settings.processes)
        self._held = 0

    async def convert(self, name: str, read: Callable[[], Awaitable[bytes]]) -> Converted:
        """The text of a file, which is read when its turn comes; cancelling it ends its process.

        Raises:
            ConversionError: it cannot be made into text, or there is no room for it now (``busy``).
        """
        settings = self._settings
        if self._held >= settings.processes + settings.waiting:
            raise ConversionError("busy", "More files are waiting to be converted than there is room for.")
        self._held += 1
        try:
            async with self._turns:
                data = await read()
                if len(data) > settings.max_bytes:
                    message = f"The file has {len(data):,} bytes; {settings.max_bytes:,} are taken: split it."
                    raise ConversionError("too_large", message)
                return _outcome(await self._run(name, data), name)
        finally:
            self._held -= 1

    async def _run(self, name: str, data: bytes) -> bytes:
        settings = self._settings
        limits = (settings.memory_mib, settings.timeout_s, settings.max_chars)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            _CHILD,
            name,
            *map(str, limits),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            # And nothing of our environment, which may hold secrets.
            env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        )
        try:
            async with asyncio.timeout(settings.timeout_s):
                output, _ = await process.communicate(data)
        except TimeoutError:
            message = f"The file could not be converted within {settings.timeout_s} s."
            raise ConversionError("too_slow", message) from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            log.warning("conversion ended by force", name=name, status=process.returncode)
        return output


def _outcome(output: bytes, name: str) -> Converted:
    try:
        outcome = orjson.loads(output)
    except orjson.JSONDecodeError:
        # Killed by the kernel at its limits, or by its own fault.
        raise ConversionError("damaged", f"{name} broke the program that reads it.") from None
    if "code" in outcome:
        raise ConversionError(outcome["code"], outcome["message"])
    return Converted(outcome["text"], outcome["title"], tuple(outcome["page_starts"]))
