"""Owns the HTML reports on disk: one folder a day, each file written whole or not at all."""

from datetime import datetime
from pathlib import Path
from tempfile import NamedTemporaryFile


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
