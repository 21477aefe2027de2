"""GET /health/live and /health/ready."""

import asyncio

from fastapi import APIRouter

from api.errors import LogUnavailable
from api.problems import problem_responses
from api.schemas import Health
from api.serving.data_plane import DataPlane

MAX_CHECK_SECONDS = 5.0


async def check_ready(plane: DataPlane) -> None:
    """Return if the log can be written within `MAX_CHECK_SECONDS`. Raises LogUnavailable."""
    try:
        await asyncio.wait_for(plane.check(), MAX_CHECK_SECONDS)
    except TimeoutError:
        raise LogUnavailable(f"the prediction log took longer than {MAX_CHECK_SECONDS:g} s to commit") from None


def health_routes(plane: DataPlane) -> APIRouter:
    """Build the routes."""
    router = APIRouter()

    @router.get("/health/live", tags=["health"], summary="Is the process alive?")
    async def live() -> Health:
        return Health(status="alive")

    @router.get(
        "/health/ready",
        tags=["health"],
        summary="Is the model loaded and the log writable?",
        responses=problem_responses(503),
    )
    async def ready() -> Health:
        await check_ready(plane)
        return Health(status="ready")

    return router
