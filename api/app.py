"""The FastAPI app: its routes and middleware around what `api.wiring` puts together."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import chain, repeat

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from prometheus_client import CollectorRegistry
from starlette.types import Scope

from api import __version__
from api.errors import LogUnavailable
from api.middleware.admission import Admission
from api.middleware.auth import install_security
from api.middleware.body_limit import BodyLimit
from api.middleware.headers import PathPrefix, PlainRouting
from api.middleware.request_metrics import measure_requests, show_routes_from_zero
from api.problems import Refuse, install_problem_handlers
from api.routes.alarms import alarm_routes
from api.routes.health import health_routes
from api.routes.models import model_routes
from api.routes.openapi import install_openapi
from api.routes.pages import documentation_routes, landing_routes
from api.routes.predictions import OF_MODEL, erasure_routes, prediction_routes
from api.routes.snapshots import report_routes, snapshot_routes
from api.settings import Settings
from api.wiring import Runtime, build_runtime

logger = logging.getLogger(__name__)

OPENING_PAUSES_SECONDS = (1.0, 2.0, 5.0)
"""Between the attempts to open a log on PostgreSQL that is away; the last one is repeated."""
DESCRIPTION = "Every prediction is logged before it is answered, and watched. Send its label when you know it."


def create_app(settings: Settings, registry: CollectorRegistry | None = None) -> FastAPI:
    """Build the API for the model in ``settings.model_dir``, or the models in ``settings.models_dir``.

    Only the models are read before the app starts: the request types follow their schemas. Raises
    model.errors.ArtifactError where there is no valid model, BadKeys where the API keys cannot be read, BadAddresses
    where an address for notifications cannot be used.
    """
    runtime = build_runtime(settings, registry or CollectorRegistry())
    manifest = runtime.models.find().manifest if runtime.models.is_single else None
    app: FastAPI = FastAPIOffline(
        title="Vigie" if manifest is None else f"Vigie: {manifest.name}",
        version=__version__ if manifest is None else manifest.version,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # the address would be built from whatever host name the caller sent
        # first: found at the least cost
        routes=prediction_routes(runtime.models, settings.max_batch_rows, settings.max_body_bytes),
        lifespan=_lifespan(runtime),
    )
    _add_middleware(app, settings, runtime)
    _add_routes(app, settings, runtime)
    return app


def _lifespan(runtime: Runtime):  # type: ignore[no-untyped-def] # Starlette's own alias is invariant
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        stopping = asyncio.Event()
        opening = None
        try:
            runtime.start()
        except LogUnavailable as error:
            if runtime.database.is_sqlite:
                raise
            opening = asyncio.create_task(_open_later(runtime, error, stopping))
        try:
            yield
        finally:
            stopping.set()
            if opening is not None:
                await opening
            await runtime.stop()

    return lifespan


async def _open_later(runtime: Runtime, error: Exception, stopping: asyncio.Event) -> None:
    """Start the runtime once its database can be used, and say every few seconds what it waits for."""
    for seconds in chain(OPENING_PAUSES_SECONDS, repeat(OPENING_PAUSES_SECONDS[-1])):
        reason = " ".join(str(error).split())
        runtime.writer.refuse(reason)
        logger.warning("the API is not ready, and tries again in %g s: %s", seconds, reason)
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), seconds)
            return
        try:
            await asyncio.to_thread(runtime.start)
        except Exception as again:
            if not isinstance(again, LogUnavailable):
                logger.exception("the prediction log answers, but the API cannot use it")
            error = again
        else:
            logger.info("the prediction log answers, and the API is ready")
            return


def _refuse(runtime: Runtime) -> Refuse:
    """Return what counts a refused request, for the model that it is for."""

    def refuse(reason: str, scope: Scope) -> None:
        model = runtime.models.of_call(scope)
        if model is None or model.model_id is None:
            runtime.metrics.reject(reason)
        else:
            runtime.writer.count_rejection(model.metrics.reject(reason), model.model_id)

    return refuse


def _add_middleware(app: FastAPI, settings: Settings, runtime: Runtime) -> None:
    metrics, models, refuse = runtime.metrics, runtime.models, _refuse(runtime)
    install_openapi(app, models, settings.max_batch_rows, settings.path_prefix)
    install_problem_handlers(app, refuse)
    app.add_middleware(PlainRouting)  # innermost, right around the routes
    app.add_middleware(
        Admission, max_requests=settings.max_requests_in_progress, max_body_bytes=settings.max_body_bytes
    )
    app.add_middleware(  # outside of admission, so that what it reads of a body to discard it does not count
        BodyLimit, max_bytes=settings.max_body_bytes, max_seconds=settings.body_timeout_seconds, refuse=refuse
    )
    install_security(app, settings, metrics, models)
    measure_requests(app, metrics, models.names)  # outside of the others, so that what is refused above is measured too
    if settings.path_prefix:
        app.add_middleware(PathPrefix, prefix=settings.path_prefix)


def _add_routes(app: FastAPI, settings: Settings, runtime: Runtime) -> None:
    models, status = runtime.models, runtime.status
    snapshots = snapshot_routes(models, settings.public_url)
    app.include_router(health_routes(runtime.writer, models))
    app.include_router(model_routes(models))
    erasure = erasure_routes(models, runtime.database, settings.reports_dir)
    app.include_router(erasure)
    app.include_router(erasure, prefix=OF_MODEL)
    app.include_router(snapshots)
    app.include_router(snapshots, prefix=OF_MODEL)
    alarms = alarm_routes(models)
    app.include_router(alarms)
    app.include_router(alarms, prefix=OF_MODEL)
    app.include_router(report_routes(settings.reports_dir))
    app.include_router(landing_routes(settings, runtime.writer, models, lambda: status.evidently_up))
    app.include_router(documentation_routes(app.title))
    show_routes_from_zero(app, runtime.metrics)
