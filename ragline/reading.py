"""Reads what was found: a few items ahead, and files that must be converted each in a process of its own."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable

from backends.conversion import ConversionError, ConversionSettings, Converter
from ragline.corpus import Document, File, Found, Item, Skipped


async def read(found: Iterable[Found], conversion: ConversionSettings) -> AsyncGenerator[Item, None]:
    """Give documents in the order in which they were found, for as long as the iterator is not closed.

    The iterable is read in a thread.
    """
    converter = Converter(conversion)
    iterator = iter(found)
    ahead: deque[asyncio.Task[Item] | Item] = deque()
    is_over = False
    try:
        while True:
            # While one file is converted the next ones are, too.
            while not is_over and len(ahead) <= conversion.processes:
                item = await asyncio.to_thread(next, iterator, None)
                is_over = item is None
                if isinstance(item, File):
                    ahead.append(asyncio.create_task(_convert(item, converter, conversion.max_bytes)))
                elif item is not None:
                    ahead.append(item)
            if not ahead:
                return
            first = ahead.popleft()
            yield await first if isinstance(first, asyncio.Task) else first
    finally:
        converting = [task for task in ahead if isinstance(task, asyncio.Task)]
        for task in converting:
            task.cancel()
        await asyncio.gather(*converting, return_exceptions=True)


async def _convert(file: File, converter: Converter, max_bytes: int) -> Item:
    try:
        size = file.path.stat().st_size
        if size > max_bytes:
            return Skipped(file.name, f"The file has {size:,} bytes; {max_bytes:,} are taken: split it.")
        converted = await converter.convert(file.path.name, lambda: asyncio.to_thread(file.path.read_bytes))
    except ConversionError as error:
        # An empty file has nothing to search for; one that seems to hold something has failed to show it.
        return Skipped(file.name, str(error), is_failure=error.code != "empty" or size > 0)
    except OSError as error:
        return Skipped(file.name, f"cannot be read: {error.strerror}")
    return Document(
        file.document_id, converted.text, converted.title, file.document_id, page_starts=converted.page_starts
    )
