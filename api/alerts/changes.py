"""Mutes and thresholds as people ask for them: what is allowed, and what exactly it is about."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any

from api.errors import FieldError, PayloadError
from api.prediction_log.alarm_changes import AlarmChange, AlarmChanges
from evidently_workspace.checks import CHECKS, STATISTICS
from model.artifact.manifest import LABEL, PREDICTION, ClassifierManifest, Manifest
from model.data.cells import MAX_LABEL, may_be_segment

LONGEST_MUTE = timedelta(days=366)
MAX_REASON = 500
OWN_COLUMNS = {"prediction_drift": PREDICTION, "target_drift": LABEL}
"""The one column of a check, which need not be named."""
OF_FEATURES = frozenset({"data_drift", "data_quality"})
RECALL = "recall"


@dataclass(frozen=True, slots=True)
class AlarmEditor:
    """Changes the alarms of a model that ``manifest`` describes, for ``who``. Raises PayloadError, LogUnavailable."""

    changes: AlarmChanges
    manifest: Manifest
    who: str

    def mute(self, check: str | None, column: str | None, until: datetime, reason: str) -> AlarmChange:
        """Mute a check, a column, or both together. A segment is a column by its name, such as carrier=US."""
        until = until.replace(tzinfo=UTC) if until.tzinfo is None else until
        now = datetime.now(UTC)
        if check is None and column is None:
            raise _wrong("check", "name a check, a column, or both")
        if check is not None:
            _known("check", check, [one.name for one in CHECKS])
        if column is not None and not self._is_segment(check, column):
            _known("column", column, self._columns(), "; a segment is named as in the failed check, such as carrier=US")
        if not now < until <= now + LONGEST_MUTE:
            raise _wrong("until", f"give a time from now to {LONGEST_MUTE.days} days ahead")
        return self.changes.mute(self.who, check, column, until, _reason(reason))

    def set_threshold(
        self, check: str, column: str | None, measure: str | None, value: float, reason: str
    ) -> AlarmChange:
        """Set the threshold of a check, for its column and measure where it has several."""
        _known("check", check, list(dict.fromkeys(name for name, _ in STATISTICS)))
        measures = [one for name, one in STATISTICS if name == check and self._has(check, one)]
        measure = measures[0] if measure is None and len(measures) == 1 else measure
        if measure not in measures:
            raise _wrong("measure", f"name one of {_listed(measures)}")
        name = STATISTICS[check, measure]
        column = self._column_of(check, measure, column)
        if not isfinite(value) or value <= 0:
            raise _wrong("value", "give a number above zero")
        what = {"check": check, "column": column, "measure": measure, "value": value, "reason": _reason(reason)}
        return self.changes.set_threshold(self.who, self.manifest.version, (name, column), what)

    def _has(self, check: str, measure: str | None) -> bool:
        """Whether a check of this kind of model has the measure."""
        of_classes = isinstance(self.manifest, ClassifierManifest)
        return check not in {"concept_drift", "performance"} or of_classes == (measure in {None, "accuracy", RECALL})

    def _column_of(self, check: str, measure: str | None, column: str | None) -> str | None:
        own = OWN_COLUMNS.get(check)
        if own is not None and column in {None, own}:
            return own
        if check in OF_FEATURES:
            return _known("column", column, list(self.manifest.feature_names))
        if measure == RECALL and isinstance(self.manifest, ClassifierManifest):
            return _known("column", column, list(self.manifest.class_names))
        if column is not None:
            raise _wrong("column", f"{check} has no column {_quoted(column)}; leave it out")
        return None

    def _is_segment(self, check: str | None, column: str) -> bool:
        """Whether a column is the name of a segment, as a failed check has it: of no other check than performance."""
        fits = len(column) <= MAX_LABEL and column.isprintable() and check in {None, "performance"}
        return fits and may_be_segment(column, self.manifest.segments)

    def _columns(self) -> list[str]:
        classes = self.manifest.class_names if isinstance(self.manifest, ClassifierManifest) else ()
        return [*self.manifest.feature_names, *OWN_COLUMNS.values(), *classes]


def _known(field: str, value: str | None, allowed: list[str], hint: str = "") -> str:
    if value is None or value not in allowed:
        said = "" if value is None else f"{_quoted(value)} is not known; "
        raise _wrong(field, f"{said}name one of {_listed(allowed)}{hint}")
    return value


def _listed(allowed: list[Any]) -> str:
    shown = [str(one) for one in allowed[:20]]
    return ", ".join(shown) + (f" and {len(allowed) - 20} more" if len(allowed) > 20 else "")


def _quoted(value: str) -> str:
    return repr(value if len(value) <= 100 else f"{value[:100]}…")


def _reason(reason: str) -> str:
    text = reason.strip()
    if not text or len(text) > MAX_REASON or "\x00" in text:
        raise _wrong("reason", f"say why, in 1 to {MAX_REASON} characters")
    return text


def _wrong(field: str, message: str) -> PayloadError:
    return PayloadError.of([FieldError(field, message, "value_error")])
