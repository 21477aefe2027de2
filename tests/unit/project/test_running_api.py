"""What the import graph says, asked of a real process."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_a_ready_api_has_loaded_neither_evidently_nor_pandas(iris_artifact: Path, tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from api.app import create_app
from api.settings import Settings
create_app(Settings(model_dir=Path({str(iris_artifact)!r}), database_url="sqlite:///{tmp_path}/log.db"))
print(sorted({{"evidently", "pandas", "sklearn", "scipy"}} & sys.modules.keys()))
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"
