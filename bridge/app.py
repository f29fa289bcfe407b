"""The bridge as an ASGI application; all I/O is handed in."""

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from bridge import errors
from bridge.core import Core
from bridge.documents.routes import document_routes
from bridge.health_routes import health_routes
from bridge.middleware import BodyLimit, OriginGuard, SecurityHeaders
from bridge.openai import openai_routes
from bridge.page_routes import page_routes
from bridge.query_routes import query_routes
from bridge.settings import BridgeSettings
from bridge.socket_route import socket_routes

VERSION = "1.1"


def create_app(core: Core) -> FastAPI:
    """Build the application; who built what is in ``core`` closes it."""
    app = FastAPI(
        title="ragline bridge",
        version=VERSION,
        summary="Ask questions of a ragline pipeline and see how they are answered.",
        # The interactive documentation loads its scripts from another host.
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        # A redirect would repeat whatever host the client names.
        redirect_slashes=False,
        middleware=_middleware(core.settings),
    )
    app.state.core = core
    errors.install(app)
    app.include_router(query_routes())
    app.include_router(openai_routes())
    app.include_router(document_routes())
    app.include_router(socket_routes(core))
    app.include_router(health_routes())
    app.include_router(page_routes())
    return app


def _middleware(settings: BridgeSettings) -> list[Middleware]:
    middleware = [Middleware(SecurityHeaders)]
    if settings.allowed_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.allowed_origins,
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "traceparent"],
                expose_headers=["Retry-After"],
            )
        )
    hosts = None if settings.access.required else settings.allowed_hosts
    limits = {
        "/v1/chat/": settings.max_chat_bytes,
        "/v1/responses": settings.max_chat_bytes,
        "/v1/documents": settings.max_upload_bytes,
    }

    def max_bytes(path: str) -> int:
        longer = (limit for prefix, limit in limits.items() if path.startswith(prefix))
        return next(longer, settings.max_frame_bytes)

    return [
        *middleware,
        Middleware(OriginGuard, origins=settings.allowed_origins, hosts=hosts),
        Middleware(BodyLimit, max_bytes=max_bytes, timeout_s=settings.receive_timeout_ms / 1000),
    ]
