import ast
import asyncio
import inspect
import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import RFC_4122, UUID

import httpx
import numpy as np
import pytest
from pydantic import SecretStr
from pytest_httpserver import HTTPServer

import vigie.client
from api.app import create_app
from api.settings import Settings
from scripts.keys import create_key
from tests.in_process import serving
from tests.logging_rows import Logged
from tests.servers import free_port
from vigie.client import (
    AsyncClient,
    Client,
    Conflict,
    InvalidRequest,
    KeyRefused,
    NotFound,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    new_id,
)

ROOT = Path(__file__).parents[3]
SETOSA = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, patience_seconds=5) as client:
        yield client


def ids(stored: Logged, table: str = "predictions", column: str = "id") -> list[str]:
    return [row[column] for row in stored(table)]


def test_the_client_needs_httpx_alone() -> None:
    imported = set()
    for file in (ROOT / "vigie").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).partition(".")[0])
    assert imported - sys.stdlib_module_names == {"httpx", "vigie"}


def test_a_row_is_predicted_with_an_id_and_takes_a_label(client: Client, stored: Logged) -> None:
    answer = client.predict(SETOSA)
    assert answer.prediction == "setosa"
    assert set(answer.probabilities) == {"setosa", "versicolor", "virginica"}
    assert answer.prediction_id in ids(stored)
    receipt = client.feedback({answer.prediction_id: "setosa", "nobody": "setosa"})
    assert (receipt.accepted, receipt.unknown) == (1, ("nobody",))
    assert client.predict(SETOSA, answer.prediction_id) == answer


def test_rows_are_predicted_together(client: Client, stored: Logged) -> None:
    answers = client.batch([SETOSA, SETOSA])
    assert len({one.prediction_id for one in answers} & set(ids(stored))) == 2
    named = [new_id(), new_id()]
    assert [one.prediction_id for one in client.batch([SETOSA, SETOSA], named)] == named


def test_asyncio_has_the_same_calls(url: str, stored: Logged) -> None:
    async def calls() -> None:
        async with AsyncClient(url) as client:
            answers = await asyncio.gather(*(client.predict(SETOSA) for _ in range(10)))
            answers += await client.batch([SETOSA])
            assert {one.prediction_id for one in answers} <= set(ids(stored))
            assert (await client.feedback({answers[0].prediction_id: "setosa"})).accepted == 1
            with pytest.raises(InvalidRequest):
                await client.predict({})

    asyncio.run(calls())


def test_new_ids_follow_each_other_in_time() -> None:
    made = [new_id() for _ in range(3)]
    assert len(set(made)) == 3
    assert {(UUID(one).version, UUID(one).variant) for one in made} == {(7, RFC_4122)}
    assert made[0][:8] == made[2][:8]


def test_numbers_of_numpy_are_sent_and_what_json_has_not_is_explained(client: Client) -> None:
    row = {name: np.float32(value) for name, value in SETOSA.items()}
    assert client.predict(row).prediction == "setosa"
    with pytest.raises(ValueError, match="None where it is missing"):
        client.predict(SETOSA | {"sepal_length": float("nan")})
    with pytest.raises(TypeError, match="of type set is not JSON"):
        client.predict(SETOSA | {"sepal_length": {1}})


def test_an_error_has_the_type_of_its_status_and_names_the_field(client: Client, url: str) -> None:
    with pytest.raises(InvalidRequest, match="petal_width: Field required") as refused:
        client.predict({name: value for name, value in SETOSA.items() if name != "petal_width"})
    assert refused.value.status == 422
    assert refused.value.errors[0]["field"] == "petal_width"
    client.predict(SETOSA, "taken")
    with pytest.raises(Conflict, match="'taken'"):
        client.predict(SETOSA | {"petal_width": 9}, "taken")
    with Client(url, model="none") as other, pytest.raises(NotFound):
        other.predict(SETOSA)
    with pytest.raises(ValueError, match="name the model"):
        client.log([])
    for address in ("127.0.0.1:8000", "ftp://x", "", "http://", "http://x:port", "http://\x00"):
        with pytest.raises(ValueError, match="http://"):
            Client(address)


def test_a_key_is_presented(settings: Settings, tmp_path: Path) -> None:
    keys = tmp_path / "keys.jsonl"
    key = create_key(keys, "shop", ["predict"])
    log = SecretStr(f"sqlite:///{tmp_path}/log.db")
    app = create_app(settings.model_copy(update={"api_keys_file": keys, "database_url": log}))
    with serving(app) as port:
        address = f"http://127.0.0.1:{port}"
        with Client(address, key=key) as client:
            assert client.predict(SETOSA).prediction == "setosa"
            with pytest.raises(KeyRefused, match="lacks the scope feedback"):
                client.feedback({"a": "setosa"})
        with Client(address) as client, pytest.raises(KeyRefused, match="needs an API key"):
            client.predict(SETOSA)


