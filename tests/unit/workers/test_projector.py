from datetime import UTC, datetime

import pytest

from backends.errors import BackendUnavailableError
from backends.live_view import Entry, LiveViewSettings, stream_of
from backends.memory_live_view import MemoryLiveView
from schemas.events import (
    Answered,
    Event,
    ExpansionPromptBuilt,
    PassagesRetrieved,
    PromptBuilt,
    QueryAccepted,
    QueryExpanded,
    RequestFailed,
)
from schemas.examples import EXAMPLE_BY_TYPE
from schemas.headers import Headers, Origin, StageTime
from schemas.values import Passage, QueryOptions, Sampling, Source, Usage
from topics.specs import TOPIC_OF_EVENT
from workers.projector import ProjectorStage
from workers.runtime.stage import BatchedStage, Delivery, Produce, UnavailableError
from workers.settings import ProjectorSettings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PASSAGE = Passage(chunk_id="c", document_id="d", title="t", text="x", source="s", ordinal=0, score=0.5)
SOURCE = Source(number=1, passage=PASSAGE)


def accepted(request_id: str = "r") -> QueryAccepted:
    options = QueryOptions(model="m", top_k=3, min_score=0.2, template="default", sampling=Sampling())
    return QueryAccepted(
        request_id=request_id,
        tenant="default",
        question="q",
        lane="interactive",
        asked_at=NOW,
        deadline_at=None,
        options=options,
    )


def prompt_built(request_id: str = "r") -> PromptBuilt:
    return PromptBuilt(
        query=accepted(request_id),
        template="default",
        template_hash="h",
        messages=(),
        prompt_tokens=1,
        sources=(SOURCE,),
        sampling=Sampling(),
    )


def answered(request_id: str = "r") -> Answered:
    return Answered(
        request_id=request_id,
        question="q",
        answer="a",
        finish_reason="stop",
        sources=(SOURCE,),
        model="m",
        usage=Usage(),
    )


def delivery(event: Event, *stages: str, event_id: str | None = None) -> Delivery[Event]:
    timeline = tuple(StageTime(stage, 10 * place, 10 * place + 5, 1) for place, stage in enumerate(stages))
    headers = Headers(id=event_id or f"{event.key}-{event.TYPE}", timeline=timeline)
    return Delivery(event.key, event, headers, Origin(TOPIC_OF_EVENT[type(event)].name, 0, 7), NOW)


class BrokenLiveView(MemoryLiveView):
    """Down for the requests named."""

    def __init__(self, *broken: str) -> None:
        super().__init__(LiveViewSettings())
        self.broken = set(broken)

    async def append(self, stream: str, entries: list[Entry], *, once: str | None = None) -> bool:  # type: ignore[override]
        if stream in {stream_of("default", request_id) for request_id in self.broken}:
            msg = "Redis does not answer"
            raise BackendUnavailableError(msg)
        return await super().append(stream, entries, once=once)


@pytest.fixture
def view() -> MemoryLiveView:
    return MemoryLiveView(LiveViewSettings())


async def shown(view: MemoryLiveView, request_id: str = "r", tenant: str = "default") -> list[Entry]:
    return [stored.entry for stored in await view.read(stream_of(tenant, request_id))]


def stage(view: MemoryLiveView) -> ProjectorStage:
    return ProjectorStage(ProjectorSettings(max_batch=9, linger_ms=3), view, "default")


def test_is_a_batched_stage_that_makes_no_terminal_events(view: MemoryLiveView) -> None:
    projector: BatchedStage[Event] = stage(view)
    assert (projector.name, projector.subject) == ("projector", None)
    assert (projector.max_batch, projector.linger_ms) == (9, 3)


async def test_shows_the_progress_of_the_stage_that_spoke(view: MemoryLiveView) -> None:
    outcomes = await stage(view).handle([delivery(accepted(), "query")])
    assert outcomes == [Produce(())]
    assert await shown(view) == [Entry("progress", {"stage": "query", "started_ms": 0, "finished_ms": 5, "attempt": 1})]


