import json

import httpx
import pytest

from evidently_workspace.dashboard import build_dashboard


@pytest.fixture(scope="module")
def project(ui, manifest, snap):
    """A project with its dashboard and three windows: steady, more rows, too few rows."""
    from evidently_workspace.client import EvidentlyClient  # noqa: PLC0415 - beside its use

    with EvidentlyClient(ui.url, ui.secret) as client:
        project = client.ensure_project("iris", "Health of the iris model")
        client.ensure_dashboard(project, build_dashboard(manifest))
        for n, rows in enumerate((60, 200, 10)):
            client.post_snapshot(project, snap(n, rows, rejected_requests={"missing": n}).body)
    return project


def points(ui, project, panel):
    """Ask for a panel's points just as the dashboard page does; return the lines by legend."""
    names = ("tags", "metadata", "metric", "metric_labels")
    filters = [{name: line[name] for name in names} for line in panel["values"]]
    answer = httpx.post(f"{ui.url}/api/v2/snapshots/{project}/data_series_batch", json={"series_filter": filters})
    answer.raise_for_status()
    lines = {line["legend"]: [] for line in panel["values"]}
    for found in answer.json()["series"]:
        lines[panel["values"][found["filter_index"]]["legend"]].append(found["values"])
    return lines


def test_a_project_is_created_once(ui, client, project):
    assert client.ensure_project("iris", "Health of the iris model") == project
    projects = httpx.get(f"{ui.url}/api/projects/").json()
    assert [found["name"] for found in projects].count("iris") == 1


def test_the_dashboard_is_posted_only_when_it_differs(client, project, manifest):
    dashboard = build_dashboard(manifest)
    assert client.ensure_dashboard(project, dashboard) is False
    renamed = json.loads(json.dumps(dashboard).replace("Model health", "Health of the model"))
    assert client.ensure_dashboard(project, renamed) is True
    assert client.ensure_dashboard(project, dashboard) is True


def test_a_snapshot_is_found_by_its_window_and_only_by_it(ui, client, project, windows):
    found = client.snapshots_by_window(project)
    stored = {snapshot["id"]: snapshot for snapshot in httpx.get(f"{ui.url}/api/projects/{project}/snapshots").json()}
    (only,) = found[windows(1).key]
    assert stored[str(only)]["name"] == windows(1).title
    assert windows(99).key not in found


def test_metadata_comes_back_as_it_was_sent(ui, client, project, snap, windows):
    (snapshot,) = client.snapshots_by_window(project)[windows(2).key]
    stored = httpx.get(f"{ui.url}/api/projects/{project}/{snapshot}/metadata").json()
    sent = json.loads(snap(2, 10, rejected_requests={"missing": 2}).body)
    for name in ("metadata", "name", "tags", "timestamp"):
        assert stored[name] == sent[name]


def test_every_line_of_every_panel_has_its_points(ui, project, manifest):
    shown = [panel for panel in build_dashboard(manifest)["panels"] if panel["values"]]
    assert len(shown) > 10
    for panel in shown:
        for legend, found in points(ui, project, panel).items():
            if panel["title"] == "Rejected requests":
                # One line per label: all reasons in each window, the only reason in the two that had it.
                assert sorted(len([value for value in line if value is not None]) for line in found) == [2, 3]
                continue
            # One line, however the thresholds of its windows differ; two windows had enough rows, or all three.
            assert len(found) == 1, (panel["title"], legend)
            assert len([value for value in found[0] if value is not None]) >= 2, (panel["title"], legend)


def test_too_few_rows_leave_a_gap_rather_than_a_zero(ui, project, manifest):
    by_title = {panel["title"]: panel for panel in build_dashboard(manifest)["panels"]}
    (accuracy,) = points(ui, project, by_title["Accuracy, true and estimated"])["accuracy"]
    (rows,) = points(ui, project, by_title["Rows per window"])["predicted rows"]
    assert len(accuracy) == 2
    assert rows == [60, 200, 10]


def test_the_ui_renders_the_report_of_a_stored_snapshot(ui, client, project, windows):
    (snapshot,) = client.snapshots_by_window(project)[windows(1).key]
    page = httpx.get(f"{ui.url}/api/projects/{project}/{snapshot}/download", timeout=30)
    assert page.status_code == 200
    assert "Prediction drift" in page.text
