"""The next step after a failed check: one sentence, with its command filled in."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shlex import quote
from typing import Any
from urllib.parse import urlencode

NEW_NORMAL_AFTER = timedelta(days=7)
"""How much of a new normal should be logged before alarms are set from it: other days are like others."""
OF_THE_MODEL = frozenset({"concept_drift", "performance"})
"""Checks that say that the model is wrong now; the others say that what comes in has changed."""
MAX_COLUMN_SHOWN = 100
OF_COLUMNS = frozenset({"data_drift", "attribution_drift", "data_quality"})
"""Checks whose column is one of the rows."""


@dataclass(frozen=True, slots=True)
class NextSteps:
    """Says what to do after a failed check of a model.

    ``home`` is the address of the API, ``model`` the model's name where there are several. ``is_watched`` says whether
    the model is served elsewhere: then it is also trained there.
    """

    home: str
    model: str | None
    model_dir: Path
    is_watched: bool = False

    def after(self, failed: Mapping[str, Any], start: datetime) -> str:
        """Return the sentence about a failed check of the window that starts then."""
        check: str = failed["check"]
        column: str | None = failed.get("column")
        if check in OF_THE_MODEL and self.is_watched:
            return f"{self._look(check, column, start)}; then train the model again where it is served"
        if check in OF_THE_MODEL:
            return (
                f"{self._look(check, column, start)}; then train the model again on the labels since then "
                f"({self._train(start)}), or put its previous artifact back into {self.model_dir}, and let it serve: "
                f"{self._reload()}"
            )
        cause = "correct what sends them"
        if column is not None and check == "data_quality":
            cause = f"correct what fills {_shown(column)}"
        return (
            f"{self._look(check, column, start)}; {cause}, or, if this is the new normal, set the alarms by it "
            f"after a week: {self._calibrate(start)}"
        )

    def _look(self, check: str, column: str | None, start: datetime) -> str:
        query = {"check": check} | ({"column": column} if column is not None and check in OF_COLUMNS else {})
        rows = self._address(f"snapshots/{_stamp(start)}/rows")
        return f"look at the rows: {rows}?{urlencode(query)}"

    def _calibrate(self, start: datetime) -> str:
        first, last = (_stamp(one) for one in (start, start + NEW_NORMAL_AFTER))
        model = "" if self.model is None else f" --model {quote(self.model)}"
        return f"python -m scripts.calibrate --from {first} --to {last}{model}"

    def _train(self, start: datetime) -> str:
        model = "" if self.model is None else f" --model {quote(self.model)}"
        return f"python -m model.train --from-log --since {_stamp(start)}{model}"

    def _reload(self) -> str:
        return f"curl -X POST {self._address('reload', 'model/reload')}"

    def _address(self, of_model: str, of_sole: str | None = None) -> str:
        path = of_sole or of_model
        return f"{self.home.rstrip('/')}/{path if self.model is None else f'models/{self.model}/{of_model}'}"


def _shown(column: str) -> str:
    return column if len(column) <= MAX_COLUMN_SHOWN else f"{column[:MAX_COLUMN_SHOWN]}…"


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
