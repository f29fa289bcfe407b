"""What vLLM in the worker must do beyond what every engine does."""

import asyncio
import subprocess
import sys
import time
from contextlib import aclosing
from pathlib import Path
from typing import Self

import psutil
import pytest

from backends.engine import GenerationRequest
from backends.tokenizer import ChatTokenizer
from backends.vllm_engine import VllmEngine
from schemas.values import ChatMessage, Lane, Sampling

pytestmark = [pytest.mark.models, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

DEADLINE_S = 60
LOAD_TIMEOUT_S = 300
STORY = "Tell me a very long story about a ship, its captain and all of its crew."

# Shows the engine's processes, then asks it whenever a line comes, and says how that goes on.
PROGRAM = """
import asyncio, sys
import psutil
from backends.engine import EngineDeadError, EngineSettings, GenerationRequest, create_engine
from schemas.values import ChatMessage, Sampling

async def main():
    engine = create_engine(EngineSettings(path=sys.argv[1], max_model_len=512, timeout_ms=2000))
    await engine.start()
    print("processes", *(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        try:
            message = ChatMessage(role="user", content="Tell me a very long story.")
            begun = False
            async for delta in engine.generate(GenerationRequest("a", (message,), Sampling(max_tokens=400))):
                if not begun:
                    print("begun", flush=True)
                begun = True
            print("answered", flush=True)
        except EngineDeadError as error:
            print("dead", error, flush=True)

if __name__ == "__main__":
    asyncio.run(main())
"""


class Consumer:
    """Asks in a task of its own and notes when the first token came."""

    def __init__(self, engine: VllmEngine, name: str, *, lane: Lane = "interactive", max_tokens: int = 400) -> None:
        self.first_token = asyncio.Event()
        message = ChatMessage(role="user", content=f"{STORY} The ship is called {name}.")
        self._request = GenerationRequest(name, (message,), Sampling(max_tokens=max_tokens, temperature=0), lane)
        self._engine = engine
        self.task = asyncio.create_task(self._consume())

    async def _consume(self) -> None:
        async with aclosing(self._engine.generate(self._request)) as deltas:
            async for _ in deltas:
                self.first_token.set()

    async def begun(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            await self.first_token.wait()

    async def cancel(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})


async def submitted(engine: VllmEngine, count: int) -> None:
    """Wait until vLLM itself has so many requests."""
    async with asyncio.timeout(DEADLINE_S):
        while engine._llm.get_num_unfinished_requests() != count:  # noqa: ASYNC110 - vLLM has no event for it
            await asyncio.sleep(0.001)


async def test_cancelling_frees_the_slot_at_once(vllm_engine: VllmEngine) -> None:
    first, second = Consumer(vllm_engine, "Adler"), Consumer(vllm_engine, "Beagle")
    await first.begun()
    await second.begun()
    waiting = Consumer(vllm_engine, "Centaur", max_tokens=2)
    await submitted(vllm_engine, 3)
    begin = time.monotonic()
    await first.cancel()
    aborted_s = time.monotonic() - begin
    await waiting.begun()
    print(f"aborted in {aborted_s:.3f} s, next first token after {time.monotonic() - begin:.3f} s")  # noqa: T201
    assert not second.task.done()
    assert aborted_s < 0.2
    await second.cancel()
    await asyncio.wait_for(waiting.task, DEADLINE_S)
    assert vllm_engine.running == 0
    await submitted(vllm_engine, 0)


async def test_interactive_requests_overtake_batch_ones(vllm_engine: VllmEngine) -> None:
    running = [Consumer(vllm_engine, name) for name in ("Adler", "Beagle")]
    for consumer in running:
        await consumer.begun()
    batch = Consumer(vllm_engine, "Dorado", lane="batch", max_tokens=200)
    await submitted(vllm_engine, 3)
    interactive = Consumer(vllm_engine, "Endeavour", max_tokens=200)
    await submitted(vllm_engine, 4)
    await running[0].cancel()
    await interactive.begun()
    assert not batch.first_token.is_set()
    for consumer in (running[1], batch, interactive):
        await consumer.cancel()


async def test_prompts_are_counted_as_the_prompt_stage_counts_them(
    vllm_engine: VllmEngine, engine_folder: Path
) -> None:
    messages = (
        ChatMessage(role="system", content="Be brief. Ünïcödé."),
        ChatMessage(role="user", content="What is a ship?\n\n[1] A ship\nfloats."),
    )
    async with aclosing(vllm_engine.generate(GenerationRequest("count", messages, Sampling(max_tokens=1)))) as deltas:
        last = [delta async for delta in deltas][-1]
    assert last.usage
    assert last.usage.prompt_tokens == ChatTokenizer.load(str(engine_folder)).count(messages)


class Worker:
    """A process that runs an engine, as ``PROGRAM`` says; a context manager."""

    def __init__(self, engine_folder: Path) -> None:
        argv = [sys.executable, "-c", PROGRAM, str(engine_folder)]
        self.process = subprocess.Popen(  # noqa: S603 - the program above
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.children: list[psutil.Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.children:
            if process.is_running():
                process.kill()
        self.process.kill()
        with self.process:  # closes the pipes and waits
            pass

    async def start(self) -> None:
        line = await self.hear(LOAD_TIMEOUT_S)
        self.children = [psutil.Process(int(pid)) for pid in line.split()[1:]]

    def core(self) -> psutil.Process:
        return next(process for process in self.children if "EngineCore" in "".join(process.cmdline()))

    def ask(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    async def hear(self, timeout_s: float = DEADLINE_S) -> str:
        assert self.process.stdout
        return await asyncio.wait_for(asyncio.to_thread(self.process.stdout.readline), timeout_s)


async def test_a_hung_engine_counts_as_dead_and_no_process_outlives_a_killed_worker(engine_folder: Path) -> None:
    with Worker(engine_folder) as worker:
        await worker.start()
        worker.core().suspend()
        worker.ask()
        assert (await worker.hear()).startswith("dead engine SmolLM2-135M-Instruct has brought no token for 2000 ms")
        worker.core().resume()
        worker.process.kill()
        _, left = await asyncio.to_thread(psutil.wait_procs, worker.children, 20)
        assert left == []


async def test_a_killed_engine_core_is_a_dead_engine(engine_folder: Path) -> None:
    with Worker(engine_folder) as worker:
        await worker.start()
        worker.ask()
        assert await worker.hear() == "begun\n"
        worker.core().kill()
        assert await worker.hear() == "dead the engine core of vLLM has died\n"
        worker.ask()
        assert await worker.hear() == "dead the engine core of vLLM has died\n"
