"""Calls to Redis whose errors are the backends' errors."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from backends.errors import BackendUnavailableError


def connect(url: str, *, max_connections: int, timeout_ms: int, block_ms: int = 0) -> Redis:
    """A client that connects when it is first used. ``block_ms`` is added to the wait for a reply.

    It never repeats a call by itself: an append that is sent twice is there twice.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=timeout_ms / 1000,
        socket_connect_timeout=timeout_ms / 1000,
        socket_timeout=(timeout_ms + block_ms) / 1000,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
    return Redis.from_pool(pool)


@contextmanager
def calling() -> Iterator[None]:
    """Around every call.

    Raises:
        BackendUnavailableError: Redis did not answer, or not with what was asked for.
        asyncio.CancelledError: the task was cancelled during the call and the client has swallowed it, as
            ``asyncio.wait_for``, which it sends with, may do on Python 3.11.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    except (RedisError, OSError) as error:
        msg = f"Redis does not answer: {error or type(error).__name__}"
        raise BackendUnavailableError(msg) from error
    if task and task.cancelling() > before:
        raise asyncio.CancelledError
