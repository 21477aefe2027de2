"""What people change about a model's alarms: mutes and thresholds, and the list of who did what, which only grows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, insert, select

from api.errors import NotFound
from api.prediction_log.alarms import AlarmAction, AlarmLog
from api.prediction_log.database import Database, microseconds, moment
from api.prediction_log.records import SOLE_MODEL
from api.prediction_log.tables import alarm_changes

MAX_LISTED = 200
"""Changes of the list that are shown, the newest ones; all of them stay in the log."""
LOOKED_BACK = timedelta(days=30)
"""Mutes that ended earlier are no longer asked for: the windows that they covered are far back."""


class ChangeAction(StrEnum):
    """What a person did."""

    MUTE = "mute"
    UNMUTE = "unmute"
    THRESHOLD = "threshold"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class AlarmChange:
    """One change. A mute is of a check, of a column, or of both together; a threshold is of one statistic."""

    id: int
    made_at: datetime
    made_by: str
    action: ChangeAction
    check: str | None
    column: str | None
    measure: str | None
    value: float | None
    until: datetime | None
    reason: str
    model_version: str | None
    undoes: int | None

    def covers(self, failed: Mapping[str, Any], start: datetime) -> bool:
        """Whether this mute is about a failed check of a window that starts then."""
        return (
            self.until is not None
            and start < self.until
            and self.check in {None, failed["check"]}
            and self.column in {None, failed.get("column")}
        )


def mute_of(mutes: Iterable[AlarmChange], failed: Mapping[str, Any], start: datetime) -> AlarmChange | None:
    """Return the mute of a failed check of a window that starts then, the longest; None where it is not muted."""
    found = [mute for mute in mutes if mute.covers(failed, start)]
    return max(found, key=lambda mute: microseconds(mute.until) if mute.until else 0, default=None)


class AlarmChanges:
    """The changes of one model. Raises LogUnavailable."""

    def __init__(self, database: Database, model_id: int = SOLE_MODEL) -> None:
        self._database = database
        self._alarms = AlarmLog(database, model_id)
        self._model_id = model_id

    def newest(self) -> list[AlarmChange]:
        """Return what was changed, newest first."""
        query = self._ours().order_by(alarm_changes.c.id.desc()).limit(MAX_LISTED)
        with self._database.reading() as connection:
            return [_change_of(row) for row in connection.execute(query)]

    def mutes(self, *, ended: bool = False) -> list[AlarmChange]:
        """Return the mutes that hold now, oldest first; with ``ended`` also those that ended a short while ago."""
        with self._database.reading() as connection:
            since = self._database.now(connection) - (LOOKED_BACK // timedelta(microseconds=1) if ended else 0)
            found = self._holding(connection, ChangeAction.MUTE, ChangeAction.UNMUTE)
        return [mute for mute in found if mute.until is not None and microseconds(mute.until) > since]

    def mute(self, who: str, check: str | None, column: str | None, until: datetime, reason: str) -> AlarmChange:
        """Mute a check, a column or both together until then."""
        with self._database.writing() as connection:
            what = {"check": check, "column": column, "until": microseconds(until)}
            return self._add(connection, ChangeAction.MUTE, who, reason, what)

    def unmute(self, who: str, mute_id: int) -> AlarmChange:
        """End a mute. Raises NotFound where no such one holds."""
        with self._database.writing() as connection:
            now = moment(self._database.now(connection))
            held = self._holding(connection, ChangeAction.MUTE, ChangeAction.UNMUTE)
            mute = next((one for one in held if one.id == mute_id and one.until is not None and one.until > now), None)
            if mute is None:
                raise NotFound(f"no mute {mute_id} holds now")
            what = {"check": mute.check, "column": mute.column, "undoes": mute.id}
            return self._add(connection, ChangeAction.UNMUTE, who, "", what)

    def thresholds(self, model_version: str) -> list[AlarmChange]:
        """Return the thresholds that people set for a version of the model, oldest first."""
        newest = self._alarms.newest(model_version)
        ids = [] if newest is None else [one["change"] for one in newest.overrides]
        with self._database.reading() as connection:
            return [_change_of(row) for row in connection.execute(self._ours().where(alarm_changes.c.id.in_(ids)))]

    def set_threshold(
        self, who: str, model_version: str, statistic: tuple[str, str | None], what: Mapping[str, Any]
    ) -> AlarmChange:
        """Set the threshold of a statistic; ``what`` has check, column, measure, value and reason."""
        changed = {name: what[name] for name in ("check", "column", "measure", "value")}
        with self._database.writing() as connection:
            newest = self._alarms.newest_in(connection, model_version)
            held = {"model_version": model_version}
            added = self._add(connection, ChangeAction.THRESHOLD, who, what["reason"], changed | held)
            name, column = statistic
            kept = [one for one in (newest.overrides if newest else []) if (one["name"], one["column"]) != statistic]
            kept.append({"name": name, "column": column, "value": what["value"], "change": added.id})
            held_so_far = (None, None) if newest is None else (newest.content, newest.reference_id)
            self._set(connection, model_version, held_so_far, kept)
        return added

    def reset_threshold(self, who: str, model_version: str, change_id: int) -> AlarmChange:
        """Let the threshold hold again that a person's replaced. Raises NotFound where no such one holds."""
        with self._database.writing() as connection:
            newest = self._alarms.newest_in(connection, model_version)
            held = [] if newest is None else newest.overrides
            kept = [one for one in held if one["change"] != change_id]
            if newest is None or kept == held:
                raise NotFound(f"no threshold {change_id} holds for version {model_version} now")
            row = connection.execute(self._ours().where(alarm_changes.c.id == change_id)).one()
            what = {name: getattr(row, name) for name in ("check", "column", "measure")}
            what |= {"undoes": change_id, "model_version": model_version}
            undone = self._add(connection, ChangeAction.RESET, who, "", what)
            self._set(connection, model_version, (newest.content, newest.reference_id), kept)
        return undone

    def _set(
        self,
        connection: Connection,
        model_version: str,
        alarms: tuple[str | None, int | None],
        overrides: list[dict[str, Any]],
    ) -> None:
        """Let these thresholds of people hold beside the alarms, and the reference, that hold so far."""
        content, reference_id = alarms
        threshold = AlarmAction.THRESHOLD
        self._alarms.add_in(
            connection, model_version, threshold, content, overrides=overrides, reference_id=reference_id
        )

    def _ours(self) -> Select[Any]:
        return select(alarm_changes).where(alarm_changes.c.model_id == self._model_id)

    def _holding(self, connection: Connection, begun: ChangeAction, undone: ChangeAction) -> list[AlarmChange]:
        taken_back = select(alarm_changes.c.undoes).where(
            and_(alarm_changes.c.model_id == self._model_id, alarm_changes.c.action == undone)
        )
        query = self._ours().where(alarm_changes.c.action == begun, alarm_changes.c.id.not_in(taken_back))
        return [_change_of(row) for row in connection.execute(query.order_by(alarm_changes.c.id))]

    def _add(
        self, connection: Connection, action: ChangeAction, who: str, reason: str, what: Mapping[str, Any]
    ) -> AlarmChange:
        row = {
            "model_id": self._model_id,
            "made_at": self._database.now(connection),
            "made_by": who,
            "action": action.value,
            "reason": reason,
            **what,
        }
        return _change_of(connection.execute(insert(alarm_changes).values(row).returning(alarm_changes)).one())


def _change_of(row: Row[Any]) -> AlarmChange:
    return AlarmChange(
        row.id,
        moment(row.made_at),
        row.made_by,
        ChangeAction(row.action),
        row.check,
        row.column,
        row.measure,
        row.value,
        None if row.until is None else moment(row.until),
        row.reason,
        row.model_version,
        row.undoes,
    )