@contextmanager
def losing_answers(url: str, lost: int) -> Iterator[str]:
    """A proxy that carries requests to the API, and hangs up instead of returning the first answers."""
    listener = socket.create_server(("127.0.0.1", 0))

    def carry() -> None:
        left = lost
        while True:
            try:
                caller, _ = listener.accept()
            except OSError:
                return
            with caller:
                head, _, body = b"", b"", b""
                received = b""
                while b"\r\n\r\n" not in received:
                    received += caller.recv(65536)
                head, _, body = received.partition(b"\r\n\r\n")
                length = int(next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-le"))[15:])
                while len(body) < length:
                    body += caller.recv(65536)
                path = head.split(b" ")[1].decode()
                answer = httpx.post(url + path, content=body, headers={"Content-Type": "application/json"})
                if left:
                    left -= 1
                    continue
                caller.sendall(
                    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(answer.content)
                    + answer.content
                )

    threading.Thread(target=carry, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()


def test_a_lost_answer_is_asked_for_again_and_the_row_is_logged_once(url: str, stored: Logged) -> None:
    before = len(stored("predictions"))
    with losing_answers(url, 2) as address, Client(address, patience_seconds=20) as client:
        answer = client.predict(SETOSA)
    assert ids(stored).count(answer.prediction_id) == 1
    assert len(stored("predictions")) == before + 1


def test_it_waits_as_long_as_it_is_asked_to(httpserver: HTTPServer) -> None:
    httpserver.expect_ordered_request("/predict").respond_with_data("", 503, {"Retry-After": "1"})
    httpserver.expect_ordered_request("/predict").respond_with_json(
        {"prediction_id": "a", "prediction": 1.5, "model_version": "v1"}
    )
    began = monotonic()
    with Client(httpserver.url_for("")) as client:
        assert client.predict({}).prediction == 1.5
    assert monotonic() - began >= 1
    sent = [dict(request.args) for request, _ in httpserver.log]
    assert len(sent) == 2
    assert sent[0] == sent[1], "the same id"


def test_it_does_not_wait_longer_than_its_patience(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/predict").respond_with_json({"detail": "busy"}, 429, {"Retry-After": "3600"})
    httpserver.expect_request("/feedback").respond_with_data("no JSON", 200)
    with Client(httpserver.url_for(""), patience_seconds=0.3) as client:
        with pytest.raises(Unavailable, match="429: busy"):
            client.predict({})
        with pytest.raises(UnexpectedAnswer, match="not JSON"):
            client.feedback({})
    away = f"http://127.0.0.1:{free_port()}"
    with Client(away, patience_seconds=0.3) as client, pytest.raises(Unreachable, match="nothing answered"):
        client.predict({})


def test_predictions_made_elsewhere_are_logged_under_their_model(httpserver: HTTPServer) -> None:
    receipt: dict[str, Any] = {"accepted": 2, "repeated": 0, "labels": 0}
    httpserver.expect_request("/models/house prices/log").respond_with_json(receipt)
    with Client(httpserver.url_for(""), model="house prices") as client:
        rows = [{"features": {"a": 1}, "prediction": 2.0}, {"features": {}, "prediction": 3.0, "prediction_id": "b"}]
        assert client.log(rows) == receipt
    sent = httpserver.log[0][0].get_json()["predictions"]
    assert sent[1]["prediction_id"] == "b"
    assert len(sent[0]["prediction_id"]) == 36


def test_the_examples_of_the_page_run(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: Logged
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        assert "http://127.0.0.1:8000" in example
        exec(compile(example.replace("http://127.0.0.1:8000", url), "client.md", "exec"), {})  # noqa: S102 - our own page
    assert "order-17" in ids(stored, "labels", "prediction_id")
    assert (tmp_path / "unsent" / "queue.db").exists()


def test_the_page_names_every_error_and_call() -> None:
    page = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
    kinds = {name: one for name, one in vars(vigie.client).items() if isinstance(one, type)}
    names = [name for name, one in kinds.items() if issubclass(one, vigie.client.ClientError)]
    assert [name for name in names if f"`{name}`" not in page and name != "Answered"] == []
    for call in ("predict", "batch", "log", "feedback"):
        assert f"`{call}(" in page
        assert set(inspect.signature(getattr(Client, call)).parameters) == set(
            inspect.signature(getattr(AsyncClient, call)).parameters
        )
