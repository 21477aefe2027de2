"""The FastAPI app: its routes and middleware around what `api.wiring` puts together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from prometheus_client import CollectorRegistry

from api import __version__
from api.middleware.admission import Admission
from api.middleware.auth import install_security
from api.middleware.body_limit import BodyLimit
from api.middleware.headers import PathPrefix, PlainRouting
from api.middleware.request_metrics import measure_requests, show_routes_from_zero
from api.prediction_log.erasure import erase_one
from api.problems import install_problem_handlers
from api.routes.health import health_routes
from api.routes.models import model_routes
from api.routes.pages import documentation_routes, landing_routes
from api.routes.predictions import erasure_routes, install_openapi, prediction_routes
from api.routes.snapshots import snapshot_routes
from api.settings import Settings
from api.wiring import Runtime, build_runtime
from model.serving.predictor import AnyPredictor

DESCRIPTION = "Every prediction is logged before it is answered, and watched. Send its label when you know it."


def create_app(settings: Settings, registry: CollectorRegistry | None = None) -> FastAPI:
    """Build the API for the model in ``settings.model_dir``.

    Only the model is read before the app starts: the request types follow its schema. Raises
    model.errors.ArtifactError where there is no valid model, BadKeys where the API keys cannot be read.
    """
    runtime = build_runtime(settings, registry or CollectorRegistry())
    manifest = runtime.predictor.manifest
    app: FastAPI = FastAPIOffline(
        title=f"Vigie: {manifest.name}",
        version=manifest.version,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # the address would be built from whatever host name the caller sent
        # first: found at the least cost
        routes=prediction_routes(runtime.serving.plane, settings.max_batch_rows, settings.max_body_bytes),
        lifespan=_lifespan(runtime),
    )
    _add_middleware(app, settings, runtime)
    _add_routes(app, settings, runtime)
    _follow_the_model(runtime)
    return app


def _lifespan(runtime: Runtime):  # type: ignore[no-untyped-def] # Starlette's own alias is invariant
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        runtime.start()
        try:
            yield
        finally:
            await runtime.stop()

    return lifespan


def _add_middleware(app: FastAPI, settings: Settings, runtime: Runtime) -> None:
    metrics = runtime.metrics

    def refuse(reason: str) -> None:
        runtime.serving.writer.count_rejection(metrics.reject(reason))

    install_openapi(app, runtime.serving.plane, settings.max_batch_rows, settings.path_prefix)
    install_problem_handlers(app, refuse)
    app.add_middleware(PlainRouting)  # innermost, right around the routes
    app.add_middleware(
        BodyLimit, max_bytes=settings.max_body_bytes, max_seconds=settings.body_timeout_seconds, refuse=refuse
    )
    app.add_middleware(
        Admission, max_requests=settings.max_requests_in_progress, max_body_bytes=settings.max_body_bytes
    )
    install_security(app, settings, metrics)
    measure_requests(app, metrics)  # outside of the others, so that what is refused above is measured too
    if settings.path_prefix:
        app.add_middleware(PathPrefix, prefix=settings.path_prefix)


def _add_routes(app: FastAPI, settings: Settings, runtime: Runtime) -> None:
    plane, queries, status = runtime.serving.plane, runtime.monitoring.queries, runtime.monitoring.status
    app.include_router(health_routes(plane))
    app.include_router(model_routes(plane, runtime.serving.reloader))
    app.include_router(erasure_routes(partial(erase_one, runtime.database, plane.model_id)))
    app.include_router(snapshot_routes(plane, queries, settings.public_url))
    app.include_router(
        landing_routes(
            plane,
            queries,
            settings.grafana_url,
            lambda: status.evidently_up,
            shared_project=settings.evidently_share_project,
        )
    )
    app.include_router(documentation_routes(app.title))
    show_routes_from_zero(app, runtime.metrics)


def _follow_the_model(runtime: Runtime) -> None:
    """Have metrics and alerts describe the version that serves."""

    def show(shown: AnyPredictor) -> None:
        runtime.metrics.describe_model(__version__, shown.manifest.name, shown.manifest.version, shown.engine)
        runtime.monitoring.notifier.follow(shown.manifest.version)

    show(runtime.predictor)
    runtime.serving.served.on_change(show)
