"""A log with finished windows, some of which failed checks."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert

from api.prediction_log.database import Database, microseconds
from api.prediction_log.records import WindowStatus, WindowValue
from api.prediction_log.tables import windows
from api.prediction_log.windows import WindowStore

STEP = timedelta(minutes=5)
FAILED = [{"check": "data_drift", "column": "petal_length", "value": 0.8, "threshold": 0.4}]


class Windows:
    """Adds finished windows to a log, each after the one before."""

    def __init__(self, database: Database, first: int = 0, model_version: str = "v1") -> None:
        self._database = database
        self._model_version = model_version
        self._store = WindowStore(database)
        self._next = datetime(2026, 11, 23, 12, 0, tzinfo=UTC) + first * STEP

    def add(
        self,
        *,
        failed: bool | list[dict[str, Any]],
        measured: str | tuple[str, ...] | None = "data_drift",
        status: WindowStatus = WindowStatus.POSTED,
        model_version: str | None = None,
        not_computed: tuple[str, ...] = (),
    ) -> None:
        """Add one; ``failed`` says whether it failed, or has the checks that it failed."""
        failures = failed if isinstance(failed, list) else FAILED if failed else []
        row: dict[str, Any] = {"start": microseconds(self._next), "end": microseconds(self._next + STEP), "tries": 1}
        row |= {
            "status": WindowStatus.RUNNING,
            "failed_checks": failures,
            "not_computed": list(not_computed),
        }
        with self._database.writing() as connection:
            connection.execute(insert(windows).values(row | {"model_version": model_version or self._model_version}))
        names = (measured,) if isinstance(measured, str) else measured or ()
        values = [WindowValue(name, "petal_length", 0.1) for name in names]
        assert self._store.finish(self._store.newest(1)[0], values, {"status": status})
        self._next += STEP
