"""The bridge as an ASGI application; all I/O is handed in."""

from typing import Annotated

from fastapi import FastAPI, Header, Path
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocket
from uuid_utils import uuid7

from backends.errors import BackendUnavailableError
from backends.live_view import LiveView
from bridge import errors
from bridge.asking import ask
from bridge.messages import ErrorBody, QueryAcceptedBody, Question, RequestId, traceparent_or_none
from bridge.metrics import BridgeMetrics
from bridge.middleware import BodyLimit, SecurityHeaders
from bridge.page_routes import page_routes
from bridge.protocol import may_connect
from bridge.publisher import QueryPublisher
from bridge.session import Session
from bridge.settings import BridgeSettings
from bridge.summary import QuerySummary, summary

VERSION = "1.0"


def create_app(settings: BridgeSettings, queries: QueryPublisher, live_view: LiveView) -> FastAPI:
    """Build the application; who built ``queries`` and ``live_view`` closes them."""
    metrics = BridgeMetrics()
    app = FastAPI(
        title="ragline bridge",
        version=VERSION,
        summary="Ask questions of a ragline pipeline and see how they are answered.",
        # The interactive documentation loads its scripts from another host.
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        middleware=[Middleware(SecurityHeaders), Middleware(BodyLimit, max_bytes=settings.max_frame_bytes)],
    )
    errors.install(app)
    _add_queries(app, queries, live_view, metrics)
    _add_socket(app, settings, queries, live_view, metrics)
    _add_health(app, queries, live_view, metrics)
    app.include_router(page_routes())
    return app


def _add_queries(app: FastAPI, queries: QueryPublisher, live_view: LiveView, metrics: BridgeMetrics) -> None:
    @app.post(
        "/v1/queries",
        status_code=202,
        summary="Ask a question",
        responses={code: {"model": ErrorBody} for code in (400, 413, 422, 503)},
    )
    async def ask_question(
        question: Question, traceparent: Annotated[str | None, Header()] = None
    ) -> QueryAcceptedBody:
        """The answer is at `GET /v1/queries/{request_id}`. Asking again with the same `id` is answered once."""
        request_id = question.id or str(uuid7())
        try:
            await ask(request_id, question, queries, live_view, traceparent_or_none(traceparent))
        except BackendUnavailableError:
            metrics.questions.labels("http", "unavailable").inc()
            raise
        metrics.questions.labels("http", "accepted").inc()
        return QueryAcceptedBody(request_id=request_id)

    @app.get(
        "/v1/queries/{request_id}",
        summary="See what has become of a question",
        responses={code: {"model": ErrorBody} for code in (404, 422, 503)},
    )
    async def see_query(request_id: Annotated[RequestId, Path()]) -> QuerySummary:
        """The stages passed, the sources found, the answer so far, and how it ended."""
        found = summary(request_id, await live_view.read(request_id))
        if found is None:
            msg = f"Request {request_id} is not known here, or no longer."
            raise errors.NotFoundError(msg)
        return found


def _add_socket(
    app: FastAPI, settings: BridgeSettings, queries: QueryPublisher, live_view: LiveView, metrics: BridgeMetrics
) -> None:
    @app.websocket("/v1/ws")
    async def serve_socket(socket: WebSocket) -> None:
        if not may_connect(socket.headers.get("origin"), socket.headers.get("host"), settings.allowed_origins):
            await socket.close()
            return
        await Session(socket, settings, queries, live_view, metrics).run()


def _add_health(app: FastAPI, queries: QueryPublisher, live_view: LiveView, metrics: BridgeMetrics) -> None:
    @app.get("/livez", include_in_schema=False)
    async def livez() -> Response:
        return Response("alive\n", media_type="text/plain")

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        try:
            await queries.check()
            await live_view.read("readyz")
        except BackendUnavailableError as error:
            return JSONResponse({"status": "not ready", "reason": str(error)}, status_code=503)
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", include_in_schema=False)
    async def show_metrics() -> Response:
        return Response(generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
