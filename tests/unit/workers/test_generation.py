import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from backends.echo_engine import EchoEngine
from backends.engine import Delta, EngineDeadError, EngineSettings, GenerationRequest
from backends.errors import BackendError, BackendRejectedError, BackendUnavailableError
from backends.live_view import Entry, LiveViewSettings, stream_of
from backends.memory_live_view import MemoryLiveView
from schemas.events import Answered, ExpansionPromptBuilt, PromptBuilt, QueryExpanded, RequestExpired
from schemas.examples import EXAMPLE_BY_TYPE
from schemas.headers import Headers, Origin
from schemas.values import ResponseFormat, Usage
from workers.generation import GenerationStage
from workers.runtime.stage import Delivery, Outcome, PoisonError, Produce, RejectedError, UnavailableError
from workers.settings import GenerationSettings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEXT = "Où est  la gare ?\n日本 🙂 end"
SOURCE = {
    "number": 1,
    "passage": {
        "chunk_id": "c",
        "document_id": "d",
        "title": "T",
        "text": "t",
        "source": "s",
        "ordinal": 0,
        "score": 0.5,
    },
}


class ScriptedEngine(EchoEngine):
    """Says what it is told to, then fails if it is told to; remembers its requests."""

    def __init__(self, deltas: Sequence[Delta], error: Exception | None = None) -> None:
        super().__init__(EngineSettings(kind="echo"))
        self.deltas = deltas
        self.error = error
        self.requests: list[GenerationRequest] = []

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        self.requests.append(request)
        for delta in self.deltas:
            yield delta
        if self.error:
            raise self.error


class BrokenLiveView(MemoryLiveView):
    """Fails, or hangs, in the named methods."""

    def __init__(self, *methods: str, hang: bool = False) -> None:
        super().__init__(LiveViewSettings())
        self.methods = set(methods)
        self.hang = hang
        self.calls = 0

    async def begin_attempt(self, request_id: str) -> int:
        await self._fail("begin_attempt")
        return await super().begin_attempt(request_id)

    async def append(self, request_id: str, entries: Sequence[Entry], *, once: str | None = None) -> bool:
        await self._fail("append")
        return await super().append(request_id, entries, once=once)

    async def _fail(self, method: str) -> None:
        if method in self.methods:
            self.calls += 1
            if self.hang:
                await asyncio.Event().wait()
            msg = "live view is down"
            raise BackendUnavailableError(msg)


def deliver(
    text: str = TEXT, *, deadline_at: datetime | None = None, header_deadline: datetime | None = None, attempt: int = 1
) -> Delivery[PromptBuilt]:
    sampling = {"max_tokens": 100}
    event = PromptBuilt.model_validate(
        {
            "query": {
                "request_id": "r1",
                "tenant": "default",
                "question": "Where?",
                "lane": "batch",
                "asked_at": NOW,
                "deadline_at": deadline_at,
                "options": {"model": "m", "top_k": 5, "min_score": 0.2, "template": "t", "sampling": sampling},
            },
            "template": "t",
            "template_hash": "h",
            "messages": [{"role": "user", "content": text}],
            "prompt_tokens": 4,
            "sources": [SOURCE],
            "sampling": sampling,
        }
    )
    headers = Headers(deadline_at=header_deadline)
    return Delivery("r1", event, headers, Origin("rag.prompts.built", 0, 0), NOW, attempt)


async def started(engine: EchoEngine, live_view: MemoryLiveView | None = None, **settings: Any) -> GenerationStage:
    settings = {"delta_interval_ms": 0} | settings
    stage = GenerationStage(
        GenerationSettings.model_validate(settings),
        engine,
        live_view or MemoryLiveView(LiveViewSettings()),
        now=lambda: NOW,
    )
    await stage.start()
    return stage


def echo(delay_ms: int = 0) -> EchoEngine:
    return EchoEngine(EngineSettings(kind="echo", model="m", echo_delay_ms=delay_ms))


def answered(outcome: Outcome) -> Answered:
    assert isinstance(outcome, Produce), outcome
    (event,) = outcome.events
    assert isinstance(event, Answered)
    return event


