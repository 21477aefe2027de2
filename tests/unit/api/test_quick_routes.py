"""The quick way through a route gives what FastAPI's own way gives."""

from typing import Any

import orjson
import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.routes import predictions
from api.settings import Settings

JSON = {"content-type": "application/json"}


def without_id(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "prediction_id"}


def bodies(setosa: dict[str, Any]) -> list[bytes]:
    plain = orjson.dumps(setosa)
    return [
        plain,
        orjson.dumps(setosa | {"petal_width": None}),
        plain.replace(b"0.2", b"1"),
        plain.replace(b"0.2", b"2e-1"),
        plain.replace(b"0.2", b"NaN"),
        plain.replace(b"0.2", b'"0.2"'),
        plain.replace(b"0.2", b"true"),
        plain.replace(b"0.2", b"1" * 400),
        plain[:-1] + b',"petal_width":0.3}',
        plain[:-1] + b',"colour":"blue"}',
        b"\xef\xbb\xbf" + plain,
        b" " + plain + b"\n",
        plain + b"}",
        plain[:-1],
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
    ]


def answered(settings: Settings, path: str, sent: list[bytes]) -> list[tuple[int, str, Any]]:
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        answers = [client.post(path, content=body, headers=JSON) for body in sent]
    return [(one.status_code, one.headers["content-type"], without_id(one.json())) for one in answers]


def test_every_body_gets_the_same_answer_either_way(
    settings: Settings, setosa: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = bodies(setosa)
    quickly = answered(settings, "/predict", sent)
    monkeypatch.setattr(predictions, "_is_json", lambda _scope: False)
    assert quickly == answered(settings, "/predict", sent)
    assert [status for status, _, _ in quickly][:4] == [200] * 4
    assert {status for status, _, _ in quickly[-6:]} <= {400, 422}


def test_a_body_in_pieces_is_predicted(client: TestClient, setosa: dict[str, Any]) -> None:
    whole = orjson.dumps(setosa)
    answer = client.post("/predict", content=(whole[n : n + 7] for n in range(0, len(whole), 7)), headers=JSON)
    assert answer.json()["prediction"] == "setosa"


def test_a_bad_body_in_pieces_is_refused_by_its_field(client: TestClient, setosa: dict[str, Any]) -> None:
    whole = orjson.dumps(setosa | {"petal_width": "wide"})
    answer = client.post("/predict", content=(whole[n : n + 7] for n in range(0, len(whole), 7)), headers=JSON)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "petal_width"


@pytest.mark.parametrize("headers", [{"content-type": "text/plain"}, {}])
def test_a_body_that_does_not_say_it_is_json_is_refused(
    client: TestClient, setosa: dict[str, Any], headers: dict[str, str]
) -> None:
    assert client.post("/predict", content=orjson.dumps(setosa), headers=headers).status_code == 422


def test_the_schema_still_says_what_is_answered(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path, name in (("/predict", "Prediction"), ("/predict/batch", "Predictions")):
        content = paths[path]["post"]["responses"]["200"]["content"]["application/json"]
        assert content["schema"] == {"$ref": f"#/components/schemas/{name}"}


def test_an_answer_has_the_shape_of_the_schema(client: TestClient, setosa: dict[str, Any]) -> None:
    schema = client.get("/openapi.json").json()["components"]["schemas"]["Prediction"]
    answer = client.post("/predict/batch", json={"rows": [setosa] * 2}).json()["predictions"][1]
    assert list(answer) == list(schema["properties"])
