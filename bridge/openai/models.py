"""``/v1/models``: what may be asked for.

Source: OpenAI API reference, "List models" and "Retrieve model".
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request

from bridge.access import Asker
from bridge.core import Core
from bridge.openai.errors import OpenAIRoute, documented, unknown_model
from schemas.values import Value


class Model(Value):
    """A model. When it was made nobody here knows, so ``created`` is 0."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "ragline"


class ModelList(Value):
    """All models, the default first."""

    object: Literal["list"] = "list"
    data: tuple[Model, ...]


def model_routes() -> APIRouter:
    """Routes under ``/v1/models``."""
    router = APIRouter(prefix="/v1/models", tags=["openai"], route_class=OpenAIRoute)

    @router.get("", summary="List the models", responses=documented(422))
    async def list_models(request: Request, principal: Asker) -> ModelList:
        """OpenAI's list of models."""
        core: Core = request.app.state.core
        await core.allow(principal)
        return ModelList(data=tuple(Model(id=model) for model in core.models))

    # Names of models from a hub have a slash.
    @router.get("/{model:path}", summary="See a model", responses=documented(404, 422))
    async def see_model(
        request: Request, principal: Asker, model: Annotated[str, Path(min_length=1, max_length=200)]
    ) -> Model:
        """OpenAI's model."""
        core: Core = request.app.state.core
        await core.allow(principal)
        if model not in core.models:
            raise unknown_model(model)
        return Model(id=model)

    return router