async def deltas(live_view: MemoryLiveView) -> list[dict[str, Any]]:
    stored = await live_view.read(stream_of("default", "r1"))
    assert {item.entry.kind for item in stored} <= {"delta"}
    return [dict(item.entry.body) for item in stored]


async def test_an_answer_repeats_what_the_deltas_said() -> None:
    live_view = MemoryLiveView(LiveViewSettings())
    event = answered(await (await started(echo(1), live_view)).handle(deliver()))
    assert event == Answered.model_validate(
        {
            "request_id": "r1",
            "tenant": "default",
            "question": "Where?",
            "answer": TEXT,
            "finish_reason": "stop",
            "sources": [SOURCE],
            "model": "m",
            "usage": {"prompt_tokens": 8, "completion_tokens": 8},
            "attempt": 1,
        }
    )
    written = await deltas(live_view)
    assert len(written) > 1
    assert "".join(delta["text"] for delta in written) == TEXT
    assert [delta["sequence"] for delta in written] == list(range(len(written)))
    assert {delta["attempt"] for delta in written} == {1}


async def test_tokens_that_come_close_together_are_one_delta() -> None:
    live_view = MemoryLiveView(LiveViewSettings())
    await (await started(echo(1), live_view, delta_interval_ms=60_000)).handle(deliver())
    written = await deltas(live_view)
    # The first is not held back; the rest waits for the interval, or for the end.
    assert len(written) == 2
    assert "".join(delta["text"] for delta in written) == TEXT


async def test_each_attempt_has_its_number_and_its_own_request() -> None:
    live_view = MemoryLiveView(LiveViewSettings())
    engine = ScriptedEngine([Delta("a"), Delta("", "length", Usage())])
    stage = await started(engine, live_view)
    first, second = [answered(await stage.handle(deliver())) for _ in range(2)]
    assert (first.attempt, second.attempt) == (1, 2)
    assert [delta["attempt"] for delta in await deltas(live_view)] == [1, 2]
    assert len({request.id for request in engine.requests}) == 2
    assert engine.requests[0].lane == "batch"
    assert first.finish_reason == "length"


@pytest.mark.parametrize("methods", [["begin_attempt", "append"], ["append"]])
async def test_a_live_view_that_is_down_costs_nothing_but_the_deltas(methods: list[str]) -> None:
    live_view = BrokenLiveView(*methods)
    stage = await started(echo(1), live_view)
    with capture_logs() as logs:
        first = answered(await stage.handle(deliver(attempt=3)))
        answered(await stage.handle(deliver(attempt=4)))
        live_view.methods.clear()
        answered(await stage.handle(deliver(attempt=5)))
    assert first.answer == TEXT
    assert first.attempt == (3 if "begin_attempt" in methods else 1)
    # One failure ends the writing of one answer; it is said once, and so is the end of it.
    assert live_view.calls == 2
    assert [line["log_level"] for line in logs] == ["warning", "info"]


@pytest.mark.parametrize("method", ["begin_attempt", "append"])
async def test_a_live_view_that_hangs_delays_the_answer_by_no_more_than_the_flush(method: str) -> None:
    stage = await started(echo(), BrokenLiveView(method, hang=True), flush_timeout_ms=50)
    event = answered(await asyncio.wait_for(stage.handle(deliver()), 5))
    assert event.answer == TEXT
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("deltas")] == []


@pytest.mark.parametrize("where", ["deadline_at", "header_deadline"])
async def test_the_deadline_ends_the_generation(where: str) -> None:
    engine = echo(delay_ms=60_000)
    stage = await started(engine)
    deadline = NOW + timedelta(milliseconds=50)
    later: dict[str, Any] = {"deadline_at": NOW + timedelta(hours=1), "header_deadline": NOW + timedelta(hours=1)}
    outcome = await asyncio.wait_for(stage.handle(deliver(**(later | {where: deadline}))), 5)
    expired = RequestExpired(request_id="r1", tenant="default", stage="generation", deadline_at=deadline)
    assert outcome == Produce((expired,))
    assert engine.running == 0


