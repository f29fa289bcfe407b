"""The engine's process: a generation worker, and the same engine without one. Takes ``ChildOptions`` as JSON.

It writes ``ready``; for each ``Direct`` on a line of its input it writes the times to the first token and the speed; it
ends when its input is closed.
"""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

import orjson
import uvloop

from backends.engine import Delta, Engine, EngineSettings, GenerationRequest, create_engine
from backends.kafka import KafkaSettings
from backends.live_view import LiveViewSettings
from backends.redis_live_view import RedisLiveView
from bench.serving import be_silent, serving
from bench.ttft_options import ChildOptions, Direct, counts, names_of, prompt
from workers.generation import GenerationStage
from workers.runtime.settings import RuntimeSettings
from workers.runtime.worker import Worker
from workers.settings import GenerationSettings

_GUARANTEES = ("at_least_once", "exactly_once")


class _Shared:
    """An engine that outlives the workers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def model(self) -> str:
        return self._engine.model

    async def start(self) -> None:
        """It has started."""

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        return self._engine.generate(request)

    async def close(self) -> None:
        """It is closed by who started it."""


async def run(options: ChildOptions) -> None:
    """Serve until standard input is closed, or a worker fails."""
    settings = EngineSettings.model_validate(
        {"kind": options.engine, "path": options.engine_path, "max_num_seqs": options.max_num_seqs}
        | ({"echo_delay_ms": 20} if options.engine == "echo" else {})
    )
    engine = create_engine(settings)
    await engine.start()
    try:
        workers = [_worker(options, guarantee, engine) for guarantee in _GUARANTEES]
        async with serving(workers) as orders:
            while line := await orders.readline():
                times_ms, rate = await _direct(engine, Direct.model_validate_json(line))
                print(orjson.dumps({"ttft_ms": times_ms, "tokens_per_s": rate}).decode(), flush=True)
    finally:
        await engine.close()


def _worker(options: ChildOptions, guarantee: str, engine: Engine) -> Worker:
    """A generation worker with a namespace of its own for each guarantee."""
    names = names_of(guarantee)
    live_view = RedisLiveView(LiveViewSettings(url=options.redis_url), names)
    stage = GenerationStage(GenerationSettings(max_in_flight=options.max_num_seqs), _Shared(engine), live_view)
    runtime = RuntimeSettings.model_validate({"guarantee": guarantee})
    return Worker(stage, KafkaSettings(bootstrap_servers=options.bootstrap_servers), names, runtime)


async def _direct(engine: Engine, order: Direct) -> tuple[list[float], float]:
    """Times to the first text, in milliseconds, and tokens a second of all together."""
    times_ms: list[float] = []
    tokens = 0

    async def generate(numbers: Iterator[int]) -> None:
        nonlocal tokens
        for turn, number in enumerate(numbers):
            event = prompt(order.label, number, order.mean_tokens)
            request = GenerationRequest(event.query.request_id, event.messages, event.sampling)
            began, seen = time.perf_counter(), False
            async with aclosing(engine.generate(request)) as deltas:
                async for delta in deltas:
                    if delta.text and not seen:
                        if counts(turn):
                            times_ms.append((time.perf_counter() - began) * 1000)
                        seen = True
                    if delta.usage:
                        tokens += delta.usage.completion_tokens

    began = time.perf_counter()
    numbers = iter(range(order.count))
    await asyncio.gather(*(generate(numbers) for _ in range(order.concurrent)))
    return times_ms, tokens / (time.perf_counter() - began)


if __name__ == "__main__":
    be_silent()
    uvloop.run(run(ChildOptions.model_validate_json(sys.argv[1])))
