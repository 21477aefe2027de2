"""What was told to whom: for each model and address the alerts that it knows of, and when it may be tried again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from api.errors import LogUnavailable
from api.prediction_log.database import Database, microseconds, moment
from api.prediction_log.lease import Lease
from api.prediction_log.records import SOLE_MODEL
from api.prediction_log.tables import notifications

SENDING = timedelta(minutes=2)
"""Nobody else sends to an address for so long after one has begun to; where that one died, the next one sends then."""
MAX_WAIT = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class KnownAlert:
    """An alert that an address was told of; ``told`` is false while it could only be tried."""

    fired_at: datetime
    model_version: str
    told: bool


@dataclass(frozen=True, slots=True)
class NotificationState:
    """What an address knows of a model's alerts, by check. ``error`` says why the newest message was not accepted."""

    address: str
    service: str
    known: Mapping[str, KnownAlert]
    told_at: datetime | None
    changes: int
    tries: int
    retry_at: datetime | None
    error: str | None


class NotificationStore:
    """The notifications of one model. Raises LogUnavailable."""

    def __init__(self, database: Database, model_id: int = SOLE_MODEL) -> None:
        self._database = database
        self._model_id = model_id

    def state(self, address: str, service: str) -> tuple[NotificationState, datetime]:
        """Return what an address knows, and the time by the log's clock."""
        with self._database.reading() as connection:
            now = moment(self._database.now(connection))
            row = connection.execute(select(notifications).where(self._of(address))).first()
        if row is None:
            return NotificationState(address, service, {}, None, 0, 0, None, None), now
        return _state_of(row), now

    def states(self) -> list[NotificationState]:
        """Return what each address knows of the model."""
        query = select(notifications).where(notifications.c.model_id == self._model_id)
        with self._database.reading() as connection:
            return [_state_of(row) for row in connection.execute(query.order_by(notifications.c.address))]

    def claim(self, state: NotificationState, lease: Lease) -> NotificationState | None:
        """Return the state in which a message may be sent; None where another process was faster or has the lease.

        Until the outcome is recorded, or `SENDING` is over, no process sends to this address.
        """
        try:
            with self._database.writing() as connection:
                if not lease.holds(connection):
                    return None
                until = moment(self._database.now(connection)) + SENDING
                claimed = replace(state, changes=state.changes + 1, tries=state.tries + 1, retry_at=until)
                if state.changes == 0:
                    connection.execute(insert(notifications).values(self._row(claimed)))
                    return claimed
                return claimed if self._replace(connection, state, claimed) else None
        except LogUnavailable as error:
            if isinstance(error.__cause__, IntegrityError):
                return None  # two processes inserted the first row at once, and the other one was first
            raise

    def record(
        self, claimed: NotificationState, known: Mapping[str, KnownAlert], error: str | None, wait: timedelta
    ) -> None:
        """Record the outcome of a message: what the address knows now, or why it was not accepted and how long to wait.

        Nothing is recorded where another process took over meanwhile.
        """
        with self._database.writing() as connection:
            now = moment(self._database.now(connection))
            done = replace(claimed, known=known, changes=claimed.changes + 1, error=error)
            if error is None:
                done = replace(done, told_at=now, tries=0, retry_at=None)
            else:
                done = replace(done, retry_at=now + wait)
            self._replace(connection, claimed, done)

    def forget_others(self, addresses: Iterable[str]) -> None:
        """Remove what is known of addresses that are not among these."""
        others = and_(notifications.c.model_id == self._model_id, notifications.c.address.not_in(list(addresses)))
        with self._database.reading() as connection:
            if connection.execute(select(notifications.c.address).where(others).limit(1)).first() is None:
                return
        with self._database.writing() as connection:
            connection.execute(delete(notifications).where(others))

    def _replace(self, connection: Any, before: NotificationState, after: NotificationState) -> bool:
        unchanged = and_(self._of(before.address), notifications.c.changes == before.changes)
        return bool(connection.execute(update(notifications).where(unchanged).values(self._row(after))).rowcount)

    def _of(self, address: str) -> ColumnElement[bool]:
        return and_(notifications.c.model_id == self._model_id, notifications.c.address == address)

    def _row(self, state: NotificationState) -> dict[str, Any]:
        known = {
            check: {
                "fired_at": microseconds(alert.fired_at),
                "model_version": alert.model_version,
                "told": alert.told,
            }
            for check, alert in state.known.items()
        }
        return {
            "model_id": self._model_id,
            "address": state.address,
            "service": state.service,
            "known": known,
            "told_at": None if state.told_at is None else microseconds(state.told_at),
            "changes": state.changes,
            "tries": state.tries,
            "retry_at": None if state.retry_at is None else microseconds(state.retry_at),
            "error": state.error,
        }


def may_send(state: NotificationState, now: datetime) -> bool:
    """Whether the wait of an address is over; one that is longer than any wait was set while a clock was wrong."""
    return state.retry_at is None or not timedelta(0) < state.retry_at - now <= 2 * MAX_WAIT


def _state_of(row: Row[Any]) -> NotificationState:
    known = {
        check: KnownAlert(moment(alert["fired_at"]), alert["model_version"], alert["told"])
        for check, alert in row.known.items()
    }
    told_at, retry_at = (None if stamp is None else moment(stamp) for stamp in (row.told_at, row.retry_at))
    return NotificationState(row.address, row.service, known, told_at, row.changes, row.tries, retry_at, row.error)
