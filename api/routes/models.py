"""GET /models, and the card and the reload of each model; /model means the default one."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request, Response

from api.hosted_models import HostedModel, HostedModels
from api.prediction_log.records import WindowStatus
from api.problems import problem_responses
from api.schemas import LastWindow, ModelReload, Models, ModelState
from api.serving.schemas import ModelCard, task_types


def model_of_call(models: HostedModels) -> Callable[[Request], Coroutine[Any, Any, HostedModel]]:
    """Return the dependency that finds the model of a call: the one that its path names, or the default one."""

    async def find(request: Request) -> HostedModel:
        return models.find(request.path_params.get("model"))

    return find


def model_routes(models: HostedModels) -> APIRouter:
    """Build the routes. Reloading reads files, so it is a plain function, which FastAPI runs on a thread."""
    router = APIRouter(tags=["model"])
    named = Annotated[HostedModel, Depends(model_of_call(models))]

    @router.get("/models", summary="All models, and whether they serve", responses=problem_responses(503))
    def listed(request: Request) -> Models:
        return Models(models=[_state(model, models.default) for model in models.visible_to(request.scope)])

    if models.is_single:
        manifest = models.find().serving.plane.manifest
        card = task_types(manifest).card

        @router.get("/model", summary="The model's card", response_model=card)
        async def model() -> ModelCard:
            return card.model_validate(models.find().serving.plane.manifest.model_dump(mode="json"))

    else:
        router.get("/model", summary="The card of the default model", responses=problem_responses(404, 503))(
            _card(named)
        )
    router.get("/models/{model}", summary="The model's card", responses=problem_responses(503))(_card(named))

    def reload(model: named) -> ModelReload:
        done = model.reload()
        return ModelReload(
            status=done.status.value, model_version=done.model_version, previous_version=done.previous_version
        )

    for path in ("/model/reload", "/models/{model}/reload"):
        summary = "Serve the version that is in the model folder now"
        router.post(path, summary=summary, responses=problem_responses(409, 503))(reload)
    return router


def _card(named: Any) -> Callable[..., Any]:
    async def card(model: named) -> Response:
        return Response(
            orjson.dumps(model.serving.plane.manifest.model_dump(mode="json")), media_type="application/json"
        )

    return card


def _state(model: HostedModel, default: str | None) -> ModelState:
    """Return what is known of a model. Raises LogUnavailable."""
    manifest = model.manifest
    known = {
        "name": model.name,
        "version": None if manifest is None else manifest.version,
        "task": None if manifest is None else manifest.task,
        "default": model.name == default or model.installed.name is None,
        "serving": model.serves,
        "reason": model.error if model.serves else model.error or model.waits_for,
    }
    if not model.serves:
        return ModelState(**known, last_window=None, failed_checks=[])
    queries = model.monitoring.queries
    newest, posted = queries.newest(1), queries.newest(1, WindowStatus.POSTED)
    failed = dict.fromkeys(check["check"] for window in posted for check in window.failed_checks)
    last = LastWindow.model_validate(newest[0]) if newest else None
    return ModelState(**known, last_window=last, failed_checks=list(failed))
