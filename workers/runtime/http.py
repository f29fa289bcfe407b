"""A worker's HTTP page: ``/livez``, ``/readyz``, ``/metrics`` and ``/status``."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any

import orjson
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the worker has its own."""

    @contextmanager
    def capture_signals(self) -> Any:
        with nullcontext():
            yield


@asynccontextmanager
async def status_page(
    host: str,
    port: int,
    registry: CollectorRegistry,
    status: Callable[[], Mapping[str, object]],
    routes: Sequence[Route] = (),
) -> AsyncIterator[int]:
    """Serve the page while the context lasts; gives the port.

    ``status`` is called for every request; its ``ready`` decides ``/readyz``. ``routes`` are pages of the worker's own.

    Raises:
        OSError: the port is taken.
    """
    listener = socket.create_server((host, port))
    config = uvicorn.Config(_app(registry, status, routes), log_config=None, access_log=False, lifespan="off")
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task


def _app(registry: CollectorRegistry, status: Callable[[], Mapping[str, object]], routes: Sequence[Route]) -> Starlette:
    async def livez(_: Request) -> Response:
        return Response("alive\n")

    async def readyz(_: Request) -> Response:
        return Response("ready\n") if status()["ready"] else Response("not ready\n", status_code=503)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def status_json(_: Request) -> Response:
        return Response(orjson.dumps(status()), media_type="application/json")

    return Starlette(
        routes=[
            Route("/livez", livez),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            Route("/status", status_json),
            *routes,
        ]
    )
