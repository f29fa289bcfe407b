"""The API that OpenAI's clients speak: models, chat completions, responses."""

from fastapi import APIRouter

from bridge.openai.chat import chat_routes
from bridge.openai.models import model_routes
from bridge.openai.responses import response_routes


def openai_routes() -> APIRouter:
    """Routes of the whole API."""
    router = APIRouter()
    for routes in (model_routes(), chat_routes(), response_routes()):
        router.include_router(routes)
    return router
