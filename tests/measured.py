"""Measured windows in a log, as a service that has run for days has them."""

from datetime import datetime, timedelta

import numpy as np
from sqlalchemy import insert

from api.prediction_log.alarms import record_statistics
from api.prediction_log.database import Database, microseconds
from api.prediction_log.records import WindowStatus, WindowValue
from api.prediction_log.tables import windows
from model.artifact.manifest import Manifest

HOUR = timedelta(hours=1)


def post_hours(
    database: Database, manifest: Manifest, start: datetime, hours: int, *, seed: int = 0, labels: bool = True
) -> None:
    """Record posted windows of an hour whose drift follows the hour of the day."""
    rng = np.random.default_rng(seed)
    for hour in range(hours):
        begin = start + hour * HOUR
        drift = 0.6 + 0.3 * np.sin(begin.hour / 24 * 2 * np.pi) + rng.normal(0, 0.02)
        values = [WindowValue("data_drift", name, float(drift)) for name in manifest.feature_names]
        values += [WindowValue("missing_share", name, 0.0) for name in manifest.feature_names]
        values.append(WindowValue("prediction_drift", "", 0.2 + float(rng.normal(0, 0.01))))
        if labels:
            values.append(WindowValue("accuracy", "", 0.8 + float(rng.normal(0, 0.01))))
        row = {
            "start": microseconds(begin),
            "end": microseconds(begin + HOUR),
            "status": WindowStatus.POSTED,
            "rows": 100,
            "labelled_rows": 80 if labels else 0,
            "failed_checks": [],
            "not_computed": [],
            "tries": 1,
            "model_version": manifest.version,
        }
        with database.writing() as connection:
            connection.execute(insert(windows).values(row))
            record_statistics(connection, microseconds(begin), manifest.version, values)
