"""Builds Evidently UI from its components: SQL storage, the secret, the size limit, no telemetry."""

import json
import logging
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from evidently._pydantic_compat import SecretStr
from evidently.ui.service import app as evidently_app
from evidently.ui.service.components.base import AppBuilder, ComponentContext
from evidently.ui.service.components.dashboard import DashboardComponent
from evidently.ui.service.components.security import NoSecurityComponent, TokenSecurityComponent
from evidently.ui.service.components.telemetry import TelemetryComponent
from evidently.ui.service.errors import EvidentlyServiceError
from evidently.ui.service.local_service import LitestarComponent, LocalConfig, LocalServiceComponent
from litestar import Litestar
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send
from sqlalchemy.exc import SQLAlchemyError

from evidently_workspace.ui.database import TunedDatabaseComponent, prepare_folder, prepare_tables
from evidently_workspace.ui.frontend import frontend
from evidently_workspace.ui.maintenance import Maintenance
from evidently_workspace.ui.options import HOSTS_VARIABLE
from evidently_workspace.ui.storage import WholeStorageComponent
from evidently_workspace.ui.web_origin import WITHOUT_EFFECT, WebOrigin

logger = logging.getLogger(__name__)


JUDGES = "/llm_judges"
HEALTH = "/api/version"
MAX_BODY_BYTES = 64 * 1024 * 1024
"""Largest snapshot that the UI accepts. Evidently's default of 10 MB is too small for hundreds of columns."""


def create_app(database_url: str, secret: str | None, panel_points: int) -> Litestar:
    """Return Evidently's application on the database. Raises ValueError for an address that cannot be used."""
    app: Litestar = evidently_app.create_app(local_config(database_url, secret, panel_points))
    return app


def create_maintenance(database_url: str, figures_days: float) -> Maintenance:
    """Return the maintenance of the database; figures are removed after so many days (0: never)."""
    engine = TunedDatabaseComponent(url=database_url).get_engine()
    return Maintenance(engine, timedelta(days=figures_days) if figures_days else None)


def local_config(database_url: str, secret: str | None, panel_points: int) -> LocalConfig:
    """Migrate the tables of the database, and return the configuration of a UI on it.

    With a secret, only reads are open; without one, anybody who reaches the port may write. Raises ValueError when
    the database cannot be used.
    """
    prepare_folder(database_url)
    database = TunedDatabaseComponent(url=database_url)
    try:
        prepare_tables(database.get_engine())
    except (SQLAlchemyError, ImportError) as error:
        raise ValueError(f"cannot use the database: {str(error).splitlines()[0]}") from error
    return LocalConfig(
        storage=WholeStorageComponent(panel_points=panel_points),
        dashboard=DashboardComponent(storage_type="sql"),
        security=TokenSecurityComponent(token=SecretStr(secret)) if secret else NoSecurityComponent(),
        service=LoggedServiceComponent(),
        telemetry=TelemetryComponent(enabled=False),
        litestar=LitestarComponent(request_max_body_size=MAX_BODY_BYTES),
        additional_components={"database": database},
    )


class LoggedServiceComponent(LocalServiceComponent):  # type: ignore[misc]  # Evidently ships no types
    """Evidently's service, with the traceback of every failure in the log, and our changes to its pages."""

    def get_api_route_handlers(self, ctx: ComponentContext) -> list[Any]:
        """Return the routes of Evidently's API but for its judges, which render any template without the secret."""
        return [route for route in super().get_api_route_handlers(ctx) if getattr(route, "path", "") != JUDGES]

    def get_route_handlers(self, _ctx: ComponentContext) -> list[Any]:
        """Return the routes of Evidently's pages, some of them changed."""
        return frontend()

    def apply(self, ctx: ComponentContext, builder: AppBuilder) -> None:
        """Add the logging to what Evidently configures, and leave out its page /schema, which loads foreign scripts."""
        super().apply(ctx, builder)
        builder.kwargs["openapi_config"] = None
        builder.kwargs["after_exception"] = [_log_failure]


class OriginGuard:
    """ASGI middleware: refuses unknown host names (421), and foreign pages that would change something (403)."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; the path of health checks may use any host name."""
        refusal = self._check(scope) if scope["type"] == "http" and scope["path"] != HEALTH else None
        if refusal is None:
            await self._app(scope, receive, send)
            return
        status, reason = refusal
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": int(status), "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps({"detail": reason}).encode(), "more_body": False})

    def _check(self, scope: HTTPScope) -> tuple[HTTPStatus, str] | None:
        request = WebOrigin.of(scope["headers"])
        if self._hosts is not None and request.host_name not in self._hosts:
            return HTTPStatus.MISDIRECTED_REQUEST, f"this host name is not one of {HOSTS_VARIABLE}"
        if scope["method"] not in WITHOUT_EFFECT and request.is_foreign(frozenset()):
            return HTTPStatus.FORBIDDEN, "a page of another origin may not make this call"
        return None


async def _log_failure(error: Exception, scope: Scope) -> None:
    # "Not found" and "no permission" are answers, not failures.
    is_answer = isinstance(error, EvidentlyServiceError) or (
        isinstance(error, HTTPException) and error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR
    )
    if not is_answer:
        logger.error("%s %s failed", scope.get("method"), scope.get("path"), exc_info=error)
