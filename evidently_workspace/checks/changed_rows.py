"""The rows that carry what a window's failed checks found: their ids, for the log and for the report."""

from collections.abc import Sequence

from evidently.legacy.renderers.html_widgets import table_data

from evidently_workspace.results import ROWS_HEADER, ChangedRows, FailedCheck, RowIds
from evidently_workspace.section import Section
from model.artifact.manifest import Manifest
from model.statistics.changed_rows import WindowFrames, most_changed

MAX_ROWS, MAX_ROWS_OF_CHECK, MIN_ROWS_OF_CHECK = 500, 100, 5
"""Rows of a window: few checks have many rows each, many checks few."""
SHOWN_ROWS, SHOWN_ROWS_OF_CHECK = 60, 10
NOTE = (
    "The rows that carry what the failed checks found, the foremost first. A row's score says, for drift, which share "
    "of the rows with such a value the reference does not explain; for wrong classes, which probability was given to "
    "them; for wrong numbers, how many times the usual error theirs is. `GET /snapshots/{start}/rows` has their "
    "content, as long as the log has it."
)


def changed_rows(
    failed: Sequence[FailedCheck], frames: WindowFrames, ids: RowIds, manifest: Manifest
) -> tuple[ChangedRows, ...]:
    """Return the rows of each failed check that has any; those of one that failed by several measures together once."""
    limit = min(MAX_ROWS_OF_CHECK, max(MIN_ROWS_OF_CHECK, MAX_ROWS // max(1, len(failed))))
    found = []
    for one in failed:
        rows = most_changed(one.check, one.column, one.measure, frames, manifest, limit=limit)
        of = [(ids.labelled if row.of_labelled else ids.current)[row.place] for row in rows]
        scored = tuple((prediction_id, row.score) for prediction_id, row in zip(of, rows, strict=True))
        if scored:
            found.append(ChangedRows(one.check, one.column, one.measure, scored))
    return tuple(found)


def changed_rows_section(found: Sequence[ChangedRows]) -> Section:
    """Return the part of the report that lists the rows."""
    section = Section("Rows that carry the changes", NOTE)
    each = min(SHOWN_ROWS_OF_CHECK, max(1, SHOWN_ROWS // max(1, len(found))))
    data = [
        [
            one.check.replace("_", " "),
            one.column or "",
            (one.measure or "").replace("_", " "),
            prediction_id,
            f"{score:.3g}",
        ]
        for one in found
        for prediction_id, score in one.rows[:each]
    ]
    section.widgets.append(table_data(title="Rows", column_names=list(ROWS_HEADER), data=data[:SHOWN_ROWS]))
    return section
