"""Reads what a process prints, line by line, on the event loop."""

import asyncio
import os
from collections.abc import Callable

_READ_BYTES = 64 * 1024
# A longer line is cut: nothing that people read is.
_MAX_LINE_BYTES = 64 * 1024


class LinePump:
    """A pipe whose lines, without their ends, go to ``take``.

    The pipe is not asyncio's, whose wait for a process may last as long as any process that has inherited its pipes.
    """

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._rest = b""
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Begin, once the process has the write end."""
        os.close(self.write_end)
        self._loop.add_reader(self._read_end, self._read)

    def close(self) -> None:
        """Take what is left and let go of the pipe."""
        self._loop.remove_reader(self._read_end)
        while self._read():
            pass
        if self._rest:
            self._take(self._rest)
        os.close(self._read_end)

    def _read(self) -> bool:
        """Take what there is; False when there is nothing."""
        try:
            data = os.read(self._read_end, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(self._read_end)
            return False
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line)
        if len(self._rest) > _MAX_LINE_BYTES:
            self._take(self._rest)
            self._rest = b""
        return True
