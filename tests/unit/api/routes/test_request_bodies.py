"""How bodies are read and refused: each is validated once, and only the first errors are built."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi.testclient import TestClient

from api.errors import MAX_ERRORS, FieldError, PayloadError
from api.serving import request_bodies
from api.serving.request_bodies import ListBody, RequestBody
from api.serving.schemas import Row, batch_type, row_type, task_types
from model.artifact.store import read_manifest

JSON = {"content-type": "application/json"}
MAX_ROWS = 5000
ROOT = Path(__file__).parents[4]


def without_id(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "prediction_id"}


def texts(setosa: dict[str, Any]) -> list[str]:
    plain = orjson.dumps(setosa).decode()
    return [
        plain,
        orjson.dumps(setosa | {"petal_width": None}).decode(),
        plain.replace("0.2", "1"),
        plain.replace("0.2", "2e-1"),
        plain[:-1] + ',"petal_width":0.3}',
        " " + plain + "\n",
        plain.replace("0.2", "NaN"),
        plain.replace("0.2", '"0.2"'),
        plain.replace("0.2", "true"),
        plain.replace("0.2", "1" * 400),
        plain[:-1] + ',"colour":"blue"}',
        plain + "}",
        plain[:-1],
        "[]",
        "null",
    ]


def answered(client: TestClient, sent: list[bytes]) -> list[tuple[int, str, Any]]:
    answers = [client.post("/predict", content=body, headers=JSON) for body in sent]
    return [(one.status_code, one.headers["content-type"], without_id(one.json())) for one in answers]


def test_a_body_gets_the_same_answer_in_every_encoding_of_json(client: TestClient, setosa: dict[str, Any]) -> None:
    sent = texts(setosa)
    expected = answered(client, [text.encode() for text in sent])
    assert [status for status, _, _ in expected] == [200] * 6 + [422] * 9
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        assert answered(client, [text.encode(encoding) for text in sent]) == expected


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"", 422, {"field": "body", "message": "Field required", "type": "missing"}),
        (b"\xff\xfe", 422, {"field": "body", "message": "not valid JSON: Expecting value", "type": "json_invalid"}),
        (b"\xff\xff", 400, None),
        (b"[" * 20_000, 400, None),
    ],
)
def test_a_body_that_cannot_be_parsed_is_refused_with_the_reason(
    client: TestClient, body: bytes, status: int, error: dict[str, str] | None
) -> None:
    answer = client.post("/predict", content=body, headers=JSON)
    assert (answer.status_code, answer.json().get("errors", [None])[0]) == (status, error)


def test_a_body_in_pieces_is_predicted(client: TestClient, setosa: dict[str, Any]) -> None:
    whole = orjson.dumps(setosa)
    answer = client.post("/predict", content=(whole[n : n + 7] for n in range(0, len(whole), 7)), headers=JSON)
    assert answer.json()["prediction"] == "setosa"


def test_a_bad_body_in_pieces_is_refused_by_its_field(client: TestClient, setosa: dict[str, Any]) -> None:
    whole = orjson.dumps(setosa | {"petal_width": "wide"})
    answer = client.post("/predict", content=(whole[n : n + 7] for n in range(0, len(whole), 7)), headers=JSON)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "petal_width"


@pytest.mark.parametrize("headers", [{"content-type": "text/plain"}, {"content-type": "application/ld+json/x"}, {}])
@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/feedback"])
def test_a_body_that_does_not_declare_json_is_refused(
    client: TestClient, setosa: dict[str, Any], path: str, headers: dict[str, str]
) -> None:
    bodies = {"/predict": setosa, "/predict/batch": {"rows": [setosa]}, "/feedback": {"labels": []}}
    answer = client.post(path, content=orjson.dumps(bodies[path]), headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body")


@pytest.mark.parametrize("kind", ["APPLICATION/JSON", "application/json; charset=utf-8", "application/ld+json; x=1"])
def test_a_body_may_declare_json_in_several_ways(client: TestClient, setosa: dict[str, Any], kind: str) -> None:
    assert client.post("/predict", content=orjson.dumps(setosa), headers={"content-type": kind}).status_code == 200


@pytest.mark.parametrize("name", ["body", "query", "path", "rows"])
def test_a_field_is_named_whatever_its_name(client: TestClient, setosa: dict[str, Any], name: str) -> None:
    answer = client.post("/predict", json=setosa | {name: 1})
    assert [error["field"] for error in answer.json()["errors"]] == [name]


def test_the_schema_describes_the_responses(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path, name in (("/predict", "Prediction"), ("/predict/batch", "Predictions"), ("/feedback", "FeedbackReceipt")):
        content = paths[path]["post"]["responses"]["200"]["content"]["application/json"]
        assert content["schema"] == {"$ref": f"#/components/schemas/{name}"}


def test_an_answer_has_the_shape_of_the_schema(client: TestClient, setosa: dict[str, Any]) -> None:
    schema = client.get("/openapi.json").json()["components"]["schemas"]["Prediction"]
    answer = client.post("/predict/batch", json={"rows": [setosa] * 2}).json()["predictions"][1]
    assert list(answer) == list(schema["properties"])


@pytest.fixture
def row(iris_artifact: Any) -> type[Row]:
    return row_type(read_manifest(iris_artifact))


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[FieldError]:
    """The errors that were built."""
    found: list[FieldError] = []
    build = FieldError.from_pydantic

    def noted(item: Any) -> FieldError:
        found.append(build(item))
        return found[-1]

    monkeypatch.setattr(FieldError, "from_pydantic", noted)
    return found


def refusal(body: RequestBody[Any], content: bytes) -> PayloadError:
    with pytest.raises(PayloadError) as refused:
        body.read(content, is_json=True)
    return refused.value


@pytest.mark.parametrize("rows", [100, 1000, 5000])
def test_many_invalid_rows_are_refused_with_the_first_errors_only(
    row: type[Row], built: list[FieldError], rows: int
) -> None:
    batch = ListBody(batch_type(row, MAX_ROWS), "rows", row, MAX_ROWS)
    error = refusal(batch, b'{"rows":[' + b",".join([b"{}"] * rows) + b"]}")
    assert len(built) == len(error.errors) == MAX_ERRORS
    assert error.errors[-1].field == "rows[24].petal_width"
    assert str(error).endswith("rows[0].petal_length: Field required; and at least 97 more")


@pytest.mark.parametrize("fields", [1000, 20_000])
def test_many_unknown_fields_are_refused_with_the_first_ones_only(
    row: type[Row], built: list[FieldError], setosa: dict[str, Any], fields: int
) -> None:
    unknown = {f"unknown_{number}": number for number in range(fields)}
    batch = ListBody(batch_type(row, MAX_ROWS), "rows", row, MAX_ROWS)
    for body, content, prefix in (
        (RequestBody(row), {**unknown, **setosa}, ""),
        (batch, {"rows": [{**unknown, **setosa}] * 3}, "rows[0]."),
        (batch, {**unknown, "rows": [setosa]}, ""),
    ):
        built.clear()
        error = refusal(body, orjson.dumps(content))
        assert [one.field for one in error.errors] == [f"{prefix}unknown_{number}" for number in range(MAX_ERRORS)]
        assert len(built) == MAX_ERRORS
        assert "and at least 97 more" in str(error)


def test_errors_that_are_all_named_are_counted_exactly(row: type[Row]) -> None:
    batch = ListBody(batch_type(row, MAX_ROWS), "rows", row, MAX_ROWS)
    for rows in (2, 25):
        error = refusal(batch, json.dumps({"rows": [{}] * rows}).encode())
        assert len(error.errors) == 4 * rows
        assert str(error).endswith(f"; and {4 * rows - 3} more")


def test_too_many_rows_are_refused_before_they_are_validated(row: type[Row], built: list[FieldError]) -> None:
    batch = ListBody(batch_type(row, 10), "rows", row, 10)
    error = refusal(batch, b'{"rows":[' + b",".join([b"{}"] * 11) + b"]}")
    assert [one.type for one in error.errors] == ["too_many_rows"]
    assert built == []


TRICKY = ["plain", 'a"b', "a,b", "{[", "]}", "\\", '\\"', '"\\', "\\\\", '",{"', "é,", "\U0001f600"]


@pytest.fixture
def labels(iris_artifact: Path) -> ListBody[Any]:
    types = task_types(read_manifest(iris_artifact))
    return ListBody(types.feedback, "labels", types.label, MAX_ROWS)


@pytest.mark.parametrize("piece_bytes", [16, 61, 500, 10_000])
def test_a_body_that_is_read_in_pieces_is_the_same(
    labels: ListBody[Any], monkeypatch: pytest.MonkeyPatch, piece_bytes: int
) -> None:
    monkeypatch.setattr(request_bodies, "LARGE_BYTES", piece_bytes)
    sent = {"labels": [{"prediction_id": str(n), "label": text} for n, text in enumerate(TRICKY * 20)]}
    for body in (json.dumps(sent), json.dumps(sent, ensure_ascii=False, indent=1)):
        for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
            read = asyncio.run(labels.read_large(body.encode(encoding), is_json=True))
            assert read == labels.read(body.encode(), is_json=True)


def spoilt(whole: str) -> list[str]:
    return [
        whole.replace('"label": "]}"', '"label": [1]', 1),
        whole.replace('"prediction_id": "199", ', "", 1),
        whole.replace('"label"', '"title"'),
        whole.replace("}, {", "},, {", 1),
        whole.replace("}]}", "},]}"),
        whole.replace("}]}", "}, ]}"),
        whole.replace("[{", "[,{", 1),
        whole.replace("}]}", "}]"),
        whole.replace("}]}", "}]}}"),
        whole.replace("}]}", "}}]"),
        whole.replace("}]}", '}], "more": 1}'),
        whole.replace('{"labels"', '{"more": 1, "labels"'),
        whole.replace("}]}", '}], "labels": []}'),
        whole.replace("[{", "{", 1),
        whole[:-300],
        "[]",
        '{"labels": []}',
        "   ",
    ]


@pytest.mark.parametrize("piece_bytes", [16, 61, 10_000])
def test_a_bad_body_that_is_read_in_pieces_is_refused_for_the_same_reason(
    labels: ListBody[Any], monkeypatch: pytest.MonkeyPatch, piece_bytes: int
) -> None:
    whole = json.dumps({"labels": [{"prediction_id": str(n), "label": text} for n, text in enumerate(TRICKY * 20)]})
    for body in spoilt(whole):
        expected = refusal(labels, body.encode()).errors[0]
        with monkeypatch.context() as patched:
            patched.setattr(request_bodies, "LARGE_BYTES", piece_bytes)
            with pytest.raises(PayloadError) as refused:
                asyncio.run(labels.read_large(body.encode(), is_json=True))
        found = refused.value.errors[0]
        assert (found.field, found.type) == (expected.field, expected.type), body[-40:]


@pytest.mark.parametrize(
    ("part", "error"),
    [
        (b"{},", "rows: 20,000 are too many; send at most 5,000 at a time"),
        (b"{" + b'"f":1,' * 20 + b'"f":1},', "rows: 20,000 are too many; send at most 5,000 at a time"),
    ],
)
def test_the_rows_of_a_large_body_are_counted_before_any_is_parsed(
    row: type[Row], monkeypatch: pytest.MonkeyPatch, part: bytes, error: str
) -> None:
    batch = ListBody(batch_type(row, MAX_ROWS), "rows", row, MAX_ROWS)
    monkeypatch.setattr(request_bodies, "from_json", None)
    monkeypatch.setattr(request_bodies.json, "loads", None)
    with pytest.raises(PayloadError) as refused:
        asyncio.run(batch.read_large(b'{"rows":[' + (part * 20_000)[:-1] + b"]}", is_json=True))
    assert str(refused.value) == error


@pytest.mark.parametrize("values", [300_000, 1_000_000])
def test_a_body_with_more_values_than_any_valid_one_is_not_parsed(
    row: type[Row], setosa: dict[str, Any], values: int
) -> None:
    batch = ListBody(batch_type(row, MAX_ROWS), "rows", row, MAX_ROWS)
    flat = b'{"x":[' + b",".join([b"1"] * values) + b"]}"
    for body, content, field in (
        (RequestBody(row), flat, "body"),
        (batch, flat, "body"),
        (batch, b'{"rows":[' + orjson.dumps(setosa) + b"," + flat + b"]}", "rows[1]"),
    ):
        with pytest.raises(PayloadError) as refused:
            asyncio.run(body.read_large(content, is_json=True))
        assert [(one.field, one.type) for one in refused.value.errors] == [(field, "too_many_values")]


HOSTILE = """
import asyncio, json, sys
from pathlib import Path
from time import thread_time  # of the loop's thread: others on this machine do not count
from api.errors import VigieError
from api.serving.request_bodies import LARGE_BYTES, ListBody, RequestBody
from api.serving.schemas import batch_type, row_type, task_types
from model.artifact.store import read_manifest

