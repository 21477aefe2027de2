"""Joins the sections into one Evidently snapshot: its JSON for the UI and its page as one HTML file."""

import json

from evidently.core.metric_types import metric_tests_widget
from evidently.core.report import Snapshot, metric_tests_stats
from evidently.core.serialization import ReportModel, SnapshotModel
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import text_widget
from evidently.legacy.utils import NumpyEncoder

from evidently_workspace.section import Section
from evidently_workspace.window import Window


def join_sections(sections: list[Section], window: Window, metadata: dict[str, str], tags: list[str]) -> SnapshotModel:
    """Return one snapshot with the results, widgets and tests of all sections, in their order."""
    results = {metric_id: result for section in sections for metric_id, result in section.results.items()}
    tests = [test for result in results.values() for test in result.tests]
    return SnapshotModel(
        report=ReportModel(items=[]),
        name=window.title,
        timestamp=window.evidently_timestamp,
        metadata=metadata,
        tags=tags,
        metric_results=results,
        top_level_metrics=list(results),
        widgets=[widget for section in sections for widget in _section_widgets(section)],
        tests_widgets=[metric_tests_stats(tests), metric_tests_widget(tests)] if tests else [],
    )


def _section_widgets(section: Section) -> list[BaseWidgetInfo]:
    notes = [section.note] if section.note else []
    notes += [f"**Not computed:** {reason}." for reason in section.not_computed]
    heading = text_widget(text="\n\n".join([f"## {section.title}", *notes]))
    return [heading, *section.widgets]


def snapshot_body(model: SnapshotModel) -> bytes:
    """Return the snapshot as the JSON that `POST /api/v2/snapshots/{project}` takes."""
    return json.dumps(model.dict(), cls=NumpyEncoder, allow_nan=False, separators=(",", ":")).encode()


def snapshot_html(model: SnapshotModel) -> str:
    """Return the report as one HTML file with everything inside it."""
    html: str = Snapshot.load_model(model).get_html_str(as_iframe=False)
    return html
