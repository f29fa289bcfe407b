"""Whether the bridge lives, can serve, and how its parts do."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, Response

from backends.errors import BackendUnavailableError
from bridge.access import Admin
from bridge.core import Core


def health_routes() -> APIRouter:
    """``/livez``, ``/readyz``, ``/healthz`` and ``/metrics``."""
    router = APIRouter(include_in_schema=False)

    @router.get("/livez")
    async def livez() -> Response:
        return Response("alive\n", media_type="text/plain")

    @router.get("/readyz")
    async def readyz(request: Request) -> Response:
        parts = await _parts(_core(request))
        reasons = [str(part["reason"]) for part in parts.values() if "reason" in part]
        if reasons:
            return JSONResponse({"status": "not ready", "reason": " ".join(reasons)}, status_code=503)
        return JSONResponse({"status": "ready"})

    @router.get("/healthz")
    async def healthz(request: Request) -> Response:
        """Part by part: whether it answers, and in how many milliseconds."""
        parts = await _parts(_core(request))
        healthy = not any("reason" in part for part in parts.values())
        return JSONResponse(
            {"status": "healthy" if healthy else "unhealthy", "parts": parts}, status_code=200 if healthy else 503
        )

    @router.get("/metrics")
    async def show_metrics(request: Request, _: Admin) -> Response:
        return Response(generate_latest(_core(request).metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return router


def _core(request: Request) -> Core:
    core: Core = request.app.state.core
    return core


async def _parts(core: Core) -> dict[str, dict[str, object]]:
    async def live_view() -> None:
        await core.live_view.last("healthz")

    async def keys() -> None:
        if not core.access.is_ready:
            raise BackendUnavailableError("The API keys have not been read yet.")

    async def draining() -> None:
        if core.draining.is_set():
            raise BackendUnavailableError("This bridge is about to stop.")

    checks = {"kafka": core.publisher.check, "live_view": live_view, "keys": keys, "bridge": draining}
    results = await asyncio.gather(*map(_checked, checks.values()))
    return dict(zip(checks, results, strict=True))


async def _checked(check: Callable[[], Awaitable[None]]) -> dict[str, object]:
    started = time.monotonic()
    try:
        await check()
    except BackendUnavailableError as error:
        return {"ok": False, "reason": str(error)}
    return {"ok": True, "ms": round((time.monotonic() - started) * 1000, 1)}
