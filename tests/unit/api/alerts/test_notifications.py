"""Messages from a real log to real servers: who is told what, once, whatever happens in between."""

import logging
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from api.alerts.delivery import Addresses
from api.alerts.next_steps import NextSteps
from api.alerts.notifications import ModelNews, Notifications
from api.alerts.notifier import AlertNotifier
from api.alerts.payload import Wording
from api.alerts.rules import Quorum
from api.errors import BadAddresses
from api.metrics import Metrics
from api.prediction_log.lease import Lease
from api.prediction_log.notifications import SENDING, NotificationStore
from api.prediction_log.windows import WindowStore
from api.snapshots.health import SnapshotLinks
from scripts.ports import free_port
from tests.clocked import ClockedDatabase
from tests.finished_windows import FAILED, Windows
from tests.mail import PASSWORD, Mailbox, certificate, mail_server

HOUR = timedelta(hours=1)
WAIT = timedelta(minutes=1)
WORSE = {"check": "performance", "column": "accuracy", "measure": "accuracy", "value": 0.5, "threshold": 0.8}


class Chat:
    """Keeps the messages, by path, and answers with the status that the test sets for one."""

    def __init__(self, server: HTTPServer) -> None:
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.status: dict[str, int] = {}
        self.address = server.url_for("").rstrip("/").replace("http://", "json://vigie:hidden@")
        server.expect_request(re.compile(".*"), method="POST").respond_with_handler(self._answer)

    @property
    def titles(self) -> list[str]:
        return [message["title"] for _, message in self.messages]

    def _answer(self, request: Request) -> Response:
        status = self.status.get(request.path, 200)
        if status == 200:
            self.messages.append((request.path, request.get_json()))
        return Response("", status)


@pytest.fixture
def chat(httpserver: HTTPServer) -> Chat:
    return Chat(httpserver)


@pytest.fixture
def log(database: ClockedDatabase) -> Windows:
    return Windows(database)


class Process:
    """One process of the API, as far as it tells people."""

    def __init__(self, database: ClockedDatabase, addresses: str, holder: str = "one", version: str = "v1") -> None:
        self.metrics = Metrics(CollectorRegistry())
        self.lease = Lease(database, holder, timedelta(days=1), "snapshots")
        self.store = NotificationStore(database)
        links = SnapshotLinks("http://api", "http://evidently", "iris")
        steps = NextSteps("http://api", None, Path("data/model"))
        self.notifier = AlertNotifier(
            WindowStore(database),
            version,
            quorum=Quorum(2, 3),
            wording=Wording("iris", links, timedelta(minutes=4), steps),
            alertmanager=None,
            metrics=self.metrics,
        )
        self.notifications = Notifications(
            Addresses(SecretStr(addresses)), self.lease, self.metrics, log_id=database.log_id, first_wait=WAIT
        )

    def tell(self) -> None:
        self.lease.take()
        self.notifications.run(lambda: [ModelNews(self.notifier, self.store)])

    def counts(self) -> tuple[float | None, float | None]:
        value = self.metrics.registry.get_sample_value
        return tuple(value("vigie_notifications_total", {"outcome": one}) for one in ("sent", "failed"))  # type: ignore[return-value]


def fail(log: Windows, windows: int = 2, failures: list[dict[str, Any]] = FAILED) -> None:
    for _ in range(windows):
        log.add(failed=failures)


def test_a_message_says_the_cause_where_it_is_known(database: ClockedDatabase, log: Windows, chat: Chat) -> None:
    process = Process(database, chat.address)
    known = {**FAILED[0], "check": "performance", "column": None, "cause": "changed inputs explain -0.1"}
    for _ in range(2):
        log.add(failed=[known], measured="accuracy")
    process.tell()
    ((_, message),) = chat.messages
    assert "\nCause: changed inputs explain -0.1.\nNext step: " in message["message"]


def test_a_message_says_what_failed_since_when_how_bad_and_what_to_do(
    database: ClockedDatabase, log: Windows, chat: Chat
) -> None:
    process = Process(database, chat.address)
    fail(log, 1)
    process.tell()
    assert chat.messages == []  # one window is no alert yet
    log.add(failed=[*FAILED, {**FAILED[0], "column": "petal_width", "value": 0.9}])
    process.tell()
    ((_, message),) = chat.messages
    assert message["title"] == "iris: data drift began"
    assert message["type"] == "warning"
    first, links = message["message"].split("\n\n")
    since, how_bad, step = first.split("\n")
    assert since == "Data drift since 2026-11-23 12:00 UTC, in 2 of the last 2 windows."
    assert how_bad == (
        "The newest that failed, 2026-11-23 12:05 to 12:10 UTC: petal_width 0.9 (threshold 0.4), "
        "petal_length 0.8 (threshold 0.4)."
    )
    assert step.startswith(
        "Next step: look at the rows: http://api/snapshots/2026-11-23T12:05:00Z/rows?check=data_drift"
    )
    assert "scripts.calibrate --from 2026-11-23T12:05:00Z" in step
    assert re.fullmatch(r"Dashboard: http://evidently/projects/[0-9a-f-]+\nStart page: http://api", links)
    assert process.counts() == (1, 0)


