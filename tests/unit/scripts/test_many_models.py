"""The commands where there are several models: which one they are about, and what concerns all of them."""

import shutil
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from api.app import create_app
from api.settings import Settings
from scripts import doctor, export, retention
from scripts.backup.archive import BadBackup, Places, write_backup
from scripts.keys import main as keys
from scripts.keys import read_keys
from scripts.load.__main__ import _folder_of
from scripts.restore import restore
from tests.unit.api.conftest import SETOSA

NAMES = ("flowers", "shop")
SPAN = ["--from", "2020-01-01", "--to", "2100-01-01"]


@pytest.fixture
def installation(iris_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two models, of which one has three logged rows and the other one; the settings name them."""
    for name in NAMES:
        shutil.copytree(iris_artifact, tmp_path / "models" / name)
    monkeypatch.setenv("VIGIE_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("VIGIE_DEFAULT_MODEL", "flowers")
    monkeypatch.setenv("VIGIE_DATABASE_URL", f"sqlite:///{tmp_path}/log.db")
    monkeypatch.setenv("VIGIE_REPORTS_DIR", str(tmp_path / "reports"))
    app = create_app(Settings(snapshots=False, allowed_hosts="testserver"))
    with TestClient(app) as client:
        client.post("/models/shop/predict/batch", json={"rows": [SETOSA] * 3}).raise_for_status()
        client.post("/predict", json=SETOSA).raise_for_status()
    return tmp_path


@pytest.mark.parametrize(("chosen", "rows"), [([], 1), (["--model", "flowers"], 1), (["--model", "shop"], 3)])
def test_an_export_has_the_rows_of_one_model(installation: Path, chosen: list[str], rows: int) -> None:
    file = installation / "rows.csv"
    assert export.main([*SPAN, *chosen, "--out", str(file)]) == 0
    lines = file.read_text().splitlines()
    assert len(lines) == 1 + rows
    assert not any(line.startswith("2:") for line in lines), "ids as callers know them"


def test_a_command_that_names_no_model_says_which_there_are(
    installation: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert export.main([*SPAN, "--model", "rose", "--out", str(installation / "rows.csv")]) == 2
    assert "there is no model 'rose'; the models are: flowers, shop" in capsys.readouterr().err
    monkeypatch.delenv("VIGIE_DEFAULT_MODEL")
    assert export.main([*SPAN, "--out", str(installation / "rows.csv")]) == 2
    assert "no model is the default one: name one of flowers, shop" in capsys.readouterr().err


def test_retention_is_about_all_models_or_one(installation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for chosen in ([], ["--model", "shop"]):
        assert retention.main(["--dry-run", *chosen]) == 0
    assert retention.main(["--dry-run", "--model", "rose"]) == 2
    assert "the models are: flowers, shop" in capsys.readouterr().err


def test_the_doctor_looks_at_each_model(installation: Path) -> None:
    (installation / "models" / "shop" / "reference.parquet").write_bytes(b"damaged")
    found = {finding.what: finding.lacks for finding in doctor.models()}
    assert found["model flowers"] == ""
    assert "does not match its SHA-256" in found["model shop"]


def test_a_backup_holds_all_models_and_does_not_become_one(installation: Path, tmp_path: Path) -> None:
    def beside(name: str) -> Places:
        folder = tmp_path / name
        return Places(f"sqlite:///{folder}/log.db", f"sqlite:///{folder}/ui.db", folder / "model", folder / "reports")

    source = Places(
        f"sqlite:///{installation}/log.db",
        f"sqlite:///{installation}/log.db",  # any database will do
        installation / "none",
        installation / "reports",
        installation / "models",
    )
    file = tmp_path / "all.tar"
    listed = write_backup(source, file, lambda _what: None)
    assert {f"models/{name}/manifest.json" for name in NAMES} <= listed["files"].keys()
    with pytest.raises(
        BadBackup, match="of an installation with several models: name their place with VIGIE_MODELS_DIR"
    ):
        restore(file, beside("one"))
    target = beside("several")
    assert (
        restore(file, Places(*target.databases.values(), target.model_dir, target.reports_dir, tmp_path / "new")) == 0
    )
    assert {path.name for path in (tmp_path / "new").iterdir()} == set(NAMES)


def test_a_key_is_bound_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = ["--file", str(tmp_path / "keys.jsonl")]
    assert keys([*file, "create", "shop", "--scope", "predict", "--model", "shop", "--model", "flowers"]) == 0
    assert "for predict of shop, flowers" in capsys.readouterr().err
    (key,) = read_keys(tmp_path / "keys.jsonl")
    assert key.models == {"shop", "flowers"}
    assert keys([*file, "list"]) == 0
    assert "of flowers,shop" in capsys.readouterr().out
    assert keys([*file, "create", "bad", "--scope", "predict", "--model", "a b"]) == 1
    assert "models: use one or more names of models" in capsys.readouterr().err


def test_load_finds_the_folder_of_the_model_that_it_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_MODEL_DIR", "alone")
    assert _folder_of(None) == Path("alone")
    monkeypatch.setenv("VIGIE_MODELS_DIR", "many")
    assert _folder_of("shop") == Path("many/shop")
    monkeypatch.setenv("VIGIE_DEFAULT_MODEL", "flowers")
    assert _folder_of(None) == Path("many/flowers")


def test_the_secret_of_the_database_is_not_in_what_a_model_shows(tmp_path: Path, iris_artifact: Path) -> None:
    from api.installed_models import find_models  # noqa: PLC0415

    shutil.copytree(iris_artifact, tmp_path / "iris")
    settings = Settings(models_dir=tmp_path, database_url=SecretStr("postgresql://u:hidden@h/d"))
    assert "hidden" not in repr(find_models(settings))
