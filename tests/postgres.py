"""A real PostgreSQL server for as long as the tests run, where the machine has one (Debian's package will do)."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from scripts.ports import free_port


def postgres_programs() -> Path | None:
    """Where initdb and pg_ctl are; None where there is no server."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return installed[-1].parent if installed else None


class PostgresServer:
    """One server in a folder of its own; ``url`` is postgresql://user@host:port. Started and stopped by the test."""

    def __init__(self, folder: Path) -> None:
        programs = postgres_programs()
        assert programs is not None
        self._programs = programs
        self._folder = folder
        self._port = free_port()
        self._user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
        self.url = f"postgresql://vigie@127.0.0.1:{self._port}"
        if self._user is not None:
            account = pwd.getpwnam(self._user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        self._run("initdb", "-D", f"{folder}/data", "-A", "trust", "-U", "vigie", "--no-sync")

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        options = f"-p {self._port} -k {self._folder} -h 127.0.0.1 -c fsync=off -c timezone=Asia/Tokyo"
        self._run("pg_ctl", "-D", f"{self._folder}/data", "-o", options, "-l", f"{self._folder}/log", "-w", "start")

    def stop(self) -> None:
        """Stop it at once, as a crash would."""
        self._run("pg_ctl", "-D", f"{self._folder}/data", "-m", "immediate", "-w", "stop")

    def signal(self, number: int) -> None:
        """Send a signal to the server and all of its processes."""
        leader = int((self._folder / "data" / "postmaster.pid").read_text(encoding="ascii").splitlines()[0])
        children = Path(f"/proc/{leader}/task/{leader}/children").read_text(encoding="ascii").split()
        for pid in (leader, *map(int, children)):
            os.kill(pid, number)

    def _run(self, program: str, *arguments: str) -> None:
        command = [f"{self._programs}/{program}", *arguments]
        subprocess.run(command, check=True, capture_output=True, user=self._user, cwd=self._folder, timeout=60)


@contextmanager
def postgres_server() -> Iterator[str]:
    """Yield the address of a fresh server, as postgresql://user@host:port; its data goes when the block ends."""
    with TemporaryDirectory(prefix="vigie-pg-") as folder:
        server = PostgresServer(Path(folder))
        server.start()
        try:
            yield server.url
        finally:
            server.stop()


def fresh_database(server: str, name: str, template: str = "template1") -> str:
    """Create a database like the template and return its address."""
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')  # type: ignore[arg-type] # the tests' names
    return f"{server}/{name}"


def drop_database(server: str, name: str) -> None:
    """Remove a database, whoever is still connected."""
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')  # type: ignore[arg-type] # as above
