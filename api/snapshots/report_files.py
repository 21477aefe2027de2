"""Owns the HTML reports on disk: one folder a day, each file written whole or not at all."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile

DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
LONGEST_WRITE = timedelta(days=1)


def report_name(start: datetime, end: datetime) -> str:
    """Return where in the folder of reports that of [start, end) is: YYYY-MM-DD/start_end.html, in UTC."""
    name = f"{start:%Y%m%dT%H%M%S.%fZ}_{end:%Y%m%dT%H%M%S.%fZ}.html".replace(".000000Z", "Z")
    return f"{start:%Y-%m-%d}/{name}"


def write_report(path: Path, html: str) -> None:
    """Write a report; a file of that name is replaced. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile("w", dir=path.parent, prefix=".", suffix=".tmp", encoding="utf-8", delete=False) as file:
        file.write(html)
    Path(file.name).chmod(0o644)  # a temporary file is its owner's alone, a report is for reading
    Path(file.name).replace(path)


def stale_files(folder: Path, before: datetime, now: datetime) -> Iterator[Path]:
    """Yield the reports of the days before ``before``'s, and what writes that were cut off have left.

    Only folders that are named after a day count; reports made by hand lie elsewhere and are their makers' own.
    """
    for day in sorted(folder.iterdir()) if folder.is_dir() else ():
        if day.is_dir() and (named := _day(day.name)) is not None:
            for path in sorted(day.iterdir()):
                if named < before.date() or (path.suffix == ".tmp" and _age(path, now) > LONGEST_WRITE):
                    yield path


def _day(name: str) -> date | None:
    try:
        return date.fromisoformat(name) if DAY.fullmatch(name) else None
    except ValueError:
        return None


def _age(path: Path, now: datetime) -> timedelta:
    return now - datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
