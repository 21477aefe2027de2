"""The OpenAPI schema: the calls of each model follow its own fields and labels, and are grouped under its name."""

from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from api.hosted_models import HostedModels
from api.routes.predictions import OF_MODEL, documented_log, documented_routes

REFERENCE = b'"#/components/schemas/'


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
    default = None if models.default is None else models.find().manifest
    typed = [] if default is None else list(documented_routes(default, max_rows))
    if default is not None and models.is_single:
        typed += documented_log(default, max_rows, models.names[0], "predictions")
    schema = get_openapi(
        title=app.title,
        version=default.version if models.is_single and default is not None else app.version,
        description=app.description,
        routes=[*typed, *app.routes],
        servers=[{"url": path_prefix}] if path_prefix else None,
    )
    of_all = schema["paths"]
    schema["paths"] = {path: calls for path, calls in of_all.items() if not path.startswith(OF_MODEL)}
    if models.is_single:
        return schema
    if models.default is None:
        schema["paths"] = {path: calls for path, calls in schema["paths"].items() if not _means_the_default(path)}
    schema["tags"] = [{"name": name, "description": f"The model {name}."} for name in models.names]
    for model in models:
        if model.manifest is not None:
            routes = documented_routes(model.manifest, max_rows, model.name)
            log = documented_log(model.manifest, max_rows, model.name, model.name)
            _add_typed_calls(schema, model.name, [*routes, *log])
        schema["paths"] |= _named_calls(model.name, of_all)
    return schema


def _add_typed_calls(schema: dict[str, Any], model: str, routes: Sequence[BaseRoute]) -> None:
    """Add the calls whose types follow a model; the names of its types begin with its name."""
    own = get_openapi(title="", version="", routes=routes)
    text = orjson.dumps(own).replace(REFERENCE, REFERENCE + model.encode() + b".")
    own = orjson.loads(text)
    schema["paths"] |= own["paths"]
    types = schema.setdefault("components", {}).setdefault("schemas", {})
    types |= {f"{model}.{name}": type_ for name, type_ in own["components"]["schemas"].items()}


def _means_the_default(path: str) -> bool:
    own = ("/model/", "/snapshots", "/predictions/", "/mutes", "/thresholds")
    return path == "/model" or path.startswith(own)


def _named_calls(model: str, paths: dict[str, Any]) -> dict[str, Any]:
    """Return the calls that are the same for all models, under the name of one."""
    return {
        path.replace("{model}", model, 1): {
            method: {**call, "tags": [model], "operationId": f"{call['operationId']}_{model}"}
            for method, call in calls.items()
        }
        for path, calls in paths.items()
        if path.startswith(OF_MODEL)
    }
