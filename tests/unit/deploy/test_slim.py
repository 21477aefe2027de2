import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def slim() -> ModuleType:
    spec = importlib.util.spec_from_file_location("slim", ROOT / "deploy/slim.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def environment(tmp_path: Path, slim: ModuleType) -> Path:
    packages = tmp_path / "lib/python3.13/site-packages"
    for folder in (*(f"{name}/deep/tests/data/test" for name in slim.TESTED), *slim.HEADERS, "jupyterlab_plotly"):
        (packages / folder).mkdir(parents=True, exist_ok=True)
    for folder in slim.COPIES:
        (tmp_path / folder).mkdir(parents=True)
    for kept in ("numpy/testing/core.py", "numpy/deep/code.py", "evidently/tests/aliases.py"):
        (packages / kept).parent.mkdir(parents=True, exist_ok=True)
        (packages / kept).write_text("kept")
    (packages / "numpy/deep/tests/test_core.py").write_text("gone")
    return tmp_path


def test_what_no_program_opens_is_removed_and_all_code_is_kept(slim: ModuleType, environment: Path) -> None:
    assert slim.main(environment) == 0
    left = {path.name for path in environment.rglob("*") if path.is_file()}
    assert left == {"core.py", "code.py", "aliases.py"}
    assert not list(environment.glob("share/jupyter"))


def test_a_package_that_is_not_installed_is_skipped(slim: ModuleType, environment: Path) -> None:
    for path in sorted(environment.glob("lib/python3.13/site-packages/pyarrow/**"), reverse=True):
        path.rmdir()
    assert slim.main(environment) == 0


@pytest.mark.parametrize("gone", ["etc/jupyter", "lib/python3.13/site-packages/scipy/deep/tests/data/test"])
def test_a_list_that_is_out_of_date_stops_the_build(
    gone: str, slim: ModuleType, environment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = environment / gone
    while path.name != "deep" and path != environment:
        path.rmdir()
        path = path.parent if "tests" in gone else environment
    assert slim.main(environment) == 1
    assert "bring the lists up to date" in capsys.readouterr().err


def test_the_dockerfile_uses_it_in_both_environments() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert len(re.findall(r"python slim\.py /opt/vigie && \$COMPILE", text)) == 2
