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


@contextmanager
def postgres_server() -> Iterator[str]:
    """Yield the address of a fresh server, as postgresql://user@host:port; its data goes when the block ends."""
    programs = postgres_programs()
    assert programs is not None
    user = None
    if os.geteuid() == 0:  # the server refuses to run as root
        user = "postgres"
    with TemporaryDirectory(prefix="vigie-pg-") as folder:
        if user is not None:
            account = pwd.getpwnam(user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        port = free_port()

        def run(*command: str) -> None:
            subprocess.run(command, check=True, capture_output=True, user=user, cwd=folder, timeout=60)

        run(f"{programs}/initdb", "-D", f"{folder}/data", "-A", "trust", "-U", "vigie", "--no-sync")
        options = f"-p {port} -k {folder} -h 127.0.0.1 -c fsync=off -c timezone=Asia/Tokyo"
        run(f"{programs}/pg_ctl", "-D", f"{folder}/data", "-o", options, "-l", f"{folder}/log", "-w", "start")
        try:
            yield f"postgresql://vigie@127.0.0.1:{port}"
        finally:
            run(f"{programs}/pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "-w", "stop")


def fresh_database(server: str, name: str) -> str:
    """Create an empty database and return its address."""
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[arg-type] # a name that the tests made
    return f"{server}/{name}"
