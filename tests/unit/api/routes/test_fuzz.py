"""Every call of the API under requests that a machine made up: whatever comes, it never fails.

One API with a real database, whose callers need keys; what is sent carries a key with every scope.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
import requests
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection, positive_data_acceptance

from api.app import create_app
from api.security.keys import SCOPES
from api.settings import Settings
from scripts.keys import create_key
from tests.postgres import fresh_database

PROBLEM = "application/problem+json"
OURS = {"authorization", "x-api-key", "content-length"}
"""Headers that are not made up."""
# the same requests in each run, so that a red test is red again
BOUNDED = settings(
    max_examples=8, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def key(folder: Path) -> str:
    return create_key(folder / "keys.jsonl", "fuzz", SCOPES)


# what classes and numbers do to PostgreSQL is the same: texts in the log
CASES = [
    ("sqlite", "iris"),
    ("sqlite", "diabetes"),
    ("postgresql", "diabetes"),
    ("sqlite", "several"),
    ("sqlite", "watched"),
]


@pytest.fixture(scope="module", params=CASES, ids=["-".join(case) for case in CASES])
def client(request: pytest.FixtureRequest, folder: Path, key: str) -> Iterator[TestClient]:
    kind, dataset = request.param
    models: dict[str, Any] = {}
    if dataset == "several":
        models = {"models_dir": several(folder / "models", request), "default_model": "flowers"}
    else:
        made = request.getfixturevalue(f"{dataset}_artifact")
        models = {"model_dir": made("classes") if dataset == "watched" else made}
    if kind == "sqlite":
        url = f"sqlite:///{folder}/log.db"
    else:
        server = request.getfixturevalue("postgres")
        if server is None:
            pytest.skip("no PostgreSQL server on this machine (Debian: apt-get install postgresql)")
        url = fresh_database(server, f"fuzz_{uuid4().hex}")
    app = create_app(
        Settings(
            **models,
            database_url=SecretStr(url),
            reports_dir=folder / "reports",
            api_keys_file=folder / "keys.jsonl",
            snapshots=False,
            max_batch_rows=50,
            max_body_bytes=100_000,
            allowed_hosts="testserver",
        )
    )
    with TestClient(app, raise_server_exceptions=False, headers={"X-API-Key": key}) as client:
        yield client


def several(folder: Path, request: pytest.FixtureRequest) -> Path:
    """Make a folder of two models and a broken one."""
    for name, dataset in (("flowers", "iris"), ("sugar", "diabetes"), ("broken", "iris")):
        shutil.copytree(request.getfixturevalue(f"{dataset}_artifact"), folder / name)
    (folder / "broken" / "model.onnx").write_bytes(b"damaged")
    return folder


MODES = list(GenerationMode)


@pytest.mark.parametrize("mode", MODES, ids=[mode.value for mode in MODES])
def test_every_call_of_the_schema_answers_as_the_schema_says(client: TestClient, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    tried = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        if mode is GenerationMode.POSITIVE or takes_anything(operation):
            try_call(client, operation, mode)
            tried.add(operation.label)
    card = client.get("/model").json()
    predicting = set() if card["engine"] == "elsewhere" else {"POST /predict", "POST /predict/batch"}
    assert {*predicting, "POST /feedback", f"POST /models/{card['name']}/log"} <= tried


def takes_anything(operation: Any) -> bool:
    """Whether there is something that could be wrong: a body or a parameter."""
    return bool(operation.body or operation.query or operation.path_parameters)


def try_call(client: TestClient, operation: Any, mode: GenerationMode) -> None:
    # a label that is no class is a text as good as any, as far as the schema knows; a number is always one
    card = "/".join(operation.path.split("/")[:3]) if operation.path.startswith("/models/") else "/model"
    classes = client.get(card).json().get("task") == "classification"
    labels = operation.path.endswith("/feedback")
    excluded = [ignored_auth] + ([positive_data_acceptance] if labels and classes else [])
    # nor does it know that probabilities add up to 1, and that ids differ
    excluded += [positive_data_acceptance] if operation.path.endswith("/log") else []
    # a time may also be written as seconds since 1970, or without its seconds
    timed = operation.path.endswith(("/snapshots/metrics", "/snapshots/{start}/rows"))
    excluded += [negative_data_rejection] if timed else []
    broken = card == "/models/broken"
    excluded += [negative_data_rejection, positive_data_acceptance, not_a_server_error] if broken else []

    @BOUNDED
    @given(case=operation.as_strategy(generation_mode=mode))
    def holds(case: schemathesis.Case) -> None:
        if mode is GenerationMode.POSITIVE:
            give_each_row_an_id(case.body)
        request = requests.Request(**case.as_transport_kwargs(base_url="http://testserver")).prepare()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in OURS}
        answer = client.request(request.method or "", request.url or "", headers=headers, content=request.body)
        assert answer.status_code < 500 or (broken and answer.status_code == 503), answer.text
        case.validate_response(answer, excluded_checks=excluded)

    holds()


def give_each_row_an_id(body: Any) -> None:
    """Make a batch's ids as many as its rows, which a schema cannot ask for."""
    if isinstance(body, dict) and isinstance(body.get("prediction_ids"), list):
        more = [f"{uuid4()}" for _ in body["rows"]]
        body["prediction_ids"] = [*body["prediction_ids"], *more][: len(body["rows"])]


