"""Who is notified: e-mail through a real mail server, and Slack, Teams and PagerDuty once their secret is there."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import yaml
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.integration.observability.conftest import await_until, running
from tests.mail import PASSWORD, Mailbox, certificate, mail_server
from tests.observability import ALERTMANAGER, ROOT, without_url_files
from tests.servers import free_port

START = ROOT / "deploy/alertmanager/start.sh"
CRITICAL = {"alertname": "ApiDown", "job": "api", "severity": "critical", "subject": "api"}
WARNING = {"alertname": "HostLoadHigh", "job": "node-exporter", "severity": "warning", "subject": "host"}
WORDS = {
    "summary": "The API cannot be scraped: see whether it runs, and start it.",
    "description": "No predictions are answered.",
    "dashboard": "https://grafana.example/d/vigie-overview",
    "runbook_url": "docs/runbook.md#apidown",
}
ON = {"slack_url": "/slack", "teams_url": "/teams", "pagerduty_key": "a-routing-key"}


class Chats:
    """Stands in for Slack, Teams and PagerDuty, and keeps what they were sent."""

    def __init__(self, server: HTTPServer) -> None:
        self.url = server.url_for("").rstrip("/")
        self.messages: list[tuple[str, str]] = []
        server.expect_request(re.compile(".*"), method="POST").respond_with_handler(self._keep)

    def at(self, path: str) -> list[str]:
        return [text for at, text in list(self.messages) if at == path]

    def _keep(self, request: Request) -> Response:
        self.messages.append((request.path, request.get_data(as_text=True)))
        return Response("ok", status=202 if request.path == "/pagerduty" else 200)


@contextmanager
def notifying(
    folder: Path, chats: Chats, mail: tuple[int, Path], switched_on: set[str], forgets: str = "1m"
) -> Iterator[str]:
    """A real Alertmanager, started as in the stack; its address. It ``forgets`` ended alerts that often."""
    program = shutil.which("prometheus-alertmanager")
    if program is None:
        pytest.skip("no Alertmanager on this machine (Debian: apt-get install prometheus-alertmanager)")
    secrets, programs = folder / "secrets", folder / "programs"
    secrets.mkdir()
    programs.mkdir()
    (programs / "alertmanager").symlink_to(program)
    (secrets / "smtp_password").write_text(PASSWORD, encoding="utf-8")
    for name in switched_on:
        (secrets / name).write_text(ON[name].replace("/", f"{chats.url}/"), encoding="utf-8")
    (folder / "alertmanager.yml").write_text(configuration(folder, chats.url, mail), encoding="utf-8")
    port = free_port()
    places = {"PATH": f"{programs}:{os.environ['PATH']}", "ALERTMANAGER_FOLDER": str(folder)}
    places["ALERTMANAGER_CONFIG"] = str(folder / "rendered.yml")
    command = ["sh", str(START), f"--storage.path={folder / 'alerts'}", f"--web.listen-address=127.0.0.1:{port}"]
    command += ["--cluster.listen-address=", f"--alerts.gc-interval={forgets}"]
    with running(command, folder, f"http://127.0.0.1:{port}/-/ready", **places):
        yield f"http://127.0.0.1:{port}"


def configuration(folder: Path, url: str, mail: tuple[int, Path]) -> str:
    """The shipped routes without their waits, with receivers on this machine."""
    port, authority = mail
    text = without_url_files(ALERTMANAGER.read_text(encoding="utf-8"), url)
    for shipped, here in (
        ("/etc/alertmanager/secrets", str(folder / "secrets")),
        ("smtp.example.org:587", f"127.0.0.1:{port}"),
        ("- to: on-call@example.org", f"- to: on-call@example.org\n        tls_config: {{ca_file: {authority}}}"),
        ("severity: critical\n        desc", f"severity: critical\n        url: {url}/pagerduty\n        desc"),
    ):
        assert shipped in text
        text = text.replace(shipped, here)
    text = re.sub(r"group_wait: \S+", "group_wait: 0s", text)
    return re.sub(r"group_interval: \S+", "group_interval: 1s", text)


def knows_teams() -> bool:
    """Whether the Alertmanager of this machine is 0.28 or newer; Debian 12 has 0.25."""
    program = shutil.which("prometheus-alertmanager")
    if program is None:
        return False
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True, timeout=60)
    found = re.search(r"version (\d+)\.(\d+)", said.stdout + said.stderr)
    return found is not None and (int(found[1]), int(found[2])) >= (0, 28)


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def mail(mailbox: Mailbox, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    file = certificate(tmp_path)
    with mail_server(mailbox, file) as port:
        yield port, file


@pytest.fixture
def chats(httpserver: HTTPServer) -> Chats:
    return Chats(httpserver)


def post(url: str, labels: dict[str, str], **more: str) -> None:
    alert = {"labels": labels, "annotations": WORDS, **more}
    httpx.post(f"{url}/api/v2/alerts", json=[alert]).raise_for_status()


def test_a_critical_alert_and_its_end_reach_on_call_by_email_and_a_warning_does_not(
    tmp_path: Path, chats: Chats, mail: tuple[int, Path], mailbox: Mailbox
) -> None:
    with notifying(tmp_path, chats, mail, set()) as url:
        post(url, WARNING)
        post(url, CRITICAL)
        await_until(lambda: len(mailbox.messages) == 1)
        post(url, CRITICAL, endsAt=datetime.now(UTC).isoformat())
        await_until(lambda: len(mailbox.messages) == 2)
        await_until(lambda: [text for text in chats.at("/webhook") if "HostLoadHigh" in text])
    (envelope, fired), (_, resolved) = mailbox.messages
    assert mailbox.logins == [b"vigie@example.org"] * 2
    assert (envelope.mail_from, envelope.rcpt_tos) == ("vigie@example.org", ["on-call@example.org"])
    assert str(fired["Subject"]).startswith("[FIRING:1] ApiDown")
    assert str(resolved["Subject"]).startswith("[RESOLVED] ApiDown")
    content = "".join(part.get_content() for part in fired.walk() if part.get_content_maintype() == "text")  # type: ignore[attr-defined]
    assert all(word in content for word in WORDS.values())


def test_without_its_secret_a_receiver_is_off_and_nothing_fails(
    tmp_path: Path, chats: Chats, mail: tuple[int, Path], mailbox: Mailbox
) -> None:
    with notifying(tmp_path, chats, mail, set()) as url:
        post(url, CRITICAL)
        await_until(lambda: mailbox.messages and chats.at("/webhook"))
        metrics = httpx.get(f"{url}/metrics").text
        assert {path for path, _ in chats.messages} == {"/webhook"}
    failed = re.findall(r"^alertmanager_notifications_failed_total{.*} (\d+)$", metrics, re.MULTILINE)
    assert failed
    assert set(failed) == {"0"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("slack_url", ["ApiDown", "see whether it runs", "https://grafana.example/d/vigie-overview"]),
        ("pagerduty_key", ["a-routing-key", "trigger", "see whether it runs"]),
        ("teams_url", ["ApiDown", "see whether it runs", "https://grafana.example/d/vigie-overview"]),
    ],
)
def test_one_secret_file_switches_a_receiver_on(
    tmp_path: Path, chats: Chats, mail: tuple[int, Path], name: str, expected: list[str]
) -> None:
    path = "/" + name.split("_", maxsplit=1)[0]
    if name == "teams_url" and not knows_teams():
        pytest.skip("the Alertmanager of this machine is older than 0.28 and knows no Teams")
    with notifying(tmp_path, chats, mail, {name}) as url:
        post(url, CRITICAL)
        (message, *_) = await_until(lambda: chats.at(path))
        post(url, WARNING)
        await_until(lambda: len(chats.at("/webhook")) >= 2)
        if name == "pagerduty_key":
            assert not [text for text in chats.at(path) if "HostLoadHigh" in text], "a warning wakes nobody"
        else:
            await_until(lambda: [text for text in chats.at(path) if "HostLoadHigh" in text])
    assert all(word in message for word in expected), message
    assert {at for at, _ in chats.messages} == {"/webhook", path}


def test_an_alert_of_the_api_is_counted_until_it_ends(tmp_path: Path, chats: Chats, mail: tuple[int, Path]) -> None:
    shipped = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]["alertmanager"]
    assert "--alerts.gc-interval=1m" in shipped["command"], "by default it counts what ended for half an hour"
    labels = {"alertname": "ModelDataDrift", "check": "data_drift", "model": "iris", "severity": "warning"}
    with notifying(tmp_path, chats, mail, set(), forgets="1s") as url:

        def counted() -> float:
            found = re.findall(
                r'^alertmanager_alerts{state="(?:active|suppressed)"} (\d+)$',
                httpx.get(f"{url}/metrics").text,
                re.MULTILINE,
            )
            assert len(found) == 2
            return sum(map(float, found))

        assert counted() == 0
        post(url, labels)
        await_until(lambda: counted() == 1)
        post(url, labels, endsAt=datetime.now(UTC).isoformat())
        await_until(lambda: counted() == 0)