async def test_cancelling_stops_the_engine() -> None:
    engine = echo(delay_ms=60_000)
    stage = await started(engine)
    task = asyncio.create_task(stage.handle(deliver()))
    while engine.running == 0:  # noqa: ASYNC110 - a few turns of the loop; the test's timeout bounds them
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.running == 0


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (BackendUnavailableError("down"), UnavailableError, "engine_unavailable"),
        (BackendRejectedError("too long"), PoisonError, "engine_rejected"),
        (None, UnavailableError, "engine_unavailable"),
    ],
)
async def test_what_an_engine_says_decides_what_becomes_of_the_request(
    error: BackendError | None, kind: type[Exception], code: str
) -> None:
    stage = await started(ScriptedEngine([Delta("a")], error))
    outcome = await stage.handle(deliver())
    assert type(outcome) is kind
    assert isinstance(outcome, UnavailableError | PoisonError)
    assert outcome.code == code


async def test_a_form_that_the_engine_refuses_is_no_dead_letter() -> None:
    stage = await started(ScriptedEngine([], BackendRejectedError("bad schema")))
    delivery = deliver()
    sampling = delivery.event.sampling.model_copy(update={"response_format": ResponseFormat(type="json_object")})
    outcome = await stage.handle(delivery._replace(event=delivery.event.model_copy(update={"sampling": sampling})))
    assert isinstance(outcome, RejectedError)
    assert outcome.code == "response_format_refused"


@pytest.mark.parametrize("error", [EngineDeadError("gone"), TimeoutError("of a library")])
async def test_other_errors_are_not_the_requests_fault(error: Exception) -> None:
    stage = await started(ScriptedEngine([Delta("a")], error))
    with pytest.raises(type(error)):
        await stage.handle(deliver(deadline_at=NOW + timedelta(hours=1)))


async def test_an_engine_that_counts_no_tokens() -> None:
    event = answered(await (await started(ScriptedEngine([Delta("a", "stop")]))).handle(deliver()))
    assert event.usage == Usage()


async def test_stopping_closes_engine_and_live_view() -> None:
    engine = echo()
    live_view = MemoryLiveView(LiveViewSettings())
    stage = await started(engine, live_view)
    await stage.stop()
    with pytest.raises(BackendUnavailableError):
        await anext(engine.generate(GenerationRequest("id", deliver().event.messages, deliver().event.sampling)))
    assert [entry async for entry in live_view.follow(stream_of("default", "r1"))] == []


def expanding(deadline_at: datetime | None = None) -> Delivery[ExpansionPromptBuilt]:
    event = EXAMPLE_BY_TYPE[ExpansionPromptBuilt.TYPE]
    assert isinstance(event, ExpansionPromptBuilt)
    query = event.query.model_copy(update={"request_id": "r1", "deadline_at": deadline_at})
    event = event.model_copy(update={"query": query})
    return Delivery("r1", event, Headers(), Origin("rag.prompts.built", 0, 0), NOW)


async def test_an_expansion_is_written_and_shown_to_nobody() -> None:
    live_view = MemoryLiveView(LiveViewSettings())
    stage = await started(ScriptedEngine([Delta("How does yield work?"), Delta("", "stop")]), live_view)
    outcome = await stage.handle(expanding())
    assert isinstance(outcome, Produce)
    (event,) = outcome.events
    assert isinstance(event, QueryExpanded)
    assert event.texts == ("How does yield work?",)
    assert await deltas(live_view) == []


async def test_the_deadline_ends_an_expansion_and_its_request() -> None:
    engine = echo(delay_ms=60_000)
    deadline = NOW + timedelta(milliseconds=50)
    outcome = await asyncio.wait_for((await started(engine)).handle(expanding(deadline)), 5)
    expired = RequestExpired(request_id="r1", tenant="default", stage="generation", deadline_at=deadline)
    assert outcome == Produce((expired,))
    assert engine.running == 0


async def test_an_expansion_that_kills_its_workers_is_done_without() -> None:
    stage = await started(echo())
    error = PoisonError("quarantined", "Its worker died each time.")
    outcome = stage.instead(expanding(), error)
    assert isinstance(outcome, Produce)
    (event,) = outcome.events
    assert isinstance(event, QueryExpanded)
    assert event.fallback == "The question could not be expanded: Its worker died each time."
    assert stage.instead(deliver(), error) is None