PATHS = ("/predict", "/predict/batch", "/feedback", "/models/iris/log", "/models/loans/log", "/model",
         "/snapshots", "/snapshots/metrics", "/reports", "/predictions", "/models/flowers/predictions",
         "/models", "/models/flowers", "/models/sugar/predict", "/models/nobody/snapshots", "/models/",
         "/metrics", "/docs", "/openapi.json", "/static-offline-docs", "/health/ready", "/")  # fmt: skip
KINDS = ["application/json", "text/plain", "multipart/form-data", "application/json; charset=x", ""]
PARAMETERS = ["prediction_id", "limit", "skip", "name", "column", "from", "to"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
BODIES = st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode())


def test_no_request_whatever_makes_it_fail(client: TestClient) -> None:
    @settings(BOUNDED, max_examples=100)
    @given(
        method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "BREW"]),
        path=st.sampled_from(PATHS),
        rest=st.just("") | TEXTS.map(lambda text: f"/{quote(text)}"),
        query=st.dictionaries(st.sampled_from(PARAMETERS), TEXTS, max_size=3),
        kind=st.sampled_from(KINDS),
        body=BODIES,
    )
    def holds(method: str, path: str, rest: str, query: dict[str, str], kind: str, body: bytes) -> None:  # noqa: PLR0917
        answer = client.request(method, path + rest, params=query, content=body, headers={"Content-Type": kind})
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400 and method != "HEAD":
            assert answer.headers["content-type"] == PROBLEM
            assert answer.json()["status"] == answer.status_code

    holds()


HOSTILE = ["\\u0000", "\\ud800", "\\udc00\\ud800", "\\uffff", "'; DROP TABLE predictions; --", "%s%n%d", "\\u202e"]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_that_databases_choke_on_is_answered(client: TestClient, text: str, setosa: dict[str, Any]) -> None:
    bodies = {
        "/feedback": f'{{"labels": [{{"prediction_id": "{text}", "label": "setosa"}}]}}',
        "/feedback?": f'{{"labels": [{{"prediction_id": "known", "label": "{text}"}}]}}',
        "/predict": json.dumps(setosa | {"sepal_length": "TEXT"}).replace("TEXT", text),
        "/predict?": json.dumps(setosa | {"TEXT": 1}).replace("TEXT", text),
        "/predict/batch": f'{{"rows": "{text}"}}',
    }
    card, elsewhere = client.get("/model").json(), '{"predictions": [{"prediction_id": "TEXT", "prediction": "TEXT"}]}'
    bodies[f"/models/{card['name']}/log"] = elsewhere.replace("TEXT", text)
    for path, body in bodies.items():
        if card["engine"] == "elsewhere" and path.startswith("/predict"):
            continue
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in {200, 400, 422}, (path, answer.text)
    for name in ("name", "column"):
        sent = json.loads(f'"{text}"').encode("utf-8", "ignore")
        answer = client.get(f"/snapshots/metrics?{name}={quote(sent)}")
        assert answer.status_code in {200, 422}, answer.text


def test_times_at_the_edge_are_answered(client: TestClient) -> None:
    for moment in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59+14:00", "9999-12-31T23:59:59-14:00", "1e400", "-1"):
        for name in ("from", "to"):
            answer = client.get("/snapshots/metrics", params={name: moment})
            assert answer.status_code in {200, 422}, (moment, answer.text)