def test_checks_that_fail_in_one_window_are_one_message_and_its_kind_is_the_worst(
    database: ClockedDatabase, log: Windows, chat: Chat
) -> None:
    for _ in range(2):
        log.add(failed=[*FAILED, WORSE], measured=("data_drift", "accuracy"))
    Process(database, chat.address).tell()
    ((_, message),) = chat.messages
    assert (message["title"], message["type"]) == ("iris: data drift, worse performance began", "failure")
    assert "accuracy 0.5 (threshold 0.8)" in message["message"]
    assert "curl -X POST http://api/model/reload" in message["message"]


def test_what_goes_on_is_told_again_after_a_while_and_its_end_once(
    database: ClockedDatabase, log: Windows, chat: Chat
) -> None:
    process = Process(database, chat.address)
    fail(log)
    for hours in (0, 1, 12, 1, 12):
        database.time += hours * HOUR
        process.tell()
    assert chat.titles == ["iris: data drift began", *["iris: data drift still there"] * 2]
    for _ in range(3):
        log.add(failed=False)
        process.tell()
    database.time += 13 * HOUR
    process.tell()
    assert chat.titles[3:] == ["iris: data drift over"]
    assert "Data drift, which began 2026-11-23 12:00 UTC, is over since" in chat.messages[3][1]["message"]
    assert chat.messages[3][1]["type"] == "success"


def test_another_holder_of_the_lease_goes_on_where_the_last_one_stopped(
    database: ClockedDatabase, log: Windows, chat: Chat
) -> None:
    one, two = Process(database, chat.address), Process(database, chat.address, "two")
    fail(log)
    one.tell()
    two.tell()  # has no lease
    one.lease.release()
    two.tell()
    one.tell()
    assert chat.titles == ["iris: data drift began"]
    log.add(failed=False)
    log.add(failed=False)
    one.tell()
    assert len(chat.titles) == 1
    Process(database, chat.address, "two").tell()  # as after a restart
    assert chat.titles[1:] == ["iris: data drift over"]


