"""The echo engine, which hangs, dies or takes its worker along where a trap says so."""

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing

from backends.echo_engine import EchoEngine
from backends.engine import Delta, EngineDeadError, EngineSettings, GenerationRequest
from backends.token_watch import TokenWatch
from backends.watched_stream import next_watched
from faults.traps import Traps, spring


class FaultyEngine:
    """Says a word of its own for every attempt, then echoes: two attempts at an answer cannot be taken for one another.

    It is watched as vLLM is: who waits too long for an engine that brings no token to anybody is told that it is dead.
    """

    def __init__(self, settings: EngineSettings, traps: Traps) -> None:
        self._echo = EchoEngine(settings)
        self._watch = TokenWatch(settings.timeout_ms / 1000)
        self._traps = traps
        self._hung = False

    @property
    def model(self) -> str:
        return self._echo.model

    async def start(self) -> None:
        await self._echo.start()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        yield Delta(f"{uuid.uuid4().hex} ")
        async with aclosing(self._tokens(request)) as tokens:
            while (delta := await next_watched(tokens, self._watch, self.model)) is not None:
                yield delta

    async def _tokens(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        async with aclosing(self._echo.generate(request)) as deltas:
            async for delta in deltas:
                self._pass_trap()
                if self._hung:
                    await asyncio.Event().wait()
                yield delta

    def _pass_trap(self) -> None:
        trap = self._traps.passed("token")
        if trap is None:
            return
        if trap.action == "engine_dead":
            msg = "the engine is dead, as the fault campaign wants it"
            raise EngineDeadError(msg)
        if trap.action == "engine_hung":
            self._hung = True
        spring(trap)

    async def close(self) -> None:
        await self._echo.close()
