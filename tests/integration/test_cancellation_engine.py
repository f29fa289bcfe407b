"""From ``rag.control`` down to the engine: a cancelled generation frees its slot."""

import asyncio
import time
from collections.abc import AsyncGenerator

import pytest

from backends.engine import Delta, GenerationRequest
from backends.live_view import LiveViewSettings, stream_of
from backends.memory_live_view import MemoryLiveView
from backends.vllm_engine import VllmEngine
from schemas import codec
from schemas.events import CancellationRequested, PromptBuilt, RequestCancelled
from schemas.examples import EXAMPLE_BY_TYPE
from schemas.headers import Headers
from schemas.values import ChatMessage, Sampling
from tests.fixtures.pipeline import Pipeline, eventually, make_pipeline
from topics.specs import ANSWERS, CONTROL, PROMPTS_BUILT
from workers.generation import GenerationStage
from workers.settings import GenerationSettings

pytestmark = [
    pytest.mark.models,
    pytest.mark.servers,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(600),
]

TENANT = "acme"


class SharedEngine:
    """The session's engine, which outlives the worker."""

    def __init__(self, engine: VllmEngine) -> None:
        self._engine = engine
        self.model = engine.model

    async def start(self) -> None: ...
    async def close(self) -> None: ...

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        return self._engine.generate(request)


async def ask_for_a_story(pipeline: Pipeline, request_id: str) -> None:
    example = EXAMPLE_BY_TYPE[PromptBuilt.TYPE]
    assert isinstance(example, PromptBuilt)
    prompt = example.model_copy(
        update={
            "query": example.query.model_copy(update={"request_id": request_id, "tenant": TENANT, "deadline_at": None}),
            "messages": (ChatMessage(role="user", content="Tell me a very long story about a ship."),),
            "sampling": Sampling(max_tokens=400),
        }
    )
    await pipeline.produce(PROMPTS_BUILT, codec.encode(prompt), request_id, Headers(type=prompt.TYPE))


async def test_a_cancelled_generation_frees_its_slot(kafka_bootstrap: str, vllm_engine: VllmEngine) -> None:
    live_view = MemoryLiveView(LiveViewSettings())
    stage = GenerationStage(GenerationSettings(), SharedEngine(vllm_engine), live_view)
    async with make_pipeline(kafka_bootstrap) as pipeline, pipeline.running(stage):
        freed_s = []
        for number in range(3):
            request_id = f"r{number}"
            await ask_for_a_story(pipeline, request_id)

            async def tokens_came(request_id: str = request_id) -> bool:
                return any(
                    stored.entry.kind == "delta" for stored in await live_view.read(stream_of(TENANT, request_id))
                )

            await eventually(tokens_came)
            begin = time.monotonic()
            await pipeline.produce(CONTROL, codec.encode(CancellationRequested(request_id=request_id)), request_id)
            while vllm_engine.running:  # noqa: ASYNC110 - the engine has no event for it
                await asyncio.sleep(0.001)
            freed_s.append(time.monotonic() - begin)
        records = await pipeline.read_count(ANSWERS, 3)
    print(f"from the record in rag.control to a free slot: {[round(seconds, 3) for seconds in freed_s]} s")  # noqa: T201
    assert [record.headers.type for record in records] == [RequestCancelled.TYPE] * 3
    assert min(freed_s) < 0.2
