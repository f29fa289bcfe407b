"""Writes tokens into the streams of many requests, as generation workers do. Takes ``SourceOptions`` as JSON.

A token is ``NUMBER:NANOSECONDS`` and a space: its place in the answer and when it was written, by the wall clock.
"""

import asyncio
import sys
import time

import orjson
import uvloop
from pydantic import BaseModel, ConfigDict
from redis.asyncio import Redis

from backends.live_view import stream_of
from bench.child_input import standard_input

# Streams take turns, so that tokens do not come in waves.
_TICK_S = 0.005


class SourceOptions(BaseModel):
    """``requests`` streams of ``tokens_per_s`` for ``seconds``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    requests: int
    tokens_per_s: int
    seconds: float

    @property
    def tokens(self) -> int:
        """Tokens of each request."""
        return round(self.tokens_per_s * self.seconds)


def request_name(number: int) -> str:
    """The ID of a request of the benchmark."""
    return f"bench-{number}"


async def run(options: SourceOptions) -> None:
    """Show that the requests were asked; on a line of input write all tokens at their times, then the terminal entries.

    It writes ``ready`` in between, and at the end how late it was.
    """
    keys = [f"ragline.live.{{{stream_of('default', request_name(n))}}}.entries" for n in range(options.requests)]
    whole = options.requests * options.tokens
    per_s = options.requests * options.tokens_per_s
    async with Redis.from_url(options.url) as redis:
        for key in keys:
            asked = {"stage": "bridge", "started_ms": 0, "finished_ms": 0, "attempt": 1}
            await redis.xadd(key, {"kind": "progress", "body": orjson.dumps(asked)})
        print("ready", flush=True)
        await (await standard_input()).readline()
        began, written = time.monotonic(), 0
        while written < whole:
            due = min(whole, int((time.monotonic() - began) * per_s))
            if due > written:
                await _write(redis, keys, written, due)
                written = due
            await asyncio.sleep(_TICK_S)
        for key in keys:
            event = {"type": "ragline.answered.v1", "event": {"tokens": options.tokens}, "timeline": []}
            await redis.xadd(key, {"kind": "terminal", "body": orjson.dumps(event)})
    late_s = time.monotonic() - began - options.seconds
    print(orjson.dumps({"late_s": late_s}).decode(), flush=True)


async def _write(redis: Redis, keys: list[str], first: int, end: int) -> None:
    now = time.time_ns()
    async with redis.pipeline(transaction=False) as pipeline:
        for place in range(first, end):
            sequence, number = divmod(place, len(keys))
            body = b'{"attempt":1,"sequence":%d,"text":"%d:%d "}' % (sequence, sequence, now)
            pipeline.xadd(keys[number], {"kind": "delta", "body": body}, maxlen=10_000)
        await pipeline.execute()


if __name__ == "__main__":
    uvloop.run(run(SourceOptions.model_validate_json(sys.argv[1])))
