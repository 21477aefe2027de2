"""The load command against a real API process, whose callers need keys."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.keys import create_key, revoke_key
from tests.integration.scripts.processes import ROOT, environment, eventually
from tests.servers import Server, await_answer, free_port


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.jsonl"


@pytest.fixture(scope="module")
def key_file(keys_file: Path) -> Path:
    """The file of the key that the loads present."""
    file = keys_file.with_name("load.key")
    file.write_text(create_key(keys_file, "load", ["predict", "feedback"]) + "\n")
    return file


@pytest.fixture(scope="module")
def api(
    iris_artifact: Path, keys_file: Path, key_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("api")
    url = f"http://127.0.0.1:{(port := free_port())}"
    own = {
        "VIGIE_PORT": str(port),
        "VIGIE_MODEL_DIR": str(iris_artifact),
        "VIGIE_DATABASE_URL": f"sqlite:///{folder}/vigie.db",
        "VIGIE_REPORTS_DIR": str(folder / "reports"),
        "VIGIE_SNAPSHOTS": "false",
        "VIGIE_API_KEYS_FILE": str(keys_file),
    }
    process = Server([sys.executable, "-m", "api"], folder / "api.log", cwd=ROOT, env=environment(**own))
    try:
        await_answer(f"{url}/health/ready", process)
        yield url
    finally:
        process.stop()


def load(url: str, model: Path, *options: str, key: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.load", "--url", url, "--model-dir", str(model), *options]
    if key is not None:
        command += ["--key-file", str(key)]
    return subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=90, check=False)


def summary(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("scenario", ["steady", "bad_quality"])
def test_rows_are_accepted_and_labelled(api: str, iris_artifact: Path, key_file: Path, scenario: str) -> None:
    options = ("--scenario", scenario, "--rate", "60", "--duration", "1", "--label-delay", "0", "--json")
    done = load(api, iris_artifact, *options, key=key_file)
    assert done.returncode == 0, done.stderr
    counts = summary(done)
    assert counts["statuses"] == {"200": 60}
    assert counts["labels"] == {"sent": 60, "accepted": 60, "unknown": 0, "failed": 0, "unsent": 0}


def test_batches_are_accepted_and_a_person_gets_a_table(api: str, iris_artifact: Path, key_file: Path) -> None:
    done = load(
        api, iris_artifact, "--rate", "10", "--duration", "0.5", "--batch", "40", "--label-share", "0", key=key_file
    )
    assert done.returncode == 0, done.stderr
    assert "rows: steady" in done.stdout
    assert "200" in done.stdout
    assert "latency p99" in done.stdout


def test_bad_requests_are_all_refused_with_problem_documents(api: str, iris_artifact: Path, key_file: Path) -> None:
    done = load(
        api, iris_artifact, "--scenario", "bad_requests", "--rate", "20", "--duration", "1.5", "--json", key=key_file
    )
    counts = summary(done)
    assert counts["unexpected"] == {}
    assert set(counts["statuses"]) <= {"200", "413", "422"}
    assert done.returncode == 0


def test_an_api_that_serves_another_model_stops_the_load(
    api: str, iris_artifact: Path, key_file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "model"
    other.mkdir()
    for file in iris_artifact.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(manifest | {"version": "20200101T000000Z-00000000"}))
    done = load(api, other, key=key_file)
    assert done.returncode == 2
    assert "serves model" in done.stderr
    assert "20200101T000000Z-00000000" in done.stderr


def test_a_missing_artifact_is_one_clear_line(api: str, key_file: Path, tmp_path: Path) -> None:
    done = load(api, tmp_path / "none", key=key_file)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no model in" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_api_that_is_not_there_is_one_clear_line(iris_artifact: Path) -> None:
    done = load(f"http://127.0.0.1:{free_port()}", iris_artifact)
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot reach the API" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_load_without_a_key_says_how_to_give_one(api: str, iris_artifact: Path) -> None:
    done = load(api, iris_artifact, "--duration", "1")
    assert done.returncode == 2
    assert "--key-file" in done.stderr


def test_a_key_counts_and_is_revoked_while_the_api_runs(api: str, keys_file: Path) -> None:
    key = create_key(keys_file, "guest", ["read"])

    def status() -> int:
        return httpx.get(f"{api}/model", headers={"X-API-Key": key}, trust_env=False).status_code

    assert eventually(lambda: status() == 200)
    revoke_key(keys_file, "guest")
    assert eventually(lambda: status() == 401)
