"""The training and snapshot benchmarks, on small tables."""

from pathlib import Path

import pytest

from scripts.bench.__main__ import main
from scripts.bench.scale import TRAINING, make_table, measure_snapshots


def test_training_is_measured_in_a_process_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["training", "--cases", "tall", "--rows", "300"]) == 0
    row = capsys.readouterr().out.splitlines()[-1].split(" | ")
    assert row[0] == "| 300 rows x 10 columns"
    assert float(row[1]) < float(row[2]) < 60
    assert row[4:] == ["yes", "30 s and 2,048 MiB", "yes |"]


def test_a_snapshot_is_measured_with_its_explanations(iris_artifact: Path) -> None:
    found = measure_snapshots(iris_artifact, 200)
    assert [one["rows"] for one in found["windows"]] == [200, 200, 200]
    assert all(one["explaining"] > 0 and one["measuring"] > 0 for one in found["windows"])


def test_made_up_tables_are_the_same_each_time() -> None:
    case = TRAINING["tall"]._replace(rows=50)
    assert make_table(case).equals(make_table(case))
