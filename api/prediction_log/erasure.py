"""Erasure of single predictions with their labels, for those who ask for it; the figures of windows stay.

What names an id goes too: the list of rows that carry a window's failed checks, in the log and in the window's report,
and the row's place in a reference that was drawn from the log.
Each erasure leaves a line in the process's own log: when, of which model, for whom, and the SHA-256 of the id. The line
shows that an id was erased to those who know the id, and nothing to others.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from hashlib import sha256

from sqlalchemy import Connection, delete, select

from api.prediction_log.changed_rows import forget_rows, windows_that_name
from api.prediction_log.database import Database
from api.prediction_log.models import known_models
from api.prediction_log.own_references import OwnReferences
from api.prediction_log.records import SOLE_MODEL, prediction_key, public_id
from api.prediction_log.tables import labels, predictions

logger = logging.getLogger(__name__)

Blank = Callable[[str, Collection[str]], None]
"""Takes ids out of a report, by its name in the folder of reports; it may be called again."""


def erase(database: Database, ids: Sequence[str], *, by: str, model_id: int = SOLE_MODEL) -> list[str]:
    """Remove predictions of a model with their labels, and return the ids of those that were there.

    ``ids`` are up to a few hundred, as callers know them. ``by`` says for whom. The ids are free again; windows may
    still name them, see `erase_mentions`. Raises LogUnavailable; then the rest may still be there, and it may be called
    again.
    """
    keys = [prediction_key(model_id, one) for one in ids]
    there = select(predictions.c.id).where(predictions.c.id.in_(keys), predictions.c.model_id == model_id)
    with database.writing() as connection:
        # to wait here for a row whose label is being stored, with others locked, may end in a deadlock
        gone = _remove(connection, connection.execute(there.with_for_update(skip_locked=True)).scalars().all())
        left = [] if database.is_sqlite else connection.execute(there).scalars().all()
    for key in left:
        with database.writing() as connection:
            gone += _remove(connection, [key])
    if not database.is_sqlite:
        _remove_lone_labels(database, keys, model_id)
    found = [public_id(key) for key in gone]
    _say("erased the prediction of %s whose id has the SHA-256 %s, for %s", database, found, by, model_id)
    return found


def erase_mentions(
    database: Database, ids: Collection[str], *, by: str, blank: Blank, model_id: int = SOLE_MODEL
) -> set[str]:
    """Remove ids from the lists of rows of a model's windows and of their reports, and their rows from its references.

    Return the ids that were there. To be called once the rows are erased, and again after an error. It looks through
    the lists of all windows. Raises LogUnavailable, or OSError where ``blank`` does.
    """
    found = OwnReferences(database, model_id).forget(ids)
    for window in windows_that_name(database, model_id, ids):
        if window.report_file is not None:  # first, as the record says which report names the id
            blank(window.report_file, window.ids)
        forget_rows(database, model_id, window.start, window.ids)
        found |= window.ids
    line = "the windows and references of %s name the id no more that has the SHA-256 %s, for %s"
    _say(line, database, found, by, model_id)
    return found


def digest(prediction_id: str) -> str:
    """Return the SHA-256 of an id as the audit line shows it."""
    return sha256(prediction_id.encode()).hexdigest()


def _remove(connection: Connection, keys: Sequence[str]) -> list[str]:
    """Remove rows and then their labels, of which no more can come; return the keys of those that were there."""
    gone = delete(predictions).where(predictions.c.id.in_(keys)).returning(predictions.c.id)
    found = list(connection.execute(gone).scalars())
    connection.execute(delete(labels).where(labels.c.prediction_id.in_(found)))
    return found


def _remove_lone_labels(database: Database, keys: Sequence[str], model_id: int) -> None:
    """Remove labels without a prediction: an older version beside this one relied on a foreign key, which is gone."""
    predicted = select(predictions.c.id).where(predictions.c.id == labels.c.prediction_id).exists()
    ours = labels.c.prediction_id.in_(keys), labels.c.model_id == model_id
    with database.writing() as connection:
        connection.execute(delete(labels).where(*ours, ~predicted))


def _say(line: str, database: Database, found: Collection[str], by: str, model_id: int) -> None:
    """Log the line of each id. Raises LogUnavailable."""
    if not found:
        return
    model = next((f"the model {name}" for name, one in known_models(database).items() if one == model_id), "the model")
    for one in sorted(found):
        logger.info(line, model, digest(one), by)
