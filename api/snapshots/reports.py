"""The HTML reports on disk: one folder a day, each file written whole or not at all, and their scripts once."""

import json
import logging
import re
from collections.abc import Collection, Iterator
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from os import SEEK_END
from pathlib import Path
from secrets import token_hex

from api.prediction_log.records import SOLE_MODEL
from evidently_workspace.results import ROWS_HEADER

SCRIPT_START = "<script>var global = globalThis</script>\n    <script>"
SCRIPT_END = "</script>\n    \n    <script>\n    window.drawDashboard("
_OPENING, _CLOSING = "<script>", "</script>"


def split_page(html: str) -> tuple[str, str, str] | None:
    """Return what comes before the script's element, the script, and what comes after; None where it is not found.

    The window's values cannot contain either mark, because a page's data have no "<" (see `report_page`).
    """
    if html.count(SCRIPT_START) != 1 or html.count(SCRIPT_END) != 1:
        return None
    start, end = html.index(SCRIPT_START) + len(SCRIPT_START), html.index(SCRIPT_END)
    script = html[start:end]
    if not script or _CLOSING in script.lower():  # this would end the element: it is not one script
        return None
    return html[: start - len(_OPENING)], script, html[end + len(_CLOSING) :]


logger = logging.getLogger(__name__)

DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
MAX_WRITE = timedelta(days=1)
REWRITE_AFTER = MAX_WRITE / 2
"""Age at which a script in use is written anew, so that no write needs a script that is older than MAX_WRITE."""
SCRIPTS = "assets"
REFERENCE = re.compile(rb'<script src="\.\./assets/([0-9a-f]{64}\.js)"></script>')
TAIL_BYTES = 4096
"""A report's end, with the reference in it; 360 bytes with Evidently 0.7."""


def report_name(start: datetime, end: datetime, suffix: str = "") -> str:
    """Return the path of the report of [start, end) in the folder of reports: YYYY-MM-DD/start_end.html, in UTC.

    The suffix is that of its model, see `report_suffix`.
    """
    name = f"{start:%Y%m%dT%H%M%S.%fZ}_{end:%Y%m%dT%H%M%S.%fZ}".replace(".000000Z", "Z")
    return f"{start:%Y-%m-%d}/{name}{suffix}.html"


def report_suffix(model: str | None, model_id: int) -> str:
    """Return what the names of a model's reports end with: nothing for the first model, though others join it."""
    return "" if model is None or model_id == SOLE_MODEL else f".{model}"


_OF_MODEL = re.compile(r"[0-9T.]+Z_[0-9T.]+Z\.(.+)\.html")


def model_of_report(name: str) -> str | None:
    """Return the model that the name of a report says; None for the first model."""
    found = _OF_MODEL.fullmatch(name)
    return None if found is None else found[1]


def write_report(path: Path, html: str) -> None:
    """Write a report as one file that needs no other; it replaces a file of that name. Raises OSError."""
    _write(path, html.encode())


def write_window_report(folder: Path, name: str, html: str) -> None:
    """Write the report ``name`` of a window below ``folder``, and its script if it is not there. Raises OSError."""
    parts = split_page(html)
    if parts is None:
        logger.warning("report %s is stored whole: Evidently's script is not at its usual place in the page", name)
        write_report(folder / name, html)
        return
    before, script, after = parts
    reference = f'<script src="../{SCRIPTS}/{_store_script(folder / SCRIPTS, script.encode())}"></script>'
    write_report(folder / name, before + reference + after)


def read_report(path: Path) -> bytes:
    """Return a report with its script inside, however it was written. Raises FileNotFoundError."""
    page = path.read_bytes()
    found = REFERENCE.search(page)
    if found is None:
        return page
    script = (path.parent.parent / SCRIPTS / found[1].decode()).read_bytes()
    return b"".join((page[: found.start()], b"<script>", script, b"</script>", page[found.end() :]))


ERASED = "erased"
_ROWS = f'"header": {json.dumps(ROWS_HEADER)}, "data": '.encode()
"""What stands in a report before the list of rows that carry a change; within a text its quotes would be escaped."""


def blank_ids(folder: Path, name: str, ids: Collection[str]) -> None:
    """Put "erased" in place of ids in the list of rows of a report, if it is there. Raises OSError."""
    path = folder / name
    try:
        page = path.read_bytes()
    except FileNotFoundError:
        return
    before, mark, rest = page.partition(_ROWS)
    if not mark:
        return
    text = rest.decode()
    rows, end = json.JSONDecoder().raw_decode(text)
    place = ROWS_HEADER.index("Prediction")
    blanked = [[*row[:place], ERASED if row[place] in ids else row[place], *row[place + 1 :]] for row in rows]
    shown = json.dumps(blanked).replace("<", "\\u003c")  # as `report_page` does
    _write(path, b"".join((before, mark, shown.encode(), text[end:].encode())))


def stale_files(folder: Path, before: datetime, now: datetime) -> Iterator[Path]:
    """Yield the reports of days before that of ``before``, and what writes that were cut off have left.

    Only folders that are named after a day count: reports made by hand are elsewhere, and are not removed.
    """
    for day, named in _days(folder):
        for path in sorted(day.iterdir()):
            if named < before.date() or (path.suffix == ".tmp" and _age(path, now) > MAX_WRITE):
                yield path


def stale_scripts(folder: Path, now: datetime, removed: AbstractSet[Path] = frozenset()) -> Iterator[Path]:
    """Yield the scripts that only reports in ``removed`` need, and what cut-off writes of scripts have left.

    The newest script stays in any case, and so does a young one: a report that is being written may refer to it.
    """
    scripts = sorted((folder / SCRIPTS).glob("*.js"), key=lambda path: path.stat().st_mtime)
    left = sorted((folder / SCRIPTS).glob(".*.tmp"))
    yield from (path for path in left if _age(path, now) > MAX_WRITE)
    aged = [path for path in scripts[:-1] if _age(path, now) > MAX_WRITE]
    if aged:
        needed = {_script_of(path) for day, _ in _days(folder) for path in day.glob("*.html") if path not in removed}
        yield from (path for path in aged if path.name.encode() not in needed)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{token_hex(8)}.tmp")
    with unfinished.open("xb") as file:  # the umask says who may read a report
        file.write(content)
    unfinished.replace(path)


def _store_script(folder: Path, script: bytes) -> str:
    """Write a script, unless a young and undamaged copy exists; return its name."""
    path = folder / f"{sha256(script).hexdigest()}.js"
    young = path.is_file() and _age(path, datetime.now(UTC)) < REWRITE_AFTER
    if not young or path.read_bytes() != script:
        _write(path, script)
    return path.name


def _script_of(report: Path) -> bytes | None:
    with report.open("rb") as file:
        file.seek(max(0, file.seek(0, SEEK_END) - TAIL_BYTES))
        found = REFERENCE.search(file.read())
    return None if found is None else found[1]


def _days(folder: Path) -> Iterator[tuple[Path, date]]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir() and (named := _day(path.name)) is not None:
            yield path, named


def _day(name: str) -> date | None:
    try:
        return date.fromisoformat(name) if DAY.fullmatch(name) else None
    except ValueError:
        return None


def _age(path: Path, now: datetime) -> timedelta:
    return now - datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
