"""Clients of the benchmark of first tokens: prompts into Kafka, or questions to the bridge; answers from websockets."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

import orjson
from aiokafka import AIOKafkaProducer
from websockets.asyncio.client import ClientConnection, connect

from backends.kafka import KafkaSettings
from backends.live_view import Entry, LiveViewSettings, stream_of
from backends.redis_live_view import RedisLiveView
from bench.ttft_options import TENANT, counts, prompt
from schemas import codec
from schemas.events import PromptBuilt
from schemas.headers import Headers
from topics.names import Namespace
from topics.specs import PROMPTS_BUILT

_ANSWER_TIMEOUT_S = 300


@dataclass
class Speed:
    """Times to the first text in milliseconds, and tokens a second of all together."""

    ttft_ms: list[float] = field(default_factory=list)
    tokens_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Way:
    """A question's whole way: milliseconds to the first token, and of these each stage's, by its name."""

    whole_ms: float
    stages_ms: dict[str, float]


class Clients:
    """Sends prompts as the prompt stage does, and sees answers as people do; an asynchronous context manager."""

    def __init__(self, kafka: KafkaSettings, redis_url: str, names: Namespace, bridge: str) -> None:
        self._producer = AIOKafkaProducer(**kafka.client_options(), enable_idempotence=True, acks="all")
        self._live_view = RedisLiveView(LiveViewSettings(url=redis_url), names)
        self._topic = names.topic(PROMPTS_BUILT)
        self._address = f"{bridge.replace('http', 'ws')}/v1/ws"

    async def __aenter__(self) -> Self:
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()
        await self._live_view.close()

    async def prompts(self, label: str, count: int, concurrent: int, mean_tokens: int) -> Speed:
        """Put prompts into Kafka, ``concurrent`` at a time, and wait for the answers on websockets."""
        speed, tokens = Speed(), 0

        async def work(numbers: Iterator[int]) -> None:
            nonlocal tokens
            async with connect(self._address, proxy=None, max_size=None) as socket:
                for turn, number in enumerate(numbers):
                    event = prompt(label, number, mean_tokens)
                    await self._follow(socket, event)
                    began = time.perf_counter()
                    await self._send(event)
                    first_s, terminal = await _answer(socket)
                    if counts(turn):
                        speed.ttft_ms.append((first_s - began) * 1000)
                    tokens += terminal["event"]["usage"]["completion_tokens"]

        began = time.perf_counter()
        numbers = iter(range(count))
        await asyncio.gather(*(work(numbers) for _ in range(concurrent)))
        speed.tokens_per_s = tokens / (time.perf_counter() - began)
        return speed

    async def questions(self, questions: list[str]) -> list[Way]:
        """Ask one after the other, on one websocket."""
        ways = []
        async with connect(self._address, proxy=None, max_size=None) as socket:
            for question in questions:
                began_ms = time.time() * 1000
                await socket.send(orjson.dumps({"kind": "ask", "question": question, "max_tokens": 8}).decode())
                before_s = time.perf_counter()
                first_s, terminal = await _answer(socket)
                whole_ms = (first_s - before_s) * 1000
                ways.append(Way(whole_ms, _shares(began_ms, whole_ms, terminal["timeline"])))
        return ways

    async def _follow(self, socket: ClientConnection, event: PromptBuilt) -> None:
        """Be there before the first token, as who has asked is."""
        asked = Entry("progress", {"stage": "bridge", "started_ms": 0, "finished_ms": 0, "attempt": 1})
        await self._live_view.append(stream_of(TENANT, event.key), [asked])
        await socket.send(orjson.dumps({"kind": "resume", "request_id": event.key}).decode())
        await _hear(socket)

    async def _send(self, event: PromptBuilt) -> None:
        headers = Headers(
            id=f"prompt-{event.key}", type=event.TYPE, source="ragline/bench", time=datetime.now(UTC), tenant=TENANT
        )
        await self._producer.send(self._topic, codec.encode(event), key=event.key.encode(), headers=headers.encode())


async def _answer(socket: ClientConnection) -> tuple[float, Any]:
    """When the first text came, by the performance counter, and the terminal message."""
    first_s = None
    while True:
        message = await _hear(socket)
        if message["kind"] == "delta" and first_s is None:
            first_s = time.perf_counter()
        if message["kind"] == "error":
            raise RuntimeError(f"the bridge says: {message['message']}")
        if message["kind"] == "terminal":
            if first_s is None or "answer" not in message["event"]:
                raise RuntimeError(f"no answer: {message['event']}")
            return first_s, message


async def _hear(socket: ClientConnection) -> Any:
    async with asyncio.timeout(_ANSWER_TIMEOUT_S):
        return orjson.loads(await socket.recv())


def _shares(began_ms: float, whole_ms: float, timeline: list[dict[str, Any]]) -> dict[str, float]:
    """From the end of the stage before to the end of each; of generation, up to the first token."""
    shares: dict[str, float] = {}
    before_ms = began_ms
    for timing in timeline:
        ended_ms = began_ms + whole_ms if timing["stage"] == "generation" else timing["finished_ms"]
        shares[timing["stage"]] = max(0.0, ended_ms - before_ms)
        before_ms = ended_ms
    return shares
