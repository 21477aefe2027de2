"""The profiles public, postgres and demo together: seen from outside through TLS, and nothing lost on PostgreSQL."""

import os
import ssl
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.secrets import make_secrets, update_env
from tests.compose.conftest import Compose, awaited, check_hardened, running

pytestmark = pytest.mark.timeout(2400)

ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
VARIABLES = {
    "COMPOSE_PROFILES": "postgres,demo",
    "VIGIE_DATABASE": "postgres",
    "VIGIE_SITE": "localhost",
    "VIGIE_PUBLIC_ADDRESS": "127.0.0.1",
}
HIDDEN = (
    ("GET", "/metrics"),
    ("POST", "/snapshots"),
    ("POST", "/model/reload"),
    ("GET", "/health/ready"),
    ("GET", "/x"),
)


OLD_POSTGRES = """
services:
  postgres:
    entrypoint: ["docker-entrypoint.sh", "postgres"]
    secrets: !override [postgres_password, {source: postgres_account, target: /etc/passwd}]
    volumes: !override ["postgres:/data/postgres", "./old-postgres:/docker-entrypoint-initdb.d:ro"]
"""
"""How earlier versions started PostgreSQL: one superuser had both databases."""


@pytest.fixture(scope="module")
def old_ids(checkout: Path) -> list[str]:
    """The ids of predictions on a volume of an earlier version. The secrets are then brought up to date."""
    secrets = checkout / "secrets"
    superuser = f"postgresql://vigie:{(secrets / 'postgres_password').read_text(encoding='utf-8')}@postgres"
    for holds, database in (("log", "vigie"), ("workspace", "evidently")):
        (secrets / f"postgres_{holds}_password").unlink()
        (secrets / f"postgres_{holds}_url").write_text(f"{superuser}/{database}", encoding="utf-8")
    (checkout / "old-postgres").mkdir()
    (checkout / "old-postgres/evidently.sql").write_text("CREATE DATABASE evidently;", encoding="utf-8")
    (checkout / "old-postgres.yml").write_text(OLD_POSTGRES, encoding="utf-8")
    old = Compose(checkout, "old-postgres.yml", {"COMPOSE_PROFILES": "postgres", "VIGIE_DATABASE": "postgres"})
    old.run("up", "--detach", "--wait", "--no-build", "api", seconds=600)
    assert ask(old, old.secret("postgres_log_url"), "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == "t"
    answer = old.api("POST", "/predict/batch", json={"rows": [ROW] * 60})
    made = make_secrets(checkout)
    assert {"secrets/postgres_log_url", "secrets/postgres_workspace_url"} <= set(made)
    update_env(checkout)
    return [item["prediction_id"] for item in answer["predictions"]]


@pytest.fixture(scope="module")
def compose(checkout: Path, old_ids: list[str]) -> Iterator[Compose]:
    with running(Compose(checkout, "docker-compose.public.yml", VARIABLES), "compose-public.log") as stack:
        yield stack


class Outside:
    """A client on another machine, which trusts the front's own certificate authority and nothing else."""

    def __init__(self, compose: Compose) -> None:
        self.ports = compose.ports
        root = compose.run("exec", "-T", "front", "cat", "/state/caddy/pki/authorities/local/root.crt")
        self._client = httpx.Client(verify=ssl.create_default_context(cadata=root), timeout=30)
        self.close = self._client.close

    def call(self, method: str, path: str, port: str = "HTTPS", **options: Any) -> httpx.Response:
        """Call the site, or one of the pages on a port of their own."""
        return self._client.request(method, f"https://localhost:{self.ports[port]}{path}", **options)


@pytest.fixture(scope="module")
def outside(compose: Compose) -> Iterator[Outside]:
    with closing(Outside(compose)) as client:
        yield client


@pytest.fixture
def password(compose: Compose) -> tuple[str, str]:
    return "vigie", compose.secret("page_password")


@pytest.fixture
def key(compose: Compose) -> dict[str, str]:
    return {"X-API-Key": compose.secret("api_key")}


def predict(outside: Outside, key: dict[str, str], rows: int = 60) -> list[str]:
    answer = outside.call("POST", "/predict/batch", json={"rows": [ROW] * rows}, headers=key)
    assert answer.status_code == 200, answer.text
    return [item["prediction_id"] for item in answer.json()["predictions"]]


def known(outside: Outside, key: dict[str, str], ids: list[str]) -> bool:
    labels = [{"prediction_id": one, "label": "setosa"} for one in ids]
    receipt = outside.call("POST", "/feedback", json={"labels": labels}, headers=key)
    return bool(receipt.json() == {"accepted": len(ids), "unknown": []})


def posted(outside: Outside, key: dict[str, str], rows: int = 1) -> dict[str, Any] | None:
    windows = outside.call("GET", "/snapshots", headers=key).raise_for_status().json()["windows"]
    return next((one for one in windows if one["status"] == "posted" and one["rows"] >= rows), None)


def test_nothing_but_the_front_is_published(compose: Compose) -> None:
    published = {name for name in compose.services() if compose.inspect(name)["HostConfig"]["PortBindings"]}
    assert published == {"front"}


def test_the_containers_of_the_profiles_are_hardened_too(compose: Compose) -> None:
    for service in ("front", "front-users", "postgres", "traffic", "api"):
        check_hardened(compose, service)


def test_plain_http_is_sent_to_tls(compose: Compose) -> None:
    answer = httpx.get(f"http://localhost:{compose.ports['HTTP']}/docs", timeout=30)
    assert (answer.status_code, answer.headers["location"]) == (308, f"https://localhost:{compose.ports['HTTPS']}/docs")


def test_a_prediction_needs_a_key(outside: Outside, key: dict[str, str]) -> None:
    assert outside.call("GET", "/health/live").status_code == 200
    assert outside.call("POST", "/predict", json=ROW).status_code == 401
    assert outside.call("POST", "/predict", json=ROW, headers={"X-API-Key": "vigie_wrong"}).status_code == 401
    assert outside.call("POST", "/predict", json=ROW, headers=key).status_code == 200
    bearer = {"Authorization": f"Bearer {key['X-API-Key']}"}
    assert outside.call("POST", "/predict", json=ROW, headers=bearer).status_code == 200


@pytest.mark.parametrize(("method", "path"), HIDDEN)
def test_internal_calls_are_not_found_from_outside(
    method: str, path: str, outside: Outside, key: dict[str, str], password: tuple[str, str]
) -> None:
    for call in (partial(outside.call, headers=key), partial(outside.call, auth=password)):
        answer = call(method, path)
        assert answer.status_code == 404, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == 404
        assert "strict-transport-security" in answer.headers
        assert "server" not in answer.headers


@pytest.mark.parametrize(
    ("port", "path"),
    [
        ("HTTPS", "/"),
        ("HTTPS", "/snapshots"),
        ("EVIDENTLY", "/"),
        ("EVIDENTLY", "/api/projects"),
        ("PROMETHEUS", "/-/ready"),
        ("ALERTMANAGER", "/-/ready"),
    ],
)
def test_pages_need_the_password(port: str, path: str, outside: Outside, password: tuple[str, str]) -> None:
    assert outside.call("GET", path, port).status_code == 401
    assert outside.call("GET", path, port, auth=("vigie", "guess")).status_code == 401
    answer = outside.call("GET", path, port, auth=password)
    assert answer.status_code == 200, answer.text
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
    assert len(answer.headers.get_list("content-security-policy")) == 1
    assert not {"server", "via"} & answer.headers.keys()


def test_swagger_is_open_and_needs_nothing_from_elsewhere(outside: Outside) -> None:
    page = outside.call("GET", "/docs")
    assert page.status_code == 200
    assets = [part.split('"')[0] for part in page.text.split('"/static-offline-docs/')[1:]]
    assert assets
    for asset in assets:
        assert outside.call("GET", f"/static-offline-docs/{asset}").status_code == 200
    assert outside.call("GET", "/openapi.json").status_code == 200


def test_a_body_that_is_too_large_is_refused(outside: Outside, key: dict[str, str]) -> None:
    answer = outside.call("POST", "/predict/batch", content=b"x" * (17 * 2**20), headers=key)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


def test_demo_traffic_becomes_a_snapshot_that_people_see_through_the_front(
    outside: Outside, key: dict[str, str], password: tuple[str, str]
) -> None:
    window = awaited(lambda: posted(outside, key, rows=50), what="a posted window of the demo's rows")
    page, project = window["evidently_url"].split("/projects/")
    assert page == f"https://localhost:{outside.ports['EVIDENTLY']}"
    project = project.split("/")[0]
    found = outside.call("GET", f"/api/projects/{project}/snapshots", "EVIDENTLY", auth=password).json()
    assert f"{window['start']}/{window['end']}" in {item["metadata"]["window"] for item in found}
    site = f"https://localhost:{outside.ports['HTTPS']}"
    assert window["report_url"].startswith(f"{site}/reports/")
    report = window["report_url"].removeprefix(site)
    assert outside.call("GET", report).status_code == 401
    assert outside.call("GET", report, auth=password).headers["content-type"].startswith("text/html")


ROTATED = {
    "page_password": {"front-users"},
    "api_key": {"traffic"},
    "front_key": {"front"},
    "evidently_secret": {"api", "evidently-ui"},
    "postgres_log_password": {"api", "postgres"},
}
"""The secrets that a test rotates, and the services that use them."""


def test_rotated_secrets_are_the_only_ones_that_count(
    compose: Compose, outside: Outside, password: tuple[str, str], key: dict[str, str]
) -> None:
    def accepted() -> dict[str, bool]:
        form = {"json": {"name": "rotated"}, "headers": {"evidently-secret": evidently_secret}}
        person = "vigie", compose.secret("page_password")
        written = outside.call("POST", "/api/projects", "EVIDENTLY", auth=person, **form)
        assert written.status_code in (200, 201, 401, 403), written.text
        answer = ask(compose, log_url, "SELECT 1")
        assert answer == "1" or "password authentication failed" in answer
        return {
            "page_password": outside.call("GET", "/", auth=password).status_code == 200,
            "api_key": outside.call("POST", "/predict", json=ROW, headers=key).status_code == 200,
            "front_key": outside.call("GET", "/snapshots", headers=front).status_code == 200,
            "evidently_secret": written.is_success,
            "postgres_log_password": answer == "1",
        }

    ids = predict(outside, key)
    evidently_secret, log_url = compose.secret("evidently_secret"), compose.secret("postgres_log_url")
    front = {"X-API-Key": compose.secret("front_key")}
    before = compose.containers()
    assert set(accepted().values()) == {True}
    compose.rotate(*ROTATED)
    assert set(accepted().values()) == {False}, accepted()
    password, key = ("vigie", compose.secret("page_password")), {"X-API-Key": compose.secret("api_key")}
    evidently_secret, log_url = compose.secret("evidently_secret"), compose.secret("postgres_log_url")
    front = {"X-API-Key": compose.secret("front_key")}
    assert set(accepted().values()) == {True}, accepted()
    assert known(outside, key, ids)
    assert {name for name, one in compose.containers().items() if one != before[name]} == set().union(*ROTATED.values())


def ask(compose: Compose, url: str, question: str) -> str:
    """What the database answers to the holder of an address, or why it does not."""
    code = f"psql --no-psqlrc -At '{url.replace('@postgres/', '@$(hostname)/')}' -c \"{question}\" 2>&1 || true"
    return compose.run("exec", "-T", "postgres", "sh", "-c", code.replace("$(hostname)", "'$(hostname)'")).strip()


def check_roles(compose: Compose) -> None:
    """Fail unless each database has a role of its own, which owns all of it, and can do nothing else."""
    roles = {"log": "vigie", "workspace": "evidently"}
    for holds, database in roles.items():
        url, role = compose.secret(f"postgres_{holds}_url"), f"vigie_{holds}"
        special = "SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls FROM pg_roles"
        assert ask(compose, url, special + " WHERE rolname = current_user") == "f"
        assert ask(compose, url, "SELECT current_user") == role
        assert ask(compose, url, "CREATE TABLE made_here (); DROP TABLE made_here").splitlines()[-1:] == ["DROP TABLE"]
        others = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relowner <> (SELECT oid "
        assert ask(compose, url, f"{others} FROM pg_roles WHERE rolname = current_user)") == ""
        assert "permission denied" in ask(compose, url, "SELECT pg_read_file('/etc/passwd')")
        for other in {*roles.values(), "postgres"} - {database}:
            elsewhere = url.removesuffix(database) + other
            assert "permission denied for database" in ask(compose, elsewhere, "SELECT 1")
    superuser = f"postgresql://vigie:{compose.secret('postgres_password')}@postgres/vigie"
    assert "password authentication failed" in ask(compose, superuser, "SELECT 1")


def test_a_volume_with_one_superuser_is_migrated_and_keeps_what_it_has(
    compose: Compose, outside: Outside, key: dict[str, str], old_ids: list[str]
) -> None:
    assert known(outside, key, old_ids)
    check_roles(compose)


def test_an_address_may_send_few_wrong_passwords(compose: Compose, outside: Outside, password: tuple[str, str]) -> None:
    statuses = [outside.call("GET", "/", auth=("vigie", f"guess {n}")).status_code for n in range(15)]
    assert statuses[-1] == 429
    refused = outside.call("GET", "/-/ready", "PROMETHEUS", auth=password, headers={"X-Forwarded-For": "192.0.2.1"})
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 6
    assert refused.headers["content-type"] == "application/problem+json"
    compose.run("restart", "front-users")
    awaited(lambda: outside.call("GET", "/", auth=password).status_code == 200, what="the page after the restart")


@pytest.mark.parametrize("port", ["EVIDENTLY", "PROMETHEUS", "ALERTMANAGER"])
def test_a_page_of_another_site_gets_nothing_with_the_visitor_s_password(
    port: str, outside: Outside, password: tuple[str, str]
) -> None:
    own = f"https://localhost:{outside.ports[port]}"
    for headers, status in (
        ({"Origin": "https://other.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),
        ({"Origin": own}, 200),
    ):
        path = "/" if port == "EVIDENTLY" else "/-/ready"
        answer = outside.call("GET", path, port, auth=password, headers=headers)
        assert answer.status_code == status, headers
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_a_form_passes_the_password_with_its_body(outside: Outside, password: tuple[str, str]) -> None:
    answer = outside.call("POST", "/api/v1/query", "PROMETHEUS", auth=password, data={"query": "1 + 1"})
    assert answer.json()["data"]["result"][1] == "2"


def test_a_page_that_asks_for_a_websocket_needs_the_password_too(outside: Outside, password: tuple[str, str]) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    assert outside.call("GET", "/-/ready", "PROMETHEUS", headers=upgrade).status_code == 401
    assert outside.call("GET", "/-/ready", "PROMETHEUS", headers=upgrade, auth=password).status_code == 200


def test_no_key_and_no_password_is_in_any_log(
    compose: Compose, outside: Outside, key: dict[str, str], password: tuple[str, str]
) -> None:
    outside.call("GET", "/snapshots", headers=key)
    outside.call("GET", "/", auth=password)
    logs = compose.run("logs", "--no-color")
    assert '"uri":"/snapshots"' in logs
    secrets = [path for path in (compose.folder / "secrets").rglob("*") if path.is_file() and "url" not in path.name]
    assert [path.name for path in secrets if path.read_text().strip() in logs] == []


def test_a_second_up_after_down_has_the_log_the_windows_and_the_certificate(
    compose: Compose, outside: Outside, key: dict[str, str]
) -> None:
    ids = predict(outside, key)
    window = awaited(lambda: posted(outside, key), what="a posted window")
    compose.run("down", "--timeout", "20")
    compose.up()
    assert known(outside, key, ids)
    windows = outside.call("GET", "/snapshots?limit=1000", headers=key).json()["windows"]
    assert window["evidently_url"] in {one["evidently_url"] for one in windows}
    assert (
        outside.call("GET", window["report_url"].split(str(outside.ports["HTTPS"]))[1], headers=key).status_code == 200
    )


@pytest.mark.parametrize(
    ("also", "site", "said"),
    [(None, "localhost", "docker-compose.public.yml"), ("docker-compose.public.yml", "", "set VIGIE_SITE")],
)
def test_half_of_the_set_up_is_not_exposed(compose: Compose, also: str | None, site: str, said: str) -> None:
    half = Compose(compose.folder, also, {"COMPOSE_PROFILES": "public", "VIGIE_SITE": site})
    with pytest.raises(AssertionError, match=said):
        half.run("run", "--rm", "--no-deps", "front-users")


def test_without_the_secrets_compose_says_what_to_do(compose: Compose) -> None:
    with pytest.raises(AssertionError, match="run make secrets first"):
        Compose(compose.folder).run("--env-file", os.devnull, "up")


def test_a_new_volume_has_the_same_roles(compose: Compose) -> None:
    compose.run("down", "--volumes", "--timeout", "20")
    compose.run("up", "--detach", "--wait", "--no-build", "postgres")
    check_roles(compose)
