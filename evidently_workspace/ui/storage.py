"""Evidently's SQL storage, which adds and deletes each snapshot as a whole."""

import posixpath
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from evidently.core.serialization import SnapshotModel
from evidently.ui.service.errors import SnapshotNotFound
from evidently.ui.service.managers.projects import SNAPSHOTS, ProjectManager
from evidently.ui.service.storage.common import NoopAuthManager
from evidently.ui.service.storage.sql.base import _session_context_var
from evidently.ui.service.storage.sql.blob import SQLBlobStorage
from evidently.ui.service.storage.sql.components import SQLStorageComponent
from evidently.ui.service.storage.sql.dashboard import SQLDashboardManager
from evidently.ui.service.storage.sql.metadata import SQLProjectMetadataStorage
from evidently.ui.service.storage.sql.models import BlobSQLModel, PointSQLModel, ProjectSQLModel, SnapshotSQLModel
from sqlalchemy import CursorResult, Engine, delete
from sqlalchemy.orm import Session

from evidently_workspace.ui.series import FilteredDataStorage


class WholeStorageComponent(SQLStorageComponent):  # type: ignore[misc]  # Evidently ships no types
    """Evidently's storage component with the classes below; the tables must exist before."""

    class Config:
        """Keep Evidently's registry of component names from finding a second "sql"."""

        type_alias = "vigie-sql"

    panel_points: int = 0

    def project_manager_provider(self) -> Callable[..., Awaitable[ProjectManager]]:
        """Return the factory of the project manager."""
        panel_points = self.panel_points

        # Evidently chooses the argument by its name and its type.
        async def project_manager_factory(engine: Engine) -> ProjectManager:
            return project_manager(engine, panel_points)

        return project_manager_factory


def project_manager(engine: Engine, panel_points: int = 0) -> "WholeProjectManager":
    """Return the manager of the projects in the database; panels get at most that many snapshots (0: all)."""
    return WholeProjectManager(
        project_metadata=WholeMetadataStorage(engine),
        blob_storage=SQLBlobStorage(engine),
        data_storage=FilteredDataStorage(engine, panel_points),
        auth_manager=NoopAuthManager(),
        dashboard_manager=SQLDashboardManager(engine),
    )


class WholeProjectManager(ProjectManager):  # type: ignore[misc]  # Evidently ships no types
    """Evidently's project manager, which adds the three parts of a snapshot in one transaction."""

    async def add_snapshot(self, user_id: UUID, project_id: UUID, snapshot: SnapshotModel) -> UUID:
        """Add a snapshot, or nothing of it."""
        with one_transaction(self.project_metadata.engine):
            added: UUID = await super().add_snapshot(user_id, project_id, snapshot)
        return added


class WholeMetadataStorage(SQLProjectMetadataStorage):  # type: ignore[misc]  # Evidently ships no types
    """Evidently's storage of projects and snapshots, which also deletes everything that belongs to them."""

    async def delete_snapshot(self, project_id: UUID, snapshot_id: UUID) -> None:
        """Delete a snapshot with its points and its blob. Raises SnapshotNotFound where there is none, a 404."""
        with self.session as session:
            if not delete_snapshot(session, project_id, snapshot_id):
                raise SnapshotNotFound
            session.commit()

    async def delete_project(self, project_id: UUID) -> None:
        """Delete a project with all of its snapshots."""
        with self.session as session:
            session.execute(delete(BlobSQLModel).where(BlobSQLModel.id.startswith(f"{project_id}/{SNAPSHOTS}/")))
            for table in (PointSQLModel, SnapshotSQLModel):
                session.execute(delete(table).where(table.project_id == project_id))
            session.execute(delete(ProjectSQLModel).where(ProjectSQLModel.id == project_id))
            session.commit()


def delete_snapshot(session: Session, project_id: UUID, snapshot_id: UUID) -> bool:
    """Delete a snapshot's blob, points and row, and return whether there was one; does not commit."""
    session.execute(delete(BlobSQLModel).where(BlobSQLModel.id == blob_id(project_id, snapshot_id)))
    points, row = PointSQLModel, SnapshotSQLModel
    session.execute(delete(points).where(points.project_id == project_id, points.snapshot_id == snapshot_id))
    deleted = session.execute(delete(row).where(row.project_id == project_id, row.id == snapshot_id))
    return isinstance(deleted, CursorResult) and deleted.rowcount > 0


def blob_id(project_id: UUID, snapshot_id: UUID) -> str:
    """Return the id under which Evidently stores a snapshot's JSON (the `blob_path` of its row is another one)."""
    return posixpath.join(str(project_id), SNAPSHOTS, f"{snapshot_id}.json")


@contextmanager
def one_transaction(engine: Engine) -> Iterator[None]:
    """Let all of Evidently's storage inside share one transaction, committed at the end or not at all."""
    # "rollback_only": the commits that Evidently makes inside are not passed on to this transaction.
    with engine.begin() as connection, Session(connection, join_transaction_mode="rollback_only") as session:
        token = _session_context_var.set(session)
        try:
            yield
        finally:
            _session_context_var.reset(token)