async def test_without_a_timeline_the_topic_says_the_stage(view: MemoryLiveView) -> None:
    event = PassagesRetrieved(query=accepted(), collection="c", embedding_model="m", passages=())
    await stage(view).handle([delivery(event)])
    [entry] = await shown(view)
    now_ms = int(NOW.timestamp() * 1000)
    assert entry.body == {"stage": "retrieval", "started_ms": now_ms, "finished_ms": now_ms, "attempt": 1}


async def test_shows_the_sources_of_a_prompt(view: MemoryLiveView) -> None:
    await stage(view).handle([delivery(prompt_built(), "query", "prompt")])
    entries = await shown(view)
    assert [entry.kind for entry in entries] == ["progress", "sources"]
    assert entries[1].body == {"sources": [SOURCE.model_dump(mode="json")]}


async def test_shows_the_end_with_the_whole_event_and_timeline(view: MemoryLiveView) -> None:
    await stage(view).handle([delivery(answered(), "query", "generation")])
    progress, terminal = await shown(view)
    assert progress.body["stage"] == "generation"
    assert terminal.body["type"] == "ragline.answered.v1"
    assert terminal.body["event"] == answered().model_dump(mode="json")
    assert [time["stage"] for time in terminal.body["timeline"]] == ["query", "generation"]  # type: ignore[attr-defined]


async def test_tenants_never_meet(view: MemoryLiveView) -> None:
    of_other = accepted().model_copy(update={"tenant": "a/b"})
    await stage(view).handle([delivery(accepted(), "query"), delivery(of_other, "query", event_id="other")])
    assert len(await shown(view)) == len(await shown(view, tenant="a/b")) == 1
    assert await shown(view, "b/r", tenant="a") == []


async def test_an_event_that_comes_again_is_shown_once(view: MemoryLiveView) -> None:
    projector = stage(view)
    failed = RequestFailed(request_id="r", stage="query", code="empty", message="It is empty.")
    for _ in range(2):
        assert await projector.handle([delivery(failed, "query")] * 2) == [Produce(())] * 2
    assert [entry.kind for entry in await shown(view)] == ["progress", "terminal"]


async def test_within_a_batch_the_end_comes_last(view: MemoryLiveView) -> None:
    batch = [delivery(answered(), "generation"), delivery(prompt_built(), "prompt"), delivery(accepted(), "query")]
    assert await stage(view).handle(batch) == [Produce(())] * 3
    kinds = [entry.kind for entry in await shown(view)]
    assert kinds == ["progress", "progress", "sources", "progress", "terminal"]


async def test_a_live_view_that_is_down_holds_back_its_requests_and_no_others() -> None:
    view = BrokenLiveView("r")
    projector = stage(view)
    batch = [delivery(accepted("s"), "query"), delivery(answered("r"), "generation"), delivery(accepted("r"), "query")]
    fine, *held_back = await projector.handle(batch)
    assert fine == Produce(())
    for outcome in held_back:
        assert isinstance(outcome, UnavailableError)
        assert outcome.code == "live_view_unavailable"
    view.broken.clear()
    assert await projector.handle(batch) == [Produce(())] * 3
    assert len(await shown(view, "s")) == 1
    assert [entry.kind for entry in await shown(view, "r")] == ["progress", "progress", "terminal"]


async def test_an_expansion_is_shown_where_it_belongs_and_with_what_it_lacks(view: MemoryLiveView) -> None:
    prompt, expanded = (EXAMPLE_BY_TYPE[kind.TYPE] for kind in (ExpansionPromptBuilt, QueryExpanded))
    assert isinstance(expanded, QueryExpanded)
    alone = expanded.model_copy(update={"texts": (), "fallback": "The engine wrote nothing."})
    [*outcomes] = await stage(view).handle(
        [delivery(alone, "query", "expansion"), delivery(prompt, "query"), delivery(expanded, "query", event_id="x")]
    )
    assert outcomes == [Produce(())] * 3
    bodies = [dict(entry.body) for entry in await shown(view, expanded.key)]
    assert [(body["stage"], body.get("note")) for body in bodies] == [
        ("query", None),
        ("expansion", "The engine wrote nothing."),
        ("query", None),
    ]
