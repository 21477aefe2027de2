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

DATA_START = "<script>\n    var metric_"
DATA_END = ";\n</script>"


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
    """Return the report as one HTML file with everything inside it, safe to open whatever the window's values are.

    Evidently writes its data into a script as plain JSON, so a category such as "</script><script>..." that somebody
    sent to the API would run in the browser of whoever reads the report.
    """
    html: str = Snapshot.load_model(model).get_html_str(as_iframe=False)
    start = html.index(DATA_START)
    # JSON has no bare line break, so the first one ends the data, whatever these contain.
    end = html.index(DATA_END, start)
    return html[:start] + DATA_START + html[start + len(DATA_START) : end].replace("<", "\\u003c") + html[end:]
