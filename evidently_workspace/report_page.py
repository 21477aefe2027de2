"""Builds one Evidently snapshot from the sections: its JSON for the UI and its page as one HTML file."""

import json
from collections.abc import Mapping

from evidently.core.metric_types import MetricTestResult, metric_tests_widget
from evidently.core.report import Snapshot, metric_tests_stats
from evidently.core.serialization import ReportModel, SnapshotModel
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import text_widget
from evidently.legacy.tests.base_test import TestStatus
from evidently.legacy.utils import NumpyEncoder

from evidently_workspace.checks.data_quality import rejected_requests as rejections_section
from evidently_workspace.checks.data_quality import rejections_text
from evidently_workspace.overview import Facts, overview
from evidently_workspace.results import FailedCheck, WindowSnapshot
from evidently_workspace.section import MAX_LISTED_ROWS, Section

DATA_START = "<script>\n    var metric_"
DATA_END = ";\n</script>"


def build_snapshot(facts: Facts, sections: list[Section], rejected_requests: Mapping[str, int]) -> WindowSnapshot:
    """Return the snapshot of a window: an overview, the measured sections, and the rejected requests."""
    failed_checks = tuple(check for section in sections for check in section.failed_checks)
    not_computed = tuple(
        f"{section.title.lower()}: {reason}" for section in sections for reason in section.not_computed
    )
    sections = [overview(facts, sections), *sections, rejections_section(rejected_requests)]
    metadata = facts.metadata() | {
        "failed_checks": ", ".join(dict.fromkeys(_name(check) for check in failed_checks)),
        "not_computed": "; ".join(not_computed),
        "rejected_requests": rejections_text(rejected_requests),
    }
    model = join_sections(facts, sections, metadata)
    return WindowSnapshot(
        body=snapshot_body(model),
        html=snapshot_html(model),
        failed_checks=failed_checks,
        values=tuple(value for section in sections for value in section.values),
        not_computed=not_computed,
    )


def _name(check: FailedCheck) -> str:
    return ":".join(part for part in (check.check, check.column, check.measure) if part is not None)


def join_sections(facts: Facts, sections: list[Section], metadata: dict[str, str]) -> SnapshotModel:
    """Return one Evidently snapshot with the results, widgets and tests of all sections, in their order."""
    results = {metric_id: result for section in sections for metric_id, result in section.results.items()}
    tests = [test for result in results.values() for test in result.tests]
    return SnapshotModel(
        report=ReportModel(items=[]),
        name=facts.window.title,
        timestamp=facts.window.evidently_timestamp,
        metadata=metadata,
        tags=[facts.manifest.name, facts.manifest.version],
        metric_results=results,
        top_level_metrics=list(results),
        widgets=[widget for section in sections for widget in _section_widgets(section)],
        tests_widgets=_tests_widgets(tests),
    )


def _tests_widgets(tests: list[MetricTestResult]) -> list[BaseWidgetInfo]:
    """Return how many tests failed, and the list of the tests; of very many only those that did not pass."""
    if not tests:
        return []
    listed = [test for test in tests if len(tests) <= MAX_LISTED_ROWS or test.status != TestStatus.SUCCESS]
    return [metric_tests_stats(tests), *([metric_tests_widget(listed)] if listed else [])]


def _section_widgets(section: Section) -> list[BaseWidgetInfo]:
    notes = [section.note] if section.note else []
    notes += [f"**Not computed:** {reason}." for reason in section.not_computed]
    heading = text_widget(text="\n\n".join([f"## {section.title}", *notes]))
    return [heading, *section.widgets]


def snapshot_body(model: SnapshotModel) -> bytes:
    """Return the snapshot as the JSON that `POST /api/v2/snapshots/{project}` takes."""
    return json.dumps(model.dict(), cls=NumpyEncoder, allow_nan=False, separators=(",", ":")).encode()


def snapshot_html(model: SnapshotModel) -> str:
    """Return the report as one self-contained HTML file, which is safe to open whatever the values of the window are.

    Evidently writes its data into a script as plain JSON. A category such as "</script><script>..." that somebody sent
    to the API would therefore run in the browser of the reader.
    """
    html: str = Snapshot.load_model(model).get_html_str(as_iframe=False)
    start = html.index(DATA_START)
    # JSON contains no bare line break, so the first one ends the data.
    end = html.index(DATA_END, start)
    return html[:start] + DATA_START + html[start + len(DATA_START) : end].replace("<", "\\u003c") + html[end:]
