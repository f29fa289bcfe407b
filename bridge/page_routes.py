"""Serves the web page: its files, read once."""

import hashlib
from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

FOLDER = Path(__file__).parent / "page"
MEDIA_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


def page_routes() -> APIRouter:
    """Routes of the page."""
    router = APIRouter(include_in_schema=False)
    for file in sorted(FOLDER.iterdir()):
        path = "/" if file.name == "index.html" else f"/{file.name}"
        router.add_api_route(path, _File(file).respond, methods=["GET"], response_class=Response)
    return router


class _File:
    def __init__(self, file: Path) -> None:
        self._content = file.read_bytes()
        self._media_type = MEDIA_TYPES[file.suffix]
        self._headers = {"ETag": f'"{hashlib.sha256(self._content).hexdigest()[:32]}"', "Cache-Control": "no-cache"}

    async def respond(self, request: Request) -> Response:
        if request.headers.get("if-none-match") == self._headers["ETag"]:
            return Response(status_code=304, headers=self._headers)
        return Response(self._content, media_type=self._media_type, headers=self._headers)
