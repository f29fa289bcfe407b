"""One script run many times at once: calls that are made at the same time share a round trip."""

import asyncio
from collections.abc import Sequence
from hashlib import sha1
from typing import Any, TypeAlias

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from backends.errors import BackendUnavailableError
from backends.redis_calls import calling

Argument: TypeAlias = str | int | bytes

_Call: TypeAlias = "tuple[Sequence[Argument], asyncio.Future[Any]]"
# A reply that is large, or slow to come, keeps no more than these waiting.
_LARGEST_BATCH = 256


class SharedScript:
    """Runs a Lua script. What is called while a round trip is under way goes into the next one, in order.

    A call on its own costs several times what it costs in company, here and in Redis; a model's step brings tokens of
    all its requests at once.
    """

    def __init__(self, client: Redis, script: str) -> None:
        self._client = client
        self._script = script
        self._sha = sha1(script.encode(), usedforsecurity=False).hexdigest()
        self._waiting: list[_Call] = []
        self._taken: list[_Call] = []
        self._task: asyncio.Task[None] | None = None

    async def call(self, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """The script's reply. A call that is cancelled may still be carried out.

        Raises:
            BackendUnavailableError: Redis did not answer, or not with a reply; the script may have run.
        """
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(((len(keys), *keys, *arguments), done))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="redis-script")
        return await done

    async def close(self) -> None:
        """Stop; calls that are not settled fail."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        given_up = BackendUnavailableError("the call was given up, for the client is closed")
        unsettled = self._taken + self._waiting
        _settle(unsettled, [given_up] * len(unsettled))

    async def _run(self) -> None:
        while self._waiting:
            # Whoever is about to call comes along.
            await asyncio.sleep(0)
            self._taken, self._waiting = self._waiting[:_LARGEST_BATCH], self._waiting[_LARGEST_BATCH:]
            try:
                with calling():
                    replies = await self._send(self._taken)
            except Exception as error:  # noqa: BLE001 - whoever waits must hear of it, whatever it is
                replies = [error] * len(self._taken)
            _settle(self._taken, replies)
            self._taken = []

    async def _send(self, calls: Sequence[_Call]) -> list[Any]:
        replies = await self._replies(calls)
        unknown = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            # Redis has started anew. Of a call that it did not know, nothing was done.
            await self._client.script_load(self._script)
            again = await self._replies([calls[at] for at in unknown])
            for at, reply in zip(unknown, again, strict=True):
                replies[at] = reply
        return replies

    async def _replies(self, calls: Sequence[_Call]) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for arguments, _ in calls:
                pipeline.execute_command("EVALSHA", self._sha, *arguments)
            return list(await pipeline.execute(raise_on_error=False))


def _settle(calls: Sequence[_Call], replies: Sequence[Any]) -> None:
    for (_, done), reply in zip(calls, replies, strict=True):
        if done.done():
            continue  # its caller was cancelled
        if isinstance(reply, Exception):
            # Each its own: whoever is given an exception may change it.
            done.set_exception(BackendUnavailableError(str(reply) or type(reply).__name__))
        else:
            done.set_result(reply)
