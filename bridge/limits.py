"""What a tenant may do at a time, counted over all bridges."""

import asyncio
import time

import structlog

from backends.errors import BackendUnavailableError
from backends.live_view import LiveView
from backends.memory_tally import MemoryTally
from backends.tally import Tally
from bridge.errors import OverloadedError, TooManyRequestsError
from bridge.settings import LimitSettings

_TOTAL = "total"
# How many of those that have been running for longest are looked at when there is no room.
_LOOK_AT = 256
_LOOK_AGAIN_S = 1.0
_RETRY_AFTER_S = 5

log = structlog.get_logger(__name__)


class Limits:
    """Rates and numbers of requests.

    Requests that nobody follows end without a bridge knowing: they are looked for when a limit is reached, by the last
    entries of their streams. While the tally cannot be asked, rates are counted by this process alone, and running
    requests not at all: no outage of Redis refuses a question.
    """

    def __init__(self, settings: LimitSettings, tally: Tally, live_view: LiveView) -> None:
        self._settings = settings
        self._tally = tally
        self._live_view = live_view
        self._own = MemoryTally()
        self._look_again_s: dict[str, float] = {}

    async def call(self, tenant: str) -> None:
        """Count a call of any kind. Raises ``TooManyRequestsError``."""
        await self._hit(f"call/{tenant}", self._settings.calls_per_minute, "calls")

    async def ask(self, tenant: str, stream: str) -> None:
        """Count a question, until it has ended.

        Raises:
            TooManyRequestsError: the tenant asks too often, or has too many questions that have not ended.
            OverloadedError: all tenants together have.
        """
        await self._hit(f"ask/{tenant}", self._settings.asks_per_minute, "questions")
        try:
            full = await self._lease(tenant, stream)
            if full and await self._prune(full):
                full = await self._lease(tenant, stream)
        except BackendUnavailableError as error:
            log.warning("running requests are not counted", error=str(error))
            return
        if full == _TOTAL:
            raise OverloadedError("The pipeline has as many questions as it takes.", retry_after_s=_RETRY_AFTER_S)
        if full:
            raise TooManyRequestsError(
                f"{self._settings.concurrent} questions of this tenant have not ended: wait for one to end.",
                code="too_many_requests",
                retry_after_s=_RETRY_AFTER_S,
            )

    async def ended(self, tenant: str, stream: str) -> None:
        """A question has ended, or was not taken."""
        try:
            for group in (_group(tenant), _TOTAL):
                await self._tally.release([stream], group)
        except BackendUnavailableError as error:
            log.debug("a request that ended is still counted", stream=stream, error=str(error))

    async def _hit(self, name: str, per_minute: int, what: str) -> None:
        try:
            wait_s = await self._tally.hit(name, per_minute)
        except BackendUnavailableError:
            wait_s = await self._own.hit(name, per_minute)
        if wait_s:
            raise TooManyRequestsError(f"More than {per_minute} {what} in a minute.", retry_after_s=int(wait_s) + 1)

    async def _lease(self, tenant: str, stream: str) -> str | None:
        limits = {_group(tenant): self._settings.concurrent, _TOTAL: self._settings.total}
        return await self._tally.lease(stream, limits, self._settings.lease_s)

    async def _prune(self, group: str) -> bool:
        if time.monotonic() < self._look_again_s.get(group, 0.0):
            return False
        self._look_again_s[group] = time.monotonic() + _LOOK_AGAIN_S
        streams = await self._tally.oldest(group, _LOOK_AT)
        lasts = await asyncio.gather(*map(self._live_view.last, streams))
        ended = [stream for stream, last in zip(streams, lasts, strict=True) if last and last.entry.kind == "terminal"]
        await self._tally.release(ended, group)
        return bool(ended)


def _group(tenant: str) -> str:
    return f"tenant/{tenant}"
