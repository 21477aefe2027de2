"""GET /health/live and /health/ready."""

import asyncio

from fastapi import APIRouter

from api.errors import LogUnavailable, ModelDisabled
from api.hosted_models import HostedModels
from api.prediction_log.writer import LogWriter
from api.problems import problem_responses
from api.schemas import Health

MAX_CHECK_SECONDS = 5.0


async def check_ready(writer: LogWriter) -> None:
    """Return if the log can be written within `MAX_CHECK_SECONDS`. Raises LogUnavailable."""
    try:
        await asyncio.wait_for(writer.check(), MAX_CHECK_SECONDS)
    except TimeoutError:
        raise LogUnavailable(f"the prediction log took longer than {MAX_CHECK_SECONDS:g} s to commit") from None


def health_routes(writer: LogWriter, models: HostedModels) -> APIRouter:
    """Build the routes."""
    router = APIRouter()

    @router.get("/health/live", tags=["health"], summary="Is the process alive?")
    async def live() -> Health:
        return Health(status="alive")

    @router.get(
        "/health/ready",
        tags=["health"],
        summary="Is a model loaded and the log writable?",
        responses=problem_responses(503),
    )
    async def ready() -> Health:
        await check_ready(writer)  # first: no model of several is open before the log is
        if not models.serving():
            raise ModelDisabled("none of the models can serve; GET /models says why")
        return Health(status="ready")

    return router
