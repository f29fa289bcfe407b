"""Shows in the live view what the stages say in their topics."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict

from backends.errors import BackendUnavailableError
from backends.live_view import Entry, LiveView, stream_of
from schemas.events import (
    Event,
    ExpansionPromptBuilt,
    PassagesRetrieved,
    PromptBuilt,
    QueryAccepted,
    QueryEmbedded,
    QueryExpanded,
    Terminal,
)
from schemas.headers import StageTime
from topics.specs import (
    ANSWERS,
    PASSAGES_RETRIEVED,
    PROMPTS_BUILT,
    QUERIES_ACCEPTED,
    QUERIES_EMBEDDED,
    TOPIC_OF_EVENT,
    TopicSpec,
)
from workers.runtime.stage import Delivery, Outcome, Produce, UnavailableError
from workers.settings import ProjectorSettings

DONE = Produce(())
# In the order in which a request passes them, up to its terminal event.
_WAY = (QueryAccepted, ExpansionPromptBuilt, QueryExpanded, QueryEmbedded, PassagesRetrieved, PromptBuilt)


class ProjectorStage:
    """Appends progress, sources and the terminal event of every request to its stream, each event once.

    What names no tenant is the ``default_tenant``'s. It produces nothing. While the live view does not answer, its
    outcomes are ``UnavailableError``.
    """

    name = "projector"
    consumes: tuple[TopicSpec, ...] = (
        QUERIES_ACCEPTED,
        QUERIES_EMBEDDED,
        PASSAGES_RETRIEVED,
        PROMPTS_BUILT,
        ANSWERS,
    )
    subject = None

    def __init__(self, settings: ProjectorSettings, live_view: LiveView, default_tenant: str) -> None:
        self.max_batch = settings.max_batch
        self.linger_ms = settings.linger_ms
        self._live_view = live_view
        self._default_tenant = default_tenant

    async def start(self) -> None:
        """Nothing to load; the live view connects when it is first used."""

    async def stop(self) -> None:
        await self._live_view.close()

    async def handle(self, deliveries: Sequence[Delivery[Event]]) -> list[Outcome]:
        """Requests at the same time; the events of one request one after the other, the terminal one last."""
        requests: defaultdict[str, list[int]] = defaultdict(list)
        for index, delivery in enumerate(deliveries):
            requests[delivery.key].append(index)
        outcomes: list[Outcome] = [DONE] * len(deliveries)
        async with asyncio.TaskGroup() as tasks:
            for indexes in requests.values():
                # Topics are fetched in no order, and whoever watches stops at the terminal event.
                indexes.sort(key=lambda index: _rank(deliveries[index].event))
                tasks.create_task(self._show(deliveries, indexes, outcomes))
        return outcomes

    async def _show(
        self, deliveries: Sequence[Delivery[Event]], indexes: Sequence[int], outcomes: list[Outcome]
    ) -> None:
        error: UnavailableError | None = None
        for index in indexes:
            delivery = deliveries[index]
            if error is None:
                try:
                    mark = delivery.headers.id or str(delivery.origin)
                    await self._live_view.append(self._stream(delivery), entries(delivery), once=mark)
                except BackendUnavailableError as unavailable:
                    error = UnavailableError("live_view_unavailable", str(unavailable))
            if error is not None:
                outcomes[index] = error

    def _stream(self, delivery: Delivery[Event]) -> str:
        tenant = delivery.event.tenant_id or delivery.headers.tenant or self._default_tenant
        return stream_of(tenant, delivery.key)


def _rank(event: Event) -> int:
    return next((place for place, kind in enumerate(_WAY) if isinstance(event, kind)), len(_WAY))


def entries(delivery: Delivery[Event]) -> list[Entry]:
    """What an event adds to its request's stream: the progress of the stage that said it, then what it brings."""
    event = delivery.event
    progress: dict[str, object] = asdict(_last_stage(delivery))
    if isinstance(event, QueryExpanded) and event.fallback:
        progress["note"] = event.fallback
    shown = [Entry("progress", progress)]
    if isinstance(event, PromptBuilt):
        shown.append(Entry("sources", {"sources": [source.model_dump(mode="json") for source in event.sources]}))
    elif isinstance(event, Terminal):
        body = {
            "type": event.TYPE,
            "event": event.model_dump(mode="json"),
            "timeline": [asdict(time) for time in delivery.headers.timeline],
        }
        shown.append(Entry("terminal", body))
    return shown


def _last_stage(delivery: Delivery[Event]) -> StageTime:
    if delivery.headers.timeline:
        return delivery.headers.timeline[-1]
    # A record without a timeline was not written by a worker; its topic and timestamp are all that is known.
    written_ms = int(delivery.timestamp.timestamp() * 1000)
    return StageTime(TOPIC_OF_EVENT[type(delivery.event)].owner, written_ms, written_ms, delivery.headers.attempt)