def test_of_two_processes_that_read_the_same_only_one_sends(database: ClockedDatabase, log: Windows) -> None:
    fail(log)
    process = Process(database, "json://127.0.0.1:9")
    process.lease.take()
    state, _ = process.store.state("digest", "json")
    barrier, claims = Barrier(4), []

    def claim() -> None:
        barrier.wait()
        claims.append(NotificationStore(database).claim(state, process.lease))

    threads = [Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (first,) = [claim for claim in claims if claim is not None]
    assert process.store.claim(state, process.lease) is None
    process.store.record(first, {}, None, WAIT)
    assert process.store.claim(first, process.lease) is None


def test_a_process_that_died_while_it_sent_is_made_up_for(database: ClockedDatabase, log: Windows, chat: Chat) -> None:
    fail(log)
    dead, other = Process(database, chat.address), Process(database, chat.address)
    dead.lease.take()
    (address,) = dead.notifications.addresses.all
    state, _ = dead.store.state(dead.notifications.digest(address), address.service)
    assert dead.store.claim(state, dead.lease) is not None
    database.time += SENDING - timedelta(seconds=1)
    other.tell()
    assert chat.messages == []
    database.time += timedelta(seconds=1)
    other.tell()
    other.tell()
    assert chat.titles == ["iris: data drift began"]


def test_an_address_that_refuses_is_tried_again_ever_later_and_the_others_are_told_once(
    database: ClockedDatabase, log: Windows, chat: Chat
) -> None:
    process = Process(database, f"{chat.address}/bad {chat.address}/good")
    chat.status["/bad"] = 503
    fail(log)
    waits = []
    for _ in range(8):
        before = process.counts()[1]
        process.tell()
        waits.append(process.counts()[1] != before)
        database.time += WAIT
    assert waits == [True, True, False, True, False, False, False, True]  # after 1, 2 and 4 minutes
    assert [path for path, _ in chat.messages] == ["/good"]
    (bad,) = [state for state in process.store.states() if state.error is not None]
    assert (bad.service, bad.tries, bad.error) == ("json", 4, "it answered with status 503")
    chat.status["/bad"] = 200
    database.time += HOUR
    process.tell()
    process.tell()
    assert [path for path, _ in chat.messages] == ["/good", "/bad"]
    assert [state.error for state in process.store.states()] == [None, None]
    assert process.counts() == (2, 4)


def test_what_began_and_ended_while_an_address_was_down_is_told(
    database: ClockedDatabase, log: Windows, chat: Chat
) -> None:
    process = Process(database, chat.address)
    chat.status["/"] = 500
    fail(log)
    process.tell()
    log.add(failed=False)
    log.add(failed=False)
    chat.status["/"] = 200
    database.time += HOUR
    process.tell()
    process.tell()
    assert chat.titles == ["iris: data drift over"]


def test_an_end_that_could_not_be_told_is_told_later(database: ClockedDatabase, log: Windows, chat: Chat) -> None:
    process = Process(database, chat.address)
    fail(log)
    process.tell()
    log.add(failed=False)
    log.add(failed=False)
    chat.status["/"] = 500
    process.tell()
    chat.status["/"] = 200
    database.time += HOUR
    Process(database, chat.address).tell()
    assert chat.titles == ["iris: data drift began", "iris: data drift over"]


def test_another_version_of_the_model_ends_the_alerts_of_the_one_before(
    database: ClockedDatabase, log: Windows, chat: Chat
) -> None:
    fail(log)
    Process(database, chat.address).tell()
    Process(database, chat.address, version="v2").tell()
    assert chat.titles == ["iris: data drift began", "iris: data drift over"]
    assert "version v2 of the model serves now, in place of v1" in chat.messages[1][1]["message"]


def test_an_address_that_was_removed_is_forgotten_and_a_new_one_is_told_what_goes_on(
    database: ClockedDatabase, log: Windows, chat: Chat
) -> None:
    fail(log)
    Process(database, f"{chat.address}/a").tell()
    Process(database, f"{chat.address}/b").tell()
    assert [path for path, _ in chat.messages] == ["/a", "/b"]
    assert len(Process(database, f"{chat.address}/b").store.states()) == 1


def test_a_mail_goes_through_a_server_with_tls_and_a_password(
    database: ClockedDatabase, log: Windows, tmp_path: Path
) -> None:
    fail(log)
    mailbox = Mailbox()
    with mail_server(mailbox, certificate(tmp_path)) as port:
        query = "smtp=127.0.0.1&from=vigie@example.org&to=on-call@example.org&mode=starttls&verify=no"
        process = Process(database, f"mailtos://vigie:{PASSWORD}@example.org:{port}?{query}")
        process.tell()
        process.tell()
    ((envelope, mail),) = mailbox.messages
    assert envelope.rcpt_tos == ["on-call@example.org"]
    assert mail["subject"] == "iris: data drift began"
    assert process.counts() == (1, 0)


def test_no_line_of_the_log_and_no_state_holds_an_address(
    database: ClockedDatabase, log: Windows, chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    fail(log)
    chat.status["/hidden-path"] = 500
    dead = f"json://vigie:hidden@127.0.0.1:{free_port()}/hidden-path"
    mail = f"mailto://vigie:hidden@example.org:{free_port()}?smtp=127.0.0.1&mode=insecure&to=hidden@example.org"
    with caplog.at_level(logging.DEBUG):
        process = Process(database, f"{chat.address}/hidden-path, {dead},{mail}\n{chat.address}")
        process.tell()
    assert process.counts() == (1, 3)
    assert "address 2 (json) of VIGIE_NOTIFY_URLS was not notified" in caplog.text
    ours = [record for record in caplog.records if record.name != "werkzeug"]  # the servers of the test log themselves
    shown = (
        "\n".join(map(repr, [record.getMessage() for record in ours]))
        + str(process.store.states())
        + str(process.notifications.addresses)
    )
    assert "hidden" not in shown
    assert str(process.notifications.addresses) == "4: json, json, mailto, json"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("json://127.0.0.1 hidden", "address 2 does not begin with a service"),
        ("hidden@example.org", "address 1 does not begin with a service"),
        ("json://127.0.0.1, jsn://hidden", "address 2 begins with jsn://, but Apprise knows no such service"),
        ("slack://hidden", "address 1 begins with slack://, but the rest of it is incomplete or wrong"),
        (" , ", "holds no address"),
    ],
)
def test_an_address_that_cannot_be_used_is_named_by_its_place_and_not_quoted(text: str, error: str) -> None:
    with pytest.raises(BadAddresses, match=re.escape(error)) as raised:
        _ = Addresses(SecretStr(text)).all
    assert "hidden" not in str(raised.value)


def test_commas_inside_an_address_belong_to_it_and_an_address_given_twice_is_one() -> None:
    mail = "mailto://vigie:hidden@example.org?to=a@example.org,b@example.org"
    assert len(Addresses(SecretStr(f"{mail},{mail}\n, json://127.0.0.1,")).all) == 2


def test_apprise_is_imported_only_where_there_are_addresses() -> None:
    code = "import sys, api.app; sys.exit('apprise' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[4]).returncode == 0
