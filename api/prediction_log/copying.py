"""Copies of a whole database that is in use, and putting a copy where there is none: SQLite and PostgreSQL."""

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL, create_engine, inspect, make_url
from sqlalchemy.exc import SQLAlchemyError

from api.errors import LogUnavailable

PAGES_AT_ONCE = 2000
"""SQLite is copied in steps of this many pages; writers can write between them."""
PAUSE_SECONDS = 0.005


def backend_of(url: str) -> str:
    """Return the kind of the database at a URL: ``sqlite`` or ``postgresql``."""
    return make_url(url).get_backend_name()


def copy_database(url: str, target: Path) -> None:
    """Write a consistent copy of the database, as it is at one moment, to a file that is not there yet.

    For SQLite the copy is a database file, for PostgreSQL an archive of pg_dump. Raises LogUnavailable.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        source = Path(str(parsed.database))
        if not source.is_file():
            raise LogUnavailable(f"there is no database at {source}")
        _copy_sqlite(source, target)
    else:
        _run_postgres("pg_dump", parsed, "--format=custom", f"--file={target}")


def is_empty(url: str) -> bool:
    """Whether there is no database at the URL yet: no file, or no tables. Raises LogUnavailable."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return not Path(str(parsed.database)).exists()
    engine = create_engine(parsed.set(drivername="postgresql+psycopg"))
    try:
        return not inspect(engine).get_table_names()
    except SQLAlchemyError as error:
        raise LogUnavailable(f"the database does not answer: {getattr(error, 'orig', None) or error}") from error
    finally:
        engine.dispose()


def place_database(copy: Path, url: str) -> None:
    """Put a copy at a URL for which `is_empty` holds; whole or not at all. Raises LogUnavailable."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        target = Path(str(parsed.database))
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f"{target.name}.restoring")
        shutil.copyfile(copy, beside)
        beside.rename(target)
    else:
        _run_postgres("pg_restore", parsed, "--no-owner", "--single-transaction", "--exit-on-error", str(copy))


def _copy_sqlite(source: Path, target: Path) -> None:
    # opened for writing, as a reader of a write-ahead log needs its index; nothing is written
    with closing(sqlite3.connect(source, timeout=30)) as live, closing(sqlite3.connect(target)) as copy:
        try:
            live.backup(copy, pages=PAGES_AT_ONCE, sleep=PAUSE_SECONDS)
        except sqlite3.Error as error:
            raise LogUnavailable(f"{source} could not be copied: {error}") from error


def _run_postgres(program: str, url: URL, *options: str) -> None:
    """Run one of PostgreSQL's programs on a database; the password does not show in the list of processes."""
    found = shutil.which(program)
    if found is None:
        raise LogUnavailable(f"{program} is not installed; on Debian: apt-get install postgresql-client")
    address = url.set(drivername="postgresql", password=None).render_as_string()
    environment = os.environ | ({"PGPASSWORD": url.password} if url.password else {})
    ended = subprocess.run(
        [found, f"--dbname={address}", *options], check=False, capture_output=True, text=True, env=environment
    )
    if ended.returncode:
        raise LogUnavailable(f"{program} failed: {ended.stderr.strip()}")
