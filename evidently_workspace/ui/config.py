"""Evidently UI's components, put together in code: SQL storage, the secret, the size limit, no telemetry."""

import logging
from http import HTTPStatus
from typing import Any

from evidently._pydantic_compat import SecretStr
from evidently.ui.service.components.base import AppBuilder, ComponentContext
from evidently.ui.service.components.dashboard import DashboardComponent
from evidently.ui.service.components.security import NoSecurityComponent, TokenSecurityComponent
from evidently.ui.service.components.telemetry import TelemetryComponent
from evidently.ui.service.errors import EvidentlyServiceError
from evidently.ui.service.local_service import LitestarComponent, LocalConfig, LocalServiceComponent
from litestar.exceptions import HTTPException
from litestar.types import Scope
from sqlalchemy.exc import SQLAlchemyError

from evidently_workspace.ui.database import TunedDatabaseComponent, prepare_folder, prepare_tables
from evidently_workspace.ui.frontend import frontend
from evidently_workspace.ui.storage import WholeStorageComponent

logger = logging.getLogger(__name__)


class LoggedServiceComponent(LocalServiceComponent):  # type: ignore[misc]  # Evidently ships no types
    """Evidently's service, with the traceback of every failure in the log and a mended page."""

    def get_route_handlers(self, _ctx: ComponentContext) -> list[Any]:
        """Return Evidently's pages, some words of which are ours."""
        return frontend()

    def apply(self, ctx: ComponentContext, builder: AppBuilder) -> None:
        """Add the logging to what Evidently configures."""
        super().apply(ctx, builder)
        builder.kwargs["after_exception"] = [_log_failure]


async def _log_failure(error: Exception, scope: Scope) -> None:
    # What says "not found" or "no permission" is an answer.
    is_answer = isinstance(error, EvidentlyServiceError) or (
        isinstance(error, HTTPException) and error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR
    )
    if not is_answer:
        logger.error("%s %s failed", scope.get("method"), scope.get("path"), exc_info=error)


def local_config(database_url: str, secret: str | None, max_body_bytes: int, panel_points: int) -> LocalConfig:
    """Return the configuration of a UI on the given database, whose tables are brought up to date.

    Without a secret anybody who reaches the port may write; with one, only reads are open. Raises
    ValueError when the database cannot be used.
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
        litestar=LitestarComponent(request_max_body_size=max_body_bytes),
        additional_components={"database": database},
    )
