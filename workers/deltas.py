"""Writes an answer's text to the live view while it is generated; whatever happens there, the generation goes on."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self

import structlog

from backends.live_view import Entry, LiveView, stream_of

log = structlog.get_logger(__name__)


class DeltaSink:
    """Opens a writer per answer, and says once when the live view fails and once when it is back."""

    def __init__(self, live_view: LiveView, *, interval_ms: int, flush_timeout_ms: int) -> None:
        self.live_view = live_view
        self.interval_s = interval_ms / 1000
        self.flush_timeout_s = flush_timeout_ms / 1000
        self._failing = False

    def open(self, tenant: str, request_id: str, attempt: int) -> "DeltaWriter":
        """A writer for one answer; ``attempt`` is what counts where the live view cannot be asked."""
        return DeltaWriter(self, tenant, request_id, attempt)

    def failed(self, request_id: str, error: Exception) -> None:
        """Note that an answer's text is not shown while it is generated."""
        if not self._failing:
            log.warning("live view fails, answers are not streamed", request_id=request_id, error=str(error))
        self._failing = True

    def succeeded(self) -> None:
        """Note that the live view works."""
        if self._failing:
            log.info("live view is back, answers are streamed")
        self._failing = False


class DeltaWriter:
    """Writes one answer, in a task of its own. Text that comes faster than it is written is merged.

    After a failure it writes no more: a gap in the text would be worse than its end, and the terminal event has it all.
    """

    def __init__(self, sink: DeltaSink, tenant: str, request_id: str, attempt: int) -> None:
        self._sink = sink
        self._request_id = request_id
        self._stream = stream_of(tenant, request_id)
        self._attempt = attempt
        self._pending: list[str] = []
        self._wake = asyncio.Event()
        self._finished = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name=f"deltas {self._request_id}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})

    def write(self, text: str) -> None:
        """Take the next piece of text; never waits."""
        if text and not self._task.done():
            self._pending.append(text)
            self._wake.set()

    async def finish(self) -> int:
        """Write what is left, within the flush timeout; give the number of the attempt that the deltas carry."""
        self._finished.set()
        self._wake.set()
        await asyncio.wait({self._task}, timeout=self._sink.flush_timeout_s)
        return self._attempt

    async def _run(self) -> None:
        try:
            self._attempt = await self._sink.live_view.begin_attempt(self._stream)
            await self._write_all()
        except Exception as error:  # noqa: BLE001 - no error of the live view may fail the answer
            self._sink.failed(self._request_id, error)
        else:
            self._sink.succeeded()

    async def _write_all(self) -> None:
        now = asyncio.get_running_loop().time
        sequence = 0
        next_at = 0.0
        while True:
            await self._wake.wait()
            # Tokens that come more slowly than the interval need no timer.
            if (rest_s := next_at - now()) > 0:
                await self._rest(rest_s)
            self._wake.clear()
            # Asked before the text is taken: nothing comes after it is set.
            is_last = self._finished.is_set()
            text = "".join(self._pending)
            self._pending.clear()
            if text:
                delta = Entry("delta", {"attempt": self._attempt, "sequence": sequence, "text": text})
                await self._sink.live_view.append(self._stream, [delta])
                sequence += 1
                next_at = now() + self._sink.interval_s
            if is_last:
                return

    async def _rest(self, rest_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(rest_s):
                await self._finished.wait()
