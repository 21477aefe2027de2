import os
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from uuid import uuid4

import httpx
import pytest

from evidently_workspace.client import EvidentlyClient
from evidently_workspace.errors import EvidentlyRejected, EvidentlyUnavailable
from evidently_workspace.ui.__main__ import EVIDENTLY_VERSION


def run_ui(*arguments, **environment):
    command = [sys.executable, "-m", "evidently_workspace.ui", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=os.environ | environment, check=False, timeout=90
    )


def count(database, table, project):
    with closing(sqlite3.connect(database)) as connection:
        query = f"SELECT count(*) FROM {table} WHERE project_id = ?"  # noqa: S608 - names written here
        return connection.execute(query, [project.hex]).fetchone()[0]


def test_the_ui_is_of_the_version_that_the_launcher_was_checked_with(ui):
    # The launcher reaches into Evidently's components. Before changing the number, check: project, dashboard,
    # snapshot and panels (the other tests here), the secret, foreign keys, and what the UI writes to its log.
    assert httpx.get(f"{ui.url}/api/version").json()["version"] == EVIDENTLY_VERSION


def test_the_log_says_where_the_ui_is_and_does_not_mention_answers_such_as_not_found(ui):
    httpx.get(f"{ui.url}/api/projects/{uuid4()}/info")
    httpx.get(f"{ui.url}/no/such/page")
    first, *others = ui.log.read_text().splitlines()
    assert first.endswith(f"Evidently UI at {ui.url}")
    assert not any("404" in line or "not found" in line for line in others)


def test_a_failure_is_in_the_log_with_its_traceback(ui, client):
    project = client.ensure_project("nonsense", "")
    with pytest.raises((EvidentlyRejected, EvidentlyUnavailable)):
        client.post_snapshot(project, b"{}")
    log = ui.log.read_text()
    assert f"POST /api/v2/snapshots/{project} failed" in log
    assert "Traceback" in log


def test_a_taken_port_is_said_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        outcome = run_ui("--port", str(port))
    assert outcome.returncode == 2
    assert outcome.stderr == f"error: cannot listen on 127.0.0.1:{port}: Address already in use\n"


def test_a_database_that_cannot_be_opened_is_said_in_one_line(tmp_path):
    outcome = run_ui("--port", "0", "--database", f"sqlite:///{tmp_path}")
    assert outcome.returncode == 2
    assert outcome.stderr.startswith("error: cannot use the database: ")
    assert len(outcome.stderr.splitlines()) == 1


def test_an_unreadable_secret_is_said_in_one_line(tmp_path):
    outcome = run_ui("--port", "0", VIGIE_EVIDENTLY_SECRET_FILE=str(tmp_path / "none"))
    assert outcome.returncode == 2
    assert outcome.stderr == (
        f"error: cannot read VIGIE_EVIDENTLY_SECRET_FILE {tmp_path / 'none'}: No such file or directory\n"
    )


@pytest.mark.parametrize("secret", [None, "wrong"])
def test_writing_needs_the_secret_and_the_error_says_which(ui, secret):
    with (
        EvidentlyClient(ui.url, secret) as stranger,
        pytest.raises(EvidentlyRejected, match="VIGIE_EVIDENTLY_SECRET"),
    ):
        stranger.ensure_project("not mine", "")


def test_reading_needs_no_secret(ui):
    assert httpx.get(f"{ui.url}/api/projects/").status_code == 200


def test_sqlite_is_in_wal_mode(ui):
    with closing(sqlite3.connect(ui.database)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_deleted_snapshot_takes_its_points_with_it(ui, client, snap):
    project = client.ensure_project("deletions", "")
    snapshot = client.post_snapshot(project, snap(0, 60).body)
    assert count(ui.database, "points", project) > 0
    secret = {"evidently-secret": ui.secret}
    httpx.delete(f"{ui.url}/api/projects/{project}/{snapshot}", headers=secret).raise_for_status()
    assert count(ui.database, "snapshots", project) == count(ui.database, "points", project) == 0


def test_a_snapshot_of_many_megabytes_is_accepted(client, snap):
    project = client.ensure_project("large", "")
    body = snap(0, 60).body
    padding = b'{"padding":"' + b"x" * 20_000_000 + b'",'
    client.post_snapshot(project, body.replace(b'"metadata":{', b'"metadata":' + padding, 1))


def test_a_snapshot_for_an_unknown_project_is_rejected(client, snap):
    with pytest.raises(EvidentlyRejected, match="404"):
        client.post_snapshot(uuid4(), snap(0, 60).body)


def test_the_ui_answers_to_the_names_of_this_machine_only(ui):
    port = ui.url.rsplit(":", 1)[1]
    for host, status in {f"localhost:{port}": 200, f"127.0.0.1:{port}": 200, "evil.example": 421}.items():
        assert httpx.get(f"{ui.url}/api/projects/", headers={"Host": host}).status_code == status, host
    assert httpx.get(f"{ui.url}/api/version", headers={"Host": "10.0.0.7:8001"}).status_code == 200


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}])
def test_a_page_of_another_site_cannot_write_to_the_ui(ui, headers):
    secret = {"evidently-secret": ui.secret}
    project = {"name": f"project {uuid4()}"}
    answer = httpx.post(f"{ui.url}/api/projects", json=project, headers=secret | headers)
    assert answer.status_code == 403
    assert project["name"] not in httpx.get(f"{ui.url}/api/projects/").text
    assert httpx.post(f"{ui.url}/api/projects", json=project, headers=secret).status_code in {200, 201}


@pytest.mark.parametrize("path", ["/schema", "/schema/openapi.json", "/schema/swagger", "/api/llm_judges/templates"])
def test_pages_with_foreign_scripts_and_routes_without_the_secret_are_off(ui, path):
    answer = httpx.get(f"{ui.url}{path}")
    assert answer.status_code == 404 or '<div id="root">' in answer.text  # the page of the application itself
    assert "cdn" not in answer.text


def test_no_route_of_the_ui_that_takes_data_is_open(ui):
    answer = httpx.post(f"{ui.url}/api/llm_judges/prompt_template", json={"template": {}})
    assert answer.status_code in {404, 405}
