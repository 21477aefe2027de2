"""A real PostgreSQL server for as long as the tests run, where the machine has one (Debian's package will do)."""

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from time import monotonic, sleep, time

import psycopg
from psycopg.sql import SQL, Composed, Identifier

from api.prediction_log.database import Database
from tests.servers import Server, free_port, runs, shared_server

MIGRATED = "migrated"
"""The database that the tests' databases are copies of: the log's tables, without rows."""
LEAST_MEMORY_BYTES = 2**31
START_SECONDS = 600
PREFIX = "vigie-pg-"
MISSING = "no PostgreSQL server on this machine (Debian: apt-get install postgresql)"


def postgres_programs() -> Path | None:
    """Where initdb and postgres are; None where there is no server."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent  # some machines link only what starts a server
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
        self._create()

    @property
    def host(self) -> str:
        """Where it listens, as host:port."""
        return f"127.0.0.1:{self._port}"

    def _create(self) -> None:
        """Make the folder of its data."""
        self._run("initdb", "-A", "trust", "-U", "vigie", "--no-sync")

    def _run(self, program: str, *options: str) -> None:
        command = [f"{self._programs}/{program}", "-D", f"{self._folder}/data", *options]
        subprocess.run(command, check=True, capture_output=True, user=self._user, cwd=self._folder, timeout=60)

    def start(self) -> Server:
        """Start it, and return when it takes connections."""
        command = [f"{self._programs}/postgres", "-D", f"{self._folder}/data", "-p", str(self._port)]
        command += ["-k", str(self._folder), "-h", "127.0.0.1", "-c", "fsync=off", "-c", "timezone=Asia/Tokyo"]
        log = self._folder / "log"
        self._server = Server(command, log, user=self._user, cwd=self._folder)
        deadline = monotonic() + 60
        while not self._takes_connections():
            assert self._server.poll() is None, log.read_text(encoding="utf-8")
            assert monotonic() < deadline, log.read_text(encoding="utf-8")
            sleep(0.02)
        return self._server

    def stop(self) -> None:
        """Stop it at once, as a crash would."""
        self._server.stop(signal.SIGQUIT)

    def signal(self, number: int) -> None:
        """Send a signal to the server and all of its processes."""
        leader = self._server.pid
        children = Path(f"/proc/{leader}/task/{leader}/children").read_text(encoding="ascii").split()
        for pid in (leader, *map(int, children)):
            os.kill(pid, number)

    def _takes_connections(self) -> bool:
        try:
            psycopg.connect(f"{self.url}/postgres", connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


class PostgresReplica(PostgresServer):
    """A copy of a running server, which has every commit that the server reports once this has started."""

    def __init__(self, folder: Path, primary: PostgresServer) -> None:
        self._primary = primary
        super().__init__(folder)

    def start(self) -> Server:
        """Start it, and have the primary wait for it with each commit from now on."""
        process = super().start()
        with psycopg.connect(f"{self._primary.url}/postgres", autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            connection.execute("SELECT pg_reload_conf()")
            deadline = monotonic() + 60
            while not connection.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'").fetchall():
                assert monotonic() < deadline, "the replica does not follow"
                sleep(0.02)
        return process

    def promote(self) -> None:
        """Make it the primary."""
        self._run("pg_ctl", "promote", "-w", "-t", "60")

    def _create(self) -> None:
        self._run("pg_basebackup", "-d", f"{self._primary.url}/postgres", "-R", "-c", "fast", "--no-sync")


def server_folder() -> Path:
    """Return a new folder: in memory where there is room, and with a path short enough for the server's socket."""
    memory = Path("/dev/shm")  # noqa: S108 - the folder in it is new
    if not memory.is_dir() or shutil.disk_usage(memory).free < LEAST_MEMORY_BYTES:
        return Path(mkdtemp(prefix=PREFIX, dir="/tmp"))
    for folder in memory.glob(f"{PREFIX}*"):
        if is_left_behind(folder):
            shutil.rmtree(folder, ignore_errors=True)
    return Path(mkdtemp(prefix=PREFIX, dir=memory))


def is_left_behind(folder: Path) -> bool:
    """Return whether a killed run left this folder: no server runs on it, and none is about to start."""
    running = folder / "data" / "postmaster.pid"
    if running.exists():
        return not runs(int(running.read_text(encoding="ascii").split()[0]))
    return folder.stat().st_mtime < time() - START_SECONDS


@contextmanager
def postgres_server(shared_folder: Path) -> Iterator[str]:
    """Yield the address of the one server of this run, as postgresql://user@host:port."""

    def start() -> tuple[Server, dict[str, str]]:
        server = PostgresServer(folder := server_folder())
        process = server.start()
        database = Database(fresh_database(server.url, MIGRATED))
        database.migrate()  # once, and copied for each test
        database.dispose()
        return process, {"url": server.url, "data": str(folder)}

    with shared_server(shared_folder, "postgres", start, ending=signal.SIGQUIT) as facts:
        yield facts["url"]


def fresh_database(server: str, name: str, template: str = "template1") -> str:
    """Create a database like the template and return its address."""
    _run(server, SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), Identifier(template)))
    return f"{server}/{name}"


def drop_database(server: str, name: str) -> None:
    """Remove a database, even while something is connected to it."""
    _run(server, SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


def _run(server: str, command: Composed) -> None:
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(command)
