import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from scripts import doctor

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("version", "fits"), [((3, 10), False), ((3, 11), True), ((3, 13), True), ((3, 14), False)])
def test_only_supported_pythons_will_do(version: tuple[int, int], fits: bool) -> None:
    finding = doctor.python_version(version)
    assert finding.needed is not fits
    assert bool(finding.lacks) is not fits


def test_packages_are_compared_with_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"httpx=={metadata.version('httpx')} \\\n    --hash=sha256:00\n")
    assert not doctor.packages(lock).lacks
    lock.write_text("httpx==0.0.1\nno-such-package==1.0\nnot-for-us==1.0 ; sys_platform == 'nowhere' \\\n")
    finding = doctor.packages(lock)
    assert "no-such-package is not installed" in finding.lacks
    assert "not 0.0.1" in finding.lacks
    assert "not-for-us" not in finding.lacks
    assert finding.needed


def test_a_port_taken_by_a_stranger_is_missing_for_the_stack_and_optional_for_compose() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        server.settimeout(0)
        assert doctor.compose_port(port, "Grafana").lacks
        assert not doctor.compose_port(port, "Grafana").needed


def test_an_optional_program_says_what_is_disabled_without_it() -> None:
    finding = doctor.program("Nothing", ("no-such-program",), "nothing at all")
    assert str(finding) == "optional Nothing: not on the path; without it: nothing at all"


@pytest.mark.parametrize(
    ("text", "lacks"),
    [
        ("json://127.0.0.1, mailto://vigie:hidden@example.org", ""),
        ("json://127.0.0.1, slack://hidden", "address 2 begins with slack://, but the rest of it is incomplete"),
        ("", "there is none"),
    ],
)
def test_addresses_for_notifications_are_checked_and_not_shown(
    text: str, lacks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(doctor.notifications()) == []
    (tmp_path / "urls").write_text(text)
    monkeypatch.setenv("VIGIE_NOTIFY_URLS_FILE", str(tmp_path / "urls"))
    (finding,) = doctor.notifications()
    assert finding.lacks.startswith(lacks)
    assert bool(finding.lacks) == bool(lacks)
    assert finding.needed is ("address" in lacks)
    assert "hidden" not in str(finding)
    if not lacks:
        assert "(2: json, mailto)" in finding.what


def test_the_doctor_needs_no_package_to_speak() -> None:
    command = [sys.executable, "-S", "-m", "scripts.doctor"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "run: make setup" in done.stdout
    assert done.stderr == ""
