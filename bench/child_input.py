"""Standard input of a process under measurement."""

import asyncio
import sys


async def standard_input() -> asyncio.StreamReader:
    """Standard input as a stream: its end tells the process to stop."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader
