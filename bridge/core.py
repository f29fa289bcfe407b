"""What the bridge does for a tenant, whichever protocol it comes by: ask, follow, find, cancel."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

import structlog
from uuid_utils import uuid7

from backends.conversion import Converter
from backends.errors import BackendUnavailableError
from backends.live_view import Entry, LiveView, StoredEntry, position, stream_of
from backends.tally import Tally
from bridge.access import Access, Principal
from bridge.answers import Answers
from bridge.documents.endings import HeldEndings
from bridge.errors import ForbiddenError, IdempotencyError, NotFoundError, OverloadedError
from bridge.limits import Limits
from bridge.messages import Message, Question, StageTiming, TerminalReached
from bridge.metrics import BridgeMetrics
from bridge.protocol import Followed
from bridge.publisher import Publisher
from bridge.settings import BridgeSettings
from bridge.summary import BRIDGE, QuerySummary, ended, summary
from schemas.events import CancellationRequested

# The entry ID of a terminal event that comes from Kafka: the live view gave it another, long ago.
ENDING_ID = "0-0"
_RETRY_AFTER_S = 2

log = structlog.get_logger(__name__)


@dataclass
class Core:
    """Everything a route needs; who built what is in it closes it.

    ``models`` are those that may be asked for, the default first. ``draining`` is set when the bridge is told to stop:
    streams end then, and their clients connect again elsewhere.
    """

    settings: BridgeSettings
    access: Access
    publisher: Publisher
    live_view: LiveView
    answers: Answers
    tally: Tally
    models: tuple[str, ...] = ()
    documents: HeldEndings = field(default_factory=HeldEndings)
    metrics: BridgeMetrics = field(default_factory=BridgeMetrics)
    draining: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._limits = Limits(self.settings.limits, self.tally, self.live_view)
        self._publishing = 0
        self.streams = 0
        self.converter = Converter(self.settings.conversion)

    @contextlib.contextmanager
    def streaming(self) -> Iterator[None]:
        """Around every stream over HTTP: ``streams`` is how many are open."""
        self.streams += 1
        self.metrics.streams.set(self.streams)
        try:
            yield
        finally:
            self.streams -= 1
            self.metrics.streams.set(self.streams)

    async def allow(self, principal: Principal) -> None:
        """Count a call against the tenant's rate. Questions, look-ups and cancellations here do so themselves.

        Raises:
            TooManyRequestsError: there were too many.
        """
        await self._limits.call(principal.tenant)

    async def is_shown(self, principal: Principal, request_id: str) -> bool:
        """Whether the live view knows the request. Counts as a call.

        Raises:
            BackendUnavailableError: it does not answer.
        """
        await self.allow(principal)
        return await self.live_view.last(stream_of(principal.tenant, request_id)) is not None

    async def ask(
        self,
        principal: Principal,
        question: Question,
        *,
        request_id: str | None = None,
        traceparent: str | None = None,
        via: str = "http",
    ) -> str:
        """Publish a question and show that it was; gives its request ID, by which it is known from then on.

        Raises:
            ForbiddenError: the question names another tenant.
            TooManyRequestsError: the tenant asks too often or too much at a time.
            OverloadedError: the bridge or the pipeline has as much as it takes.
            BackendUnavailableError: Kafka did not take it. That the live view is down refuses no question.
        """
        if question.tenant not in {None, principal.tenant}:
            raise ForbiddenError(f"This credential asks for the tenant {principal.tenant}.")
        request_id = request_id or question.id or str(uuid7())
        stream = stream_of(principal.tenant, request_id)
        await self._limits.ask(principal.tenant, stream)
        try:
            await self._publish(principal, request_id, question, traceparent)
        except BaseException as error:
            outcome = "unavailable" if isinstance(error, BackendUnavailableError) else "refused"
            self.metrics.questions.labels(via, outcome).inc()
            await self._limits.ended(principal.tenant, stream)
            raise
        self.metrics.questions.labels(via, "accepted").inc()
        return request_id

    async def ask_once(
        self, principal: Principal, question: Question, idempotency_key: str, traceparent: str | None = None
    ) -> str:
        """Ask, unless the tenant has asked with this key before: then the request ID is that of the first time.

        Raises as ``ask`` does, and:
            IdempotencyError: another question was asked with this key.
            BackendUnavailableError: what was asked before cannot be looked up now.
        """
        name = f"{quote(principal.tenant, safe='')}/{hashlib.sha256(idempotency_key.encode()).hexdigest()}"
        fingerprint = hashlib.sha256(question.model_dump_json().encode()).hexdigest()
        fresh = f"{question.id or uuid7()} {fingerprint}"
        kept = await self.tally.remember(name, fresh, self.settings.limits.idempotency_s)
        request_id, _, asked = kept.partition(" ")
        if asked != fingerprint:
            raise IdempotencyError("Another question was asked with this Idempotency-Key.")
        # The first time may have ended before Kafka had the question.
        if kept == fresh or not await self._is_known(principal, request_id):
            await self.ask(principal, question, request_id=request_id, traceparent=traceparent)
        return request_id

    async def has_seen_all(self, principal: Principal, request_id: str, after: str) -> bool:
        """Whether the request has ended at the entry ``after`` or before it."""
        last = await self.live_view.last(stream_of(principal.tenant, request_id))
        return last is not None and last.entry.kind == "terminal" and position(last.id) <= position(after)

    async def follow(self, principal: Principal, request_id: str, after: str = "0") -> AsyncGenerator[Message, None]:
        """What happens to a request, after the entry ``after``, up to its terminal event; attempts never mix.

        One that has ended gives its terminal event again, even if that is not after ``after``. It waits for a request
        that nothing is known of.

        Raises:
            BackendUnavailableError: the live view does not answer at the beginning, or the bridge stops.
        """
        stream = stream_of(principal.tenant, request_id)
        request = Followed(request_id)
        seen = await self.live_view.last(stream, after) if after != "0" else None
        if seen is not None and seen.id == after and seen.entry.kind == "delta":
            # What the client has of the answer is known by this: it was not sent what is of an older attempt.
            request.take(seen)
        elif after != "0":
            # Read from the beginning: only the whole says which attempt stands and whether the request has ended.
            for stored in await self.live_view.read(stream):
                message = request.take(stored)
                if message is not None and (request.done or position(stored.id) > position(after)):
                    yield message
                if request.done:
                    return
                after = max(after, stored.id, key=position)
        async with contextlib.aclosing(self.live_view.follow(stream, after)) as entries:
            async for stored in entries:
                message = request.take(stored)
                if message is not None:
                    yield message
                if request.done:
                    await self._limits.ended(principal.tenant, stream)
                    return
        raise BackendUnavailableError("The live view has stopped.")

    async def history(self, principal: Principal, request_id: str) -> list[Message]:
        """What the live view has of a request; nothing if it is not known there, or no longer.

        Raises:
            BackendUnavailableError: the live view does not answer.
        """
        request = Followed(request_id)
        entries = await self.live_view.read(stream_of(principal.tenant, request_id))
        return [message for stored in entries if (message := request.take(stored)) is not None]

    async def find(self, principal: Principal, request_id: str) -> QuerySummary:
        """A request as it stands: by the live view, and when that has expired, by its terminal event in Kafka.

        Raises:
            NotFoundError: the tenant has no such request, or it was too long ago.
            BackendUnavailableError: it cannot be looked up now.
        """
        await self.allow(principal)
        found = summary(request_id, await self.live_view.read(stream_of(principal.tenant, request_id)))
        if found is None and (ending := await self.ending(principal, request_id)) is not None:
            found = ended(ending)
        if found is None:
            raise NotFoundError(f"Request {request_id} is not known here, or no longer.")
        return found

    async def ending(self, principal: Principal, request_id: str) -> TerminalReached | None:
        """The terminal event of a request that the live view no longer knows.

        Raises:
            BackendUnavailableError: Kafka does not answer.
        """
        found = await self.answers.find(principal.tenant, request_id)
        if found is None:
            return None
        event, timeline = found
        return TerminalReached(
            request_id=request_id,
            id=ENDING_ID,
            type=event.TYPE,
            event=event.model_dump(mode="json"),
            timeline=tuple(
                StageTiming(stage=t.stage, started_ms=t.started_ms, finished_ms=t.finished_ms, attempt=t.attempt)
                for t in timeline
            ),
        )

    async def cancel(self, principal: Principal, request_id: str, reason: str | None = None) -> None:
        """Ask every worker to stop work on a request; one that has ended stays as it ended.

        Raises:
            NotFoundError: the tenant has no such request.
            OverloadedError: it is not known yet whether the request is this tenant's.
            BackendUnavailableError: Kafka or the live view does not answer.
        """
        await self.allow(principal)
        stream = stream_of(principal.tenant, request_id)
        last = await self.live_view.last(stream)
        if last is None and await self.ending(principal, request_id) is None:
            raise NotFoundError(f"Request {request_id} is not known here, or no longer.")
        if last is not None and last.entry.kind != "terminal":
            if not self.access.is_open and not is_of_tenant(await self.live_view.read(stream)):
                raise OverloadedError(
                    "The pipeline has not begun with this request: cancel it again in a moment.",
                    code="unavailable",
                    retry_after_s=_RETRY_AFTER_S,
                )
            event = CancellationRequested(request_id=request_id, reason=reason)
            await self.publisher.publish(request_id, event, tenant=principal.tenant)

    async def _publish(
        self, principal: Principal, request_id: str, question: Question, traceparent: str | None
    ) -> None:
        if self.draining.is_set():
            raise OverloadedError("This bridge is about to stop: ask again.", retry_after_s=1)
        if self._publishing >= self.settings.max_publishing:
            raise OverloadedError("More questions are waiting than Kafka takes now.", retry_after_s=_RETRY_AFTER_S)
        started_ms = _now_ms()
        self._publishing += 1
        try:
            await self.publisher.publish(
                request_id, question.event(principal.tenant), tenant=principal.tenant, traceparent=traceparent
            )
        finally:
            self._publishing -= 1
        progress = {"stage": BRIDGE, "started_ms": started_ms, "finished_ms": _now_ms(), "attempt": 1}
        progress["chosen"] = question.id is not None
        try:
            stream = stream_of(principal.tenant, request_id)
            await self.live_view.append(stream, [Entry("progress", progress)], once=BRIDGE)
        except BackendUnavailableError as error:
            log.warning("asked, but not shown in the live view", request_id=request_id, error=str(error))

    async def _is_known(self, principal: Principal, request_id: str) -> bool:
        if await self.live_view.last(stream_of(principal.tenant, request_id)) is not None:
            return True
        return await self.answers.find(principal.tenant, request_id) is not None


def is_of_tenant(entries: Sequence[StoredEntry]) -> bool:
    """Whether the request in the tenant's stream is the one that the pipeline knows by this ID.

    A cancellation goes by the request ID alone, and of an ID that the client has chosen the request may be another
    tenant's: only what a stage says in this tenant's stream shows that it is not.
    """
    return any(
        stored.entry.kind != "progress"
        or stored.entry.body.get("stage") != BRIDGE
        or stored.entry.body.get("chosen") is False
        for stored in entries
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
