"""The scan for secrets that `make lint` runs finds what it is there for."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from api.security.keys import new_key

ROOT = Path(__file__).parents[3]


def scan(file: Path) -> int:
    """Run the scan with the options of the Makefile on one file; 1 is what it says of a secret."""
    found = re.search(r"detect-secrets-hook (.*?)\n(?=\S)", (ROOT / "Makefile").read_text(), re.DOTALL)
    assert found
    options = found[1].replace("\\\n\t", "").replace("$$", "$").replace("'", "").split()
    command = [sys.executable, "-m", "detect_secrets.pre_commit_hook", *options, str(file)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=60).returncode


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (f"curl -H 'X-API-Key: {new_key()}'", 1),
        ("url = 'postgresql://vigie:" + "pw5f2k9q@db/vigie'", 1),
        ("-----BEGIN RSA " + "PRIVATE KEY-----", 1),
        ("key = settings.api_keys_file", 0),
    ],
    ids=["API key", "password in an address", "private key", "no secret"],
)
def test_a_secret_that_was_left_behind_is_found(tmp_path: Path, text: str, status: int) -> None:
    file = tmp_path / "left.py"
    file.write_text(text + "\n")
    assert scan(file) == status
