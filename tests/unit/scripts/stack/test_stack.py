import io
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.ports import free_port, is_free
from scripts.stack.config import StackConfig
from scripts.stack.errors import DataDirError, PortTakenError
from scripts.stack.guard import named_groups
from scripts.stack.services import Child, Guard, Interruption
from scripts.stack.stack import Stack, check_ports, ensure_secret, make_private

# A service that ignores SIGTERM and has a process of its own, as a hanging worker would.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(worker.pid, flush=True)
time.sleep(600)
"""
GENTLE = "import time; print('here', flush=True); time.sleep(600)"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def eventually(true: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not (done := true()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return done


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.fixture
def config(tmp_path: Path) -> StackConfig:
    return StackConfig(tmp_path, tmp_path / "model", api_port=free_port(), ui_port=free_port())


def test_a_port_is_free_until_something_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not is_free("127.0.0.1", port)
    assert is_free("127.0.0.1", port)


def test_a_port_is_taken_by_what_listens_on_every_address() -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104 - the case under test
        assert not is_free("127.0.0.1", server.getsockname()[1])


@pytest.mark.parametrize(("field", "service"), [("api_port", "the API"), ("ui_port", "Evidently UI")])
def test_a_taken_port_names_the_port_the_service_and_the_way_out(config: StackConfig, field: str, service: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortTakenError) as taken:
            check_ports(replace(config, **{field: port}))
    option = "--" + field.replace("_", "-")
    assert all(part in str(taken.value) for part in (f"port {port} is taken", service, option))


def test_one_port_for_both_services_is_refused(config: StackConfig) -> None:
    with pytest.raises(PortTakenError, match="cannot both"):
        check_ports(replace(config, ui_port=config.api_port))


def test_nothing_is_started_or_written_when_a_port_is_taken(config: StackConfig, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = replace(config, api_port=server.getsockname()[1], data_dir=tmp_path / "data")
        with pytest.raises(PortTakenError), Stack(taken):
            pass
    assert not (tmp_path / "data").exists()


def test_a_data_folder_that_cannot_be_made_is_named(config: StackConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirError, match="cannot write to"), Stack(replace(config, data_dir=tmp_path / "file")):
        pass


def test_the_secret_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    path = ensure_secret(tmp_path / "secret")
    first = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(first.strip()) >= 32
    assert ensure_secret(path).read_text() == first
    assert [path] == list(tmp_path.iterdir())


def test_the_services_share_the_secret_by_file_and_never_by_value(config: StackConfig) -> None:
    inherited = {"VIGIE_EVIDENTLY_SECRET": "old", "VIGIE_SNAPSHOT_MIN_ROWS": "10", "http_proxy": "http://proxy"}
    chosen = replace(config, inherited=inherited)
    for environment in (chosen.api_environment(), chosen.ui_environment()):
        assert environment["VIGIE_EVIDENTLY_SECRET_FILE"] == str(chosen.secret_file)
        assert "VIGIE_EVIDENTLY_SECRET" not in environment
        assert "127.0.0.1" in environment["NO_PROXY"]
        assert environment["VIGIE_SNAPSHOT_MIN_ROWS"] == "10"


def test_each_process_gets_the_secrets_that_it_needs_and_no_other(config: StackConfig) -> None:
    of_api = (
        "VIGIE_DATABASE_URL",
        "VIGIE_NOTIFY_URLS",
        "VIGIE_NOTIFY_URLS_FILE",
        "VIGIE_API_KEYS_FILE",
        "PGPASSWORD",
        "SOME_CLOUD_SECRET_KEY",
        "HUB_TOKEN",
    )
    of_others = (
        "VIGIE_EVIDENTLY_DATABASE_URL",
        "VIGIE_EVIDENTLY_DATABASE_URL_FILE",
        "VIGIE_API_KEY",
        "VIGIE_API_KEY_FILE",
    )
    of_none = ("VIGIE_EVIDENTLY_SECRET",)
    plain = ("PATH", "VIGIE_LOG_LEVEL", "VIGIE_EVIDENTLY_FIGURES_DAYS", "KEYBOARD", "SSH_AUTH_SOCK")
    names = (*of_api, *of_others, *of_none, *plain)
    chosen = replace(config, inherited={name: f"value of {name}" for name in names})

    def inherited(environment: dict[str, str]) -> set[str]:
        return {name for name in names if environment.get(name) == f"value of {name}"}

    assert inherited(chosen.api_environment()) == {*of_api, *plain}
    assert inherited(chosen.ui_environment()) == set(plain)
    assert inherited(chosen.train_environment()) == set(plain)
    assert "VIGIE_EVIDENTLY_SECRET_FILE" not in chosen.train_environment()


def test_the_process_that_watches_over_the_others_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_DATABASE_URL", "postgresql://user:hidden@host/log")
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    before = set(children.read_text().split())
    with Guard():
        (watcher,) = set(children.read_text().split()) - before
        assert "hidden" not in Path(f"/proc/{watcher}/environ").read_text()


def test_a_database_given_by_file_is_left_to_the_api(config: StackConfig) -> None:
    chosen = replace(config, inherited={"VIGIE_DATABASE_URL_FILE": "/run/secrets/url"})
    assert "VIGIE_DATABASE_URL" not in chosen.api_environment()


def test_the_interval_is_the_apis_own_unless_given(config: StackConfig) -> None:
    chosen = replace(config, inherited={})
    assert "VIGIE_SNAPSHOT_INTERVAL_SECONDS" not in chosen.api_environment()
    assert replace(chosen, interval_seconds=7).api_environment()["VIGIE_SNAPSHOT_INTERVAL_SECONDS"] == "7"


def test_a_child_that_ignores_the_request_to_end_is_killed_with_its_own_children(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Guard() as guard:
        child = Child("stubborn", python(STUBBORN), os.environ, guard, log)
        assert eventually(lambda: log.read_text().endswith("\n"))
        worker = int(log.read_text())
        child.stop(grace_seconds=0.2)
        assert child.exit_status() == -signal.SIGKILL
        assert eventually(lambda: not runs(worker))


def test_a_child_that_ends_when_asked_is_not_killed(tmp_path: Path) -> None:
    with Guard() as guard:
        child = Child("gentle", python(GENTLE), os.environ, guard, tmp_path / "log")
        child.stop()
        assert child.exit_status() == -signal.SIGTERM


def test_a_second_request_cuts_the_grace_short(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Guard() as guard:
        child = Child("stubborn", python(STUBBORN), os.environ, guard, log)
        assert eventually(lambda: log.read_text().endswith("\n"))
        child.stop(lambda: True, grace_seconds=3_600)
        assert child.exit_status() == -signal.SIGKILL


def test_the_log_of_the_run_before_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    with Guard() as guard:
        for word in ("first", "second"):
            child = Child("api", python(f"print({word!r})"), os.environ, guard, log)
            assert eventually(lambda ended=child: ended.exit_status() is not None)  # type: ignore[misc]
            child.stop()
    assert log.read_text() == "second\n"
    assert (tmp_path / "api.log.1").read_text() == "first\n"


def test_the_last_lines_of_a_long_log_are_its_end(tmp_path: Path) -> None:
    with Guard() as guard:
        child = Child("api", python("for n in range(100): print(n)"), os.environ, guard, tmp_path / "api.log")
        assert eventually(lambda: child.exit_status() is not None)
        child.stop()
        assert child.last_lines() == tuple(str(number) for number in range(80, 100))


def test_children_do_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = f"""
import os, sys, time
from pathlib import Path
from scripts.stack.services import Child, Guard
guard = Guard()
child = Child("gentle", [sys.executable, "-c", {GENTLE!r}], os.environ, guard, Path({str(tmp_path / "log")!r}))
print(child.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen(python(code), stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert runs(pid)
        parent.kill()
    assert eventually(lambda: not runs(pid))


def test_the_guard_forgets_what_has_ended() -> None:
    assert named_groups(io.StringIO("+1\n+2\n-1\n+3\n-9\n")) == [2, 3]


def test_an_interruption_is_counted_and_the_former_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interruption() as interruption:
        assert not interruption.wait(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.wait(10)
        assert interruption.requested
        assert interruption.count == 2
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_folder_of_another_purpose_keeps_its_mode(tmp_path: Path) -> None:
    new, old = tmp_path / "new" / "data", tmp_path / "old"
    old.mkdir(mode=0o755)
    for folder in (new, old):
        make_private(folder, known_by=folder / "evidently.secret")
    assert (stat.S_IMODE(new.stat().st_mode), stat.S_IMODE(old.stat().st_mode)) == (0o700, 0o755)
    (old / "evidently.secret").touch()
    make_private(old, known_by=old / "evidently.secret")
    assert stat.S_IMODE(old.stat().st_mode) == 0o700
