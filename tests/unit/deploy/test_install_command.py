import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_command_runs_the_checkout_from_any_folder_with_its_environment(tmp_path: Path) -> None:
    environment, checkout, elsewhere = (tmp_path / name for name in ("environment", "the checkout", "elsewhere"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    for folder, text in (
        (checkout, "import sys; print(sys.prefix, *sys.argv[1:])"),
        (elsewhere, "raise SystemExit(3)"),
    ):
        (folder / "scripts").mkdir(parents=True)
        (folder / "scripts/__init__.py").touch()
        (folder / "scripts/vigie.py").write_text(text)
    for _ in range(2):
        subprocess.run([environment / "bin/python", ROOT / "deploy/install_command.py", checkout], check=True)
    done = subprocess.run(
        [environment / "bin/vigie", "keys", "a b"], cwd=elsewhere, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"{environment} keys a b"


def test_both_the_setup_and_the_image_install_it() -> None:
    assert "deploy/install_command.py" in (ROOT / "scripts/setup.sh").read_text()
    assert "install_command.py /app" in (ROOT / "Dockerfile").read_text()
