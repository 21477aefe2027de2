import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest
from pydantic import SecretStr
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from api.app import create_app
from api.settings import Settings
from tests.in_process import serving
from tests.logging_rows import Logged
from tests.servers import free_port
from tests.watched import loans, logged
from vigie.client import Client, Unreachable
from vigie.queue import Queue, QueueFailed

ROOT = Path(__file__).parents[3]
SETOSA = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, patience_seconds=5) as client:
        yield client


@pytest.fixture
def away() -> Iterator[Client]:
    """A client of an API that does not run."""
    with Client(f"http://127.0.0.1:{free_port()}", patience_seconds=0.1) as client:
        yield client


def labels_of(stored: Logged) -> dict[str, str]:
    return {row["prediction_id"]: row["label"] for row in stored("labels")}


def await_true(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = monotonic() + seconds
    while not condition():
        assert monotonic() < deadline
        sleep(0.01)


def test_what_was_accepted_waits_for_an_api_that_is_away(
    client: Client, away: Client, tmp_path: Path, stored: Logged
) -> None:
    ids = [one.prediction_id for one in client.batch([SETOSA] * 3)]
    queue = Queue(away, tmp_path)
    queue.feedback(dict.fromkeys(ids, "setosa"))
    with pytest.raises(Unreachable):
        queue.flush()
    assert queue.waiting() == 3
    queue.close()
    later = Queue(client, tmp_path)
    later.flush()
    assert later.waiting() == 0
    later.close()
    assert {labels_of(stored)[one] for one in ids} == {"setosa"}


def test_a_thread_sends_by_itself(client: Client, tmp_path: Path, stored: Logged) -> None:
    ids = [one.prediction_id for one in client.batch([SETOSA] * 2)]
    with Queue(client, tmp_path, pause_seconds=60) as queue:
        queue.feedback({ids[0]: "setosa"})
        await_true(lambda: ids[0] in labels_of(stored))
        queue.feedback({ids[1]: "virginica"})
    assert labels_of(stored)[ids[1]] == "virginica", "what waits at the end is sent"


def test_what_is_refused_is_set_aside_and_harms_nothing_behind_it(
    client: Client, tmp_path: Path, stored: Logged
) -> None:
    ids = [one.prediction_id for one in client.batch([SETOSA] * 9)]
    queue = Queue(client, tmp_path)
    queue.feedback(dict.fromkeys(ids, "setosa") | {ids[4]: "rose", "later": "setosa"})
    queue.flush()
    assert queue.waiting() == 0
    assert set(ids) - set(labels_of(stored)) == {ids[4]}
    wrong, unknown = sorted(queue.refused(), key=lambda one: one.content["prediction_id"] == "later")
    assert wrong.content == {"prediction_id": ids[4], "label": "rose"}
    assert "422" in wrong.reason
    assert "none of the classes" in wrong.reason
    assert (unknown.content["prediction_id"], unknown.reason) == ("later", "no prediction with this id is logged")
    client.predict(SETOSA, "later")
    queue.retry_refused()
    queue.flush()
    assert labels_of(stored)["later"] == "setosa"
    assert [one.content["prediction_id"] for one in queue.refused()] == [ids[4]]
    queue.close()


CHILD = """
import sys
from vigie.client import Client
from vigie.queue import Queue
queue = Queue(Client(sys.argv[1], model="m", patience_seconds=60), sys.argv[2])
queue.__enter__()
number = 0
while True:
    queue.log([{"features": {"n": number + n}, "prediction": 1.0, "prediction_id": f"p{number + n}"} for n in range(5)])
    number += 5
    print(number, flush=True)
"""


class Log:
    """What a model's log holds after calls of which every third is carried out, and answered with a failure."""

    def __init__(self) -> None:
        self.calls, self.rows = 0, list[str]()
        self._lock = threading.Lock()

    def handle(self, request: Request) -> Response:
        with self._lock:
            self.calls += 1
            known = set(self.rows)
            sent = [row["prediction_id"] for row in request.get_json()["predictions"]]
            self.rows += [one for one in sent if one not in known]
            return Response('{"accepted": 1}', 200 if self.calls % 3 else 502, mimetype="application/json")


def test_a_killed_process_loses_nothing_that_it_accepted(httpserver: HTTPServer, tmp_path: Path) -> None:
    log = Log()
    httpserver.expect_request("/models/m/log").respond_with_handler(log.handle)
    accepted = 0
    for more in (40, 25):
        command = [sys.executable, "-c", CHILD, httpserver.url_for(""), str(tmp_path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(more):
                accepted = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            accepted = max([accepted, *(int(line) for line in child.stdout if line.endswith("\n"))])
    with Client(httpserver.url_for(""), model="m") as client:
        queue = Queue(client, tmp_path)
        queue.flush()
        assert (queue.waiting(), queue.refused()) == (0, [])
        queue.close()
    assert {f"p{n}" for n in range(accepted)} <= set(log.rows)
    assert len(log.rows) == len(set(log.rows))
    assert [int(one[1:]) for one in log.rows] == sorted(int(one[1:]) for one in log.rows), "in order"


def test_predictions_made_elsewhere_are_logged_once_with_their_labels(
    settings: Settings, watched_artifact: Callable[[str], Path], tmp_path: Path
) -> None:
    log = SecretStr(f"sqlite:///{tmp_path}/log.db")
    app = create_app(settings.model_copy(update={"model_dir": watched_artifact("classes"), "database_url": log}))
    rows = [logged(row, label=True) for row in loans(30)]
    unnamed = [{name: value for name, value in row.items() if name != "prediction_id"} for row in rows]
    with serving(app) as port, Client(f"http://127.0.0.1:{port}", model="loans") as client:
        assert client.log(rows[:10])["labels"] == 10
        queue = Queue(client, tmp_path / "unsent")
        queue.log(rows)
        made = queue.log(unnamed)
        queue.flush()
        assert (queue.waiting(), queue.refused()) == (0, [])
        assert client.log([{**unnamed[0], "prediction_id": made[0]}])["repeated"] == 1
        assert client.log(rows)["repeated"] == 30
        queue.close()


def test_several_queues_share_a_folder(client: Client, tmp_path: Path, stored: Logged) -> None:
    ids = [one.prediction_id for one in client.batch([SETOSA] * 200)]

    def work(some: list[str]) -> None:
        queue = Queue(client, tmp_path)
        for one in some:
            queue.feedback({one: "setosa"})
        queue.flush()
        queue.close()

    threads = [threading.Thread(target=work, args=(ids[first::4],)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    last = Queue(client, tmp_path)
    last.flush()
    assert (last.waiting(), last.refused()) == (0, [])
    last.close()
    assert set(ids) <= set(labels_of(stored))


def test_a_folder_that_cannot_be_written_accepts_nothing(client: Client, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(QueueFailed, match="cannot be read or written"):
        Queue(client, tmp_path / "file")
    queue = Queue(client, tmp_path / "queue")
    queue.close()
    with pytest.raises(QueueFailed):
        queue.feedback({"a": "setosa"})
