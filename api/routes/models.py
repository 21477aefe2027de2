"""GET /model and POST /model/reload."""

from fastapi import APIRouter

from api.problems import problem_responses
from api.schemas import ModelReload
from api.serving.data_plane import DataPlane
from api.serving.reload import ModelReloader
from api.serving.schemas import ModelCard, task_types


def model_routes(plane: DataPlane, reloader: ModelReloader) -> APIRouter:
    """Build the routes. Reloading reads files, so it is a plain function, which FastAPI runs on a thread."""
    router = APIRouter(tags=["model"])
    card = task_types(plane.manifest).card

    @router.get("/model", summary="The model's card", response_model=card)
    async def model() -> ModelCard:
        return card.model_validate(plane.manifest.model_dump(mode="json"))

    @router.post(
        "/model/reload",
        summary="Serve the version that is in the model folder now",
        responses=problem_responses(409, 503),
    )
    def reload() -> ModelReload:
        done = reloader.reload()
        return ModelReload(
            status=done.status.value, model_version=done.model_version, previous_version=done.previous_version
        )

    return router
