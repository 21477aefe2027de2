"""The OpenAPI schema: the calls of each model follow its own fields and labels, and are grouped under its name."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from api.hosted_models import HostedModels
from api.routes.predictions import documented_routes

OF_MODEL = "/models/{model}"


def install_openapi(app: FastAPI, models: HostedModels, max_rows: int, path_prefix: str = "") -> None:
    """Make the OpenAPI schema follow the model versions that serve; call it before `install_security`."""
    built: dict[tuple[str | None, ...], dict[str, Any]] = {}

    def openapi() -> dict[str, Any]:
        versions = tuple(None if model.manifest is None else model.manifest.version for model in models)
        if versions not in built:
            built.clear()
            built[versions] = _build(app, models, max_rows, path_prefix)
        return built[versions]

    app.openapi = openapi  # type: ignore[method-assign] # as FastAPI documents it


def _build(app: FastAPI, models: HostedModels, max_rows: int, path_prefix: str) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title,
        version=app.version if not models.is_single else _version(models),
        description=app.description,
        routes=[*_typed_routes(models, max_rows), *app.routes],
        servers=[{"url": path_prefix}] if path_prefix else None,
    )
    general = {path: calls for path, calls in schema["paths"].items() if not path.startswith(OF_MODEL)}
    if models.default is None and not models.is_single:
        general = {path: calls for path, calls in general.items() if not _means_the_default(path)}
    schema["paths"] = general if models.is_single else general | _of_each(models, schema["paths"])
    if not models.is_single:
        schema["tags"] = [{"name": name, "description": f"The model {name}."} for name in models.names]
    return schema


def _version(models: HostedModels) -> str:
    manifest = models.find().manifest
    return "" if manifest is None else manifest.version


def _typed_routes(models: HostedModels, max_rows: int) -> list[BaseRoute]:
    """Describe the calls whose types follow a model: of each one under its name, and of the default one without."""
    found: list[BaseRoute] = []
    for model in models:
        manifest = model.manifest
        if manifest is None:
            continue
        if model.name == models.default:
            found += documented_routes(manifest, max_rows)
        if not models.is_single:
            found += documented_routes(manifest, max_rows, model.name)
    return found


def _means_the_default(path: str) -> bool:
    return path == "/model" or path.startswith(("/model/", "/snapshots"))


def _of_each(models: HostedModels, paths: dict[str, Any]) -> dict[str, Any]:
    """Return the calls that are the same for all models, under the name of each."""
    return {
        path.replace("{model}", model.name, 1): {method: _named(call, model.name) for method, call in calls.items()}
        for model in models
        for path, calls in paths.items()
        if path.startswith(OF_MODEL)
    }


def _named(call: dict[str, Any], model: str) -> dict[str, Any]:
    return {**call, "tags": [model], "operationId": f"{call['operationId']}_{model}"}
