"""What a stage is to the runtime. A stage knows no Kafka: it turns events into outcomes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

from prometheus_client.registry import Collector

from schemas.events import Event
from schemas.headers import Headers, Origin
from schemas.stamps import Stamp
from topics.specs import TopicSpec

E_co = TypeVar("E_co", bound=Event, covariant=True)
E_contra = TypeVar("E_contra", bound=Event, contravariant=True)


class Delivery(NamedTuple, Generic[E_co]):
    """An event as it arrives at a stage.

    ``key`` is the record key (the request or document ID). ``attempt`` counts from 1 and grows when work that had begun
    is done again.
    """

    key: str
    event: E_co
    headers: Headers
    origin: Origin
    timestamp: datetime
    attempt: int = 1

    @property
    def deadline_at(self) -> datetime | None:
        """When the answer stops being wanted: the earlier of what the event and the header say.

        After a redrive the header alone counts, for it was written then. In a replay nobody waits: there is none.
        """
        if self.headers.replay:
            return None
        of_event = self.event.expires_at
        of_headers = self.headers.deadline_at
        if of_event is None or of_headers is None or self.headers.redrives:
            return of_headers if self.headers.redrives else of_event or of_headers
        return min(of_event, of_headers)


class Produce(NamedTuple):
    """Done: these events follow from the input. Each goes to the topic of its class, under its own key.

    ``stamp`` is what decided them in particular, beside what decides all that the worker does.
    """

    events: tuple[Event, ...]
    stamp: Stamp | None = None


class StageError(Exception):
    """Why a stage cannot handle an event. ``code`` is for programs; the message is one sentence for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class RejectedError(StageError):
    """The input is valid as an event but cannot be served (an empty question): a terminal event, no dead letter."""


class PoisonError(StageError):
    """The record cannot be handled, now or later: a dead letter and a terminal event."""


class RetryableError(StageError):
    """It may work next time: tried again with backoff, a limited number of times, then as ``PoisonError``."""


class UnavailableError(RetryableError):
    """A system outside is down: the work is held back and tried until the deadline of the request."""


Outcome: TypeAlias = Produce | StageError


@runtime_checkable
class Stage(Protocol):
    """What batched and concurrent stages have in common.

    ``name`` is the consumer group's; ``consumes`` are the topics it reads; ``subject`` says whose terminal event
    a failure makes: that of the request, of the document, or none for a stage that only watches.
    """

    @property
    def name(self) -> str: ...
    @property
    def consumes(self) -> tuple[TopicSpec, ...]: ...
    @property
    def subject(self) -> Literal["request", "document"] | None: ...

    async def start(self) -> None:
        """Load models and connect; returns when work can be taken. Raises to end the worker with the error."""
        ...

    async def stop(self) -> None:
        """Let go of everything."""
        ...


@runtime_checkable
class Measured(Protocol):
    """A stage that has metrics of its own, which are shown with its worker's."""

    @property
    def collectors(self) -> Sequence[Collector]: ...


@runtime_checkable
class BatchedStage(Stage, Protocol[E_contra]):
    """Handles many events in one go. One batch per worker is in flight, so events of a key keep their order."""

    @property
    def max_batch(self) -> int: ...
    @property
    def linger_ms(self) -> int: ...

    async def handle(self, deliveries: Sequence[Delivery[E_contra]]) -> list[Outcome]:
        """One outcome per delivery, in the same order. Raising fails all of them."""
        ...


class ConcurrentStage(Stage, Protocol[E_contra]):
    """Handles many events at once, each alone."""

    @property
    def max_in_flight(self) -> int: ...

    async def handle(self, delivery: Delivery[E_contra]) -> Outcome:
        """Cancelling it must stop the work."""
        ...


@runtime_checkable
class Lenient(Protocol):
    """A stage some of whose events may do without their work."""

    def instead(self, delivery: Delivery[Event], error: StageError) -> Outcome | None:
        """What follows from an event that killed worker after worker; None for the failure that ``error`` is."""
        ...
