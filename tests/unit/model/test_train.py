"""The command: exit status, messages, repeatable runs."""

import subprocess
import sys
from pathlib import Path
from shutil import copytree

import pytest
from rich.console import Console

from model.artifact.store import MANIFEST_FILE, ONNX_FILE, read_manifest, verify_artifact
from model.command_line import column_table, summary
from model.data.csv_file import read_columns
from model.train import main

ROOT = Path(__file__).parents[3]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "model.train", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=120)


def test_training_prints_the_facts_and_can_be_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = run("--dataset", "iris", "--out", tmp_path / "model", "--seed", "4")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert main(["--dataset", "iris", "--out", str(tmp_path / "model"), "--seed", "3"]) == 0
    for printed in (done.stdout, capsys.readouterr().out):
        for fact in ("iris", "test accuracy", "engine", "drift alarms at 200 rows", "artifact"):
            assert fact in printed
    assert verify_artifact(tmp_path / "model").seed == 3


def test_if_missing_keeps_a_valid_artifact_and_says_so(iris_artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    version = read_manifest(iris_artifact).version
    assert main(["--out", str(iris_artifact), "--if-missing"]) == 0
    assert "nothing to do" in " ".join(capsys.readouterr().out.split())
    assert read_manifest(iris_artifact).version == version


def test_if_missing_replaces_a_damaged_artifact(iris_artifact: Path, tmp_path: Path) -> None:
    folder = copytree(iris_artifact, tmp_path / "model")
    (folder / ONNX_FILE).write_bytes(b"")
    assert main(["--out", str(folder), "--if-missing"]) == 0
    verify_artifact(folder)


def test_unusable_data_ends_in_one_line_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.csv").write_text("x,y\n1,a\n")
    assert main(["--csv", str(tmp_path / "bad.csv"), "--target", "z", "--out", str(tmp_path / "model")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no column 'z'" in error
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--csv", "x.csv"],
        ["--target", "y"],
        ["--csv", "x.csv", "--target", "y", "--dataset", "iris"],
        ["--dataset", "titanic"],
        ["--schema", "x.yaml"],
        ["--csv", "x.csv", "--target", "y", "--separator", "x"],
        ["--seed", "-1"],
        ["--seed", "one"],
    ],
)
def test_wrong_arguments_end_with_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["--out", str(tmp_path)]) == 2
    assert "not a model folder" in capsys.readouterr().err
    assert not (tmp_path / MANIFEST_FILE).exists()


def test_the_columns_are_shown_and_their_schema_can_be_edited(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(
        f"{i},{i % 7},{'red' if i % 3 else 'blue'},2026-03-{1 + i % 28:02},{'ab'[i % 2]}\n" for i in range(60)
    )
    (tmp_path / "own.csv").write_text(f"id,size,colour,sold,y\n{rows}")
    given = ["--csv", str(tmp_path / "own.csv"), "--target", "y"]
    assert main([*given, "--write-schema", str(tmp_path / "own.yaml")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "UTF-8, comma, 60 rows" in shown
    assert "counts the rows" in shown
    text = (tmp_path / "own.yaml").read_text().replace("size: {type: number}", "size: {type: category, unit: EU}")
    (tmp_path / "own.yaml").write_text(text)
    assert main([*given, "--schema", str(tmp_path / "own.yaml"), "--out", str(tmp_path / "model")]) == 0
    size, colour = read_manifest(tmp_path / "model").features
    assert (size.name, size.type, size.unit) == ("size", "category", "EU")
    assert (colour.name, colour.type) == ("colour", "category")
    assert read_manifest(tmp_path / "model").dropped == dict.fromkeys(("id", "sold"), "the schema drops it")
    assert main([*given, "--write-schema", str(tmp_path / "own.yaml")]) == 2
    assert "not overwritten" in capsys.readouterr().err


def test_the_summary_says_what_the_commonest_class_alone_would_reach_and_what_each_part_is_for(
    iris_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Console(width=200).print(summary(read_manifest(iris_artifact), iris_artifact))
    shown = capsys.readouterr().out
    assert "always saying setosa would be right in 0.333" in shown
    assert "the model never sees the test rows, which measure it, nor the reference" in shown


ORDERS = "[red]x[/nope]\x1b]0;owned\x07\x1b[2J"


def test_names_of_a_file_give_the_terminal_no_orders(
    tmp_path: Path, iris_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(f"{number / 7},{ORDERS}{number % 2},{'yes' if number % 3 else 'no'}\n" for number in range(60))
    (tmp_path / "people.csv").write_text(f"{ORDERS}x,{ORDERS}c,y\n{rows}", encoding="utf-8")
    console = Console()
    console.print(column_table(read_columns(tmp_path / "people.csv", "y")))
    manifest = read_manifest(iris_artifact)
    thresholds = tuple(one.model_copy(update={"column": f"{ORDERS}{one.column}"}) for one in manifest.thresholds)
    console.print(summary(manifest.model_copy(update={"name": ORDERS, "thresholds": thresholds}), tmp_path / ORDERS))
    assert main(["--csv", str(tmp_path / "people.csv"), "--target", "z", "--out", str(tmp_path / "model")]) == 2
    printed = capsys.readouterr()
    assert printed.out.count("[red]x") > 3
    assert "[red]x[/nope]" in printed.err
    assert not {"\x1b", "\x07"} & set(printed.out + printed.err)


def test_an_error_repeats_little_of_a_long_cell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "".join(f"{number / 7},{'yes' if number % 3 else 'no'}\n" for number in range(60))
    (tmp_path / "people.csv").write_text(f"x,y\n{rows}{'9' * 100_000},yes\n", encoding="utf-8")
    assert main(["--csv", str(tmp_path / "people.csv"), "--target", "y", "--out", str(tmp_path / "model")]) == 2
    assert len(capsys.readouterr().err) < 500