LIMIT = 16 * 2**20
def filled(head, part, tail):
    return head + (part * ((LIMIT - len(head) - len(tail)) // len(part))).rstrip(b",") + tail

def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024

manifest = read_manifest(Path(sys.argv[1]))
row, types = row_type(manifest), task_types(manifest)
valid = json.dumps({feature.name: 1.5 for feature in manifest.features}).encode()
READERS = {
    "predict": RequestBody(row),
    "batch": ListBody(batch_type(row, 10_000), "rows", row, 10_000),
    "feedback": ListBody(types.feedback, "labels", types.label, 10_000),
}
BODIES = {
    "empty rows": filled(b'{"rows":[', b"{},", b"]}"),
    "lists": filled(b'{"labels":[', b"[],", b"]}"),
    "numbers": filled(b'{"labels":[{"label":[', b"1,", b"]}]}"),
    "nested": filled(b'{"rows":[', b"[" * 150 + b"]" * 150 + b",", b"]}"),
    "one field many times": filled(b'{"rows":[{', b'"petal_width":1,', b"}]}"),
    "unknown fields": b'{"rows":[{' + b",".join(b'"%d":1' % n for n in range(1_500_000)) + b"}]}",
    "a long name": filled(b'{"rows":[{"', b"a", b'":1}]}'),
    "a long label": filled(b'{"labels":[{"prediction_id":"a","label":"', b"a", b'"}]}'),
    "long numbers": filled(b'{"rows":[', b"1" * 4299 + b",", b"]}"),
    "too many valid rows": filled(b'{"rows":[', valid + b",", b"]}"),
    "repeated fields": filled(b'{"rows":[', b"{" + b'"petal_width":1,' * 110 + valid[1:] + b",", b"]}"),
    "repeated long fields": filled(b'{"rows":[', b"{" + b'"petal_width":1.23456789012,' * 66 + valid[1:] + b",", b"]}"),
    "few rows of repeated fields": filled(b'{"rows":[', b"{" + b'"petal_width":1,' * 80_000 + valid[1:] + b",", b"]}"),
    "long numbers in rows": filled(b'{"rows":[', valid[:-1] + b',"petal_width":' + b"1" * 4299 + b"},", b"]}"),
    "long fractions": filled(b'{"rows":[', valid[:-1] + b',"petal_width":0.' + b"1" * 4299 + b"},", b"]}"),
    "no text": filled(b'"', b"\\\\", b""),
}

async def measure(reader, body):
    loop, held = asyncio.get_running_loop(), 0.0
    async def others():
        nonlocal held
        last = thread_time()
        while True:
            await asyncio.sleep(0)
            held, last = max(held, thread_time() - last), thread_time()
    others = asyncio.create_task(others())
    await asyncio.sleep(0)
    try:
        await reader.read_large(body, is_json=True)
    except VigieError as error:
        assert len(str(error)) + sum(len(str(one)) for one in getattr(error, "errors", ())) < 100_000
    await asyncio.sleep(0)
    others.cancel()
    return held

before = peak()
for name, body in BODIES.items():
    for path, reader in READERS.items():
        if path == "feedback" and b'"labels"' not in body[:20]:
            continue
        print(json.dumps([name, path, asyncio.run(measure(reader, body)), peak() - before]), flush=True)
"""


def test_no_body_up_to_the_limit_takes_much_memory_or_holds_up_other_calls_for_long(iris_artifact: Path) -> None:
    # in CPU seconds, four times the longest; a reader that parses before it counts takes gigabytes and many seconds
    command = [sys.executable, "-c", HOSTILE, str(iris_artifact)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=200)
    measured = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(measured) == 35
    assert [one for one in measured if one[2] > 0.5 or one[3] > 200] == []


def test_an_error_repeats_little_of_what_was_sent(client: TestClient, setosa: dict[str, Any]) -> None:
    for path, body in (
        ("/predict", setosa | {"x" * 20_000: 1}),
        ("/predict/batch", {"rows": [setosa | {"x" * 20_000: 1}]}),
        ("/feedback", {"labels": [{"prediction_id": "a", "label": "x" * 20_000}]}),
        ("/feedback", {"labels": [{"prediction_id": "a", "label": "x" * 300}] * 100}),
    ):
        answer = client.post(path, json=body)
        assert answer.status_code == 422
        assert len(answer.text) < 600 * len(answer.json()["errors"]) + 1500
