"""Projects and snapshots made straight through the UI's storage, without its server."""

import asyncio
import json
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

USER = UUID(int=0)


def new_project(engine: Engine, name: str = "iris"):
    from evidently.ui.service.base import Project  # noqa: PLC0415 - takes seconds

    from evidently_workspace.ui.storage import project_manager  # noqa: PLC0415 - takes seconds

    manager = project_manager(engine)
    return manager, asyncio.run(manager.add_project(Project(id=uuid4(), name=name), USER)).id


def model_of(body: bytes, n: int = 0, **changed: object):
    from evidently.core.serialization import SnapshotModel  # noqa: PLC0415 - takes seconds

    snapshot = json.loads(body)
    snapshot["timestamp"] = (datetime.fromisoformat(snapshot["timestamp"]) + timedelta(days=n)).isoformat()
    return SnapshotModel.parse_obj(snapshot | changed)


def stored(engine: Engine, project: UUID) -> dict[str, int]:
    from evidently.ui.service.storage.sql import models  # noqa: PLC0415 - takes seconds

    with Session(engine) as session:
        blobs = select(func.count()).where(models.BlobSQLModel.id.startswith(str(project)))
        counts = {"blobs": session.scalar(blobs)}
        for name, table in (("snapshots", models.SnapshotSQLModel), ("points", models.PointSQLModel)):
            counts[name] = session.scalar(select(func.count()).where(table.project_id == project))
    return counts
