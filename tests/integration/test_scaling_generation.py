"""A second generation worker under load: answers in progress on partitions that stay are not begun again."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from backends.echo_engine import EchoEngine
from backends.engine import Delta, EngineSettings, GenerationRequest
from backends.live_view import LiveViewSettings, stream_of
from backends.memory_live_view import MemoryLiveView
from schemas import codec
from schemas.events import Answered, PromptBuilt
from schemas.examples import EXAMPLE_BY_TYPE
from schemas.headers import Headers
from schemas.values import ChatMessage, Sampling
from tests.fixtures.pipeline import Pipeline, eventually, make_pipeline
from topics.specs import ANSWERS, PROMPTS_BUILT
from workers.generation import GenerationStage
from workers.settings import GenerationSettings

pytestmark = pytest.mark.servers
COUNT = 12
WORDS = 20
TENANT = "acme"


class Gated:
    """An engine that says a first word at once, and the others when the gate is open."""

    model = "gated"

    def __init__(self, gate: asyncio.Event) -> None:
        self._gate = gate
        self._echo = EchoEngine(EngineSettings(kind="echo", max_num_seqs=COUNT))

    async def start(self) -> None:
        await self._echo.start()

    async def close(self) -> None:
        await self._echo.close()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        async for delta in self._echo.generate(request):
            yield delta
            await self._gate.wait()


async def prompt(pipeline: Pipeline, request_id: str) -> None:
    example = EXAMPLE_BY_TYPE[PromptBuilt.TYPE]
    assert isinstance(example, PromptBuilt)
    text = " ".join(f"{request_id}-{number}" for number in range(WORDS))
    built = example.model_copy(
        update={
            "query": example.query.model_copy(update={"request_id": request_id, "tenant": TENANT, "deadline_at": None}),
            "messages": (ChatMessage(role="user", content=text),),
            "sampling": Sampling(max_tokens=WORDS),
        }
    )
    await pipeline.produce(PROMPTS_BUILT, codec.encode(built), request_id, Headers(type=built.TYPE))


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
async def test_answers_in_progress_on_partitions_that_stay_keep_their_attempt(
    kafka_bootstrap: str, guarantee: str
) -> None:
    live_view = MemoryLiveView(LiveViewSettings())

    gate = asyncio.Event()

    def stage() -> GenerationStage:
        return GenerationStage(GenerationSettings(), Gated(gate), live_view)

    async def begun(request_id: str) -> set[int]:
        """Attempts of which text was seen."""
        return {
            stored.entry.body["attempt"]
            for stored in await live_view.read(stream_of(TENANT, request_id))
            if stored.entry.kind == "delta"
        }  # type: ignore[misc]

    requests = [f"r{number}" for number in range(COUNT)]
    async with make_pipeline(kafka_bootstrap, partitions=4) as pipeline:
        pipeline.guarantee = guarantee
        for request_id in requests:
            await prompt(pipeline, request_id)
        async with pipeline.running(stage()) as first:

            async def all_in_progress() -> bool:
                return all([await begun(request_id) for request_id in requests])

            await eventually(all_in_progress)
            async with pipeline.running(stage()) as second:
                await eventually(lambda: len(first.status()["partitions"]) == 2)  # type: ignore[arg-type]
                await eventually(lambda: len(second.status()["partitions"]) == 2)  # type: ignore[arg-type]
                gate.set()
                records = await pipeline.read_count(ANSWERS, COUNT)
                stayed = {int(str(name).rpartition("/")[2]) for name in first.status()["partitions"]}  # type: ignore[attr-defined]
    assert sorted(record.key for record in records) == sorted(requests)
    attempts = {True: set[int](), False: set[int]()}
    for record in records:
        assert record.headers.type == Answered.TYPE
        assert record.headers.origin
        kept = record.headers.origin.partition in stayed
        attempts[kept].add(record.body["attempt"])
        if kept:
            assert await begun(record.key) == {1}
    assert attempts == {True: {1}, False: {2}}
