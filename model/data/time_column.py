"""The time column of a CSV file: when each row was predicted or happened, as seconds since the epoch."""

import re
from collections.abc import Sequence
from datetime import tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.errors import DataError

_NUMBER = re.compile(r"\d+(\.\d+)?")
_DAY_OR_MONTH_FIRST = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4}|\d{2})\b(.*)")
_OFFSET = r":\d{2}.*(?:Z|[+-]\d{2}:?\d{2})$"
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
_EPOCH_UNITS = ((1e8, 1e11, 1.0), (1e11, 1e14, 1e-3), (1e14, 1e17, 1e-6), (1e17, 1e20, 1e-9))
_COMPACT_DATE = len("20261123")
_EXAMPLES = "such as 2026-11-23T08:00:00+01:00, 2026-11-23 08:00, 23/11/2026 08:00 or seconds since 1970"


class Times(NamedTuple):
    """Seconds since the epoch of each row, (rows,), and how the texts were read."""

    seconds: npt.NDArray[np.float64]
    form: str


def zone_of(name: str) -> tzinfo:
    """Return a time zone by its name in the IANA database, such as Europe/Paris; raises DataError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise DataError(f"{name!r} is no time zone; give one such as UTC or Europe/Paris") from error


def read_times(name: str, texts: Sequence[str], lines: Sequence[int], zone: tzinfo) -> Times:
    """Return the times of a column. `lines` are the lines of the file; `zone` is that of times without an offset.

    Raises DataError that names the column and the first line that is no time, or says how to decide between day first
    and month first.
    """
    for text, line in zip(texts, lines, strict=True):
        if not text.strip():
            raise DataError(f"column {name!r}, line {line}: the time is missing; every row needs one")
    if all(_NUMBER.fullmatch(text) and len(text) != _COMPACT_DATE for text in texts):
        return _from_numbers(name, texts, lines)
    if any(_DAY_OR_MONTH_FIRST.fullmatch(text) for text in texts):
        return _from_day_and_month(name, texts, lines, zone)
    column = pd.Series(texts, dtype=object)
    with_offset = column.str.contains(_OFFSET)
    parsed = pd.to_datetime(column.where(with_offset), format="ISO8601", errors="coerce", utc=True)
    local = pd.to_datetime(column.where(~with_offset), format="ISO8601", errors="coerce")
    return Times(_seconds(name, texts, lines, parsed.fillna(_in_zone(local, zone))), "ISO 8601")


def _from_numbers(name: str, texts: Sequence[str], lines: Sequence[int]) -> Times:
    values = np.array(texts, dtype=np.float64)
    for low, high, unit in _EPOCH_UNITS:
        if values.min() >= low and values.max() < high:
            return Times(values * unit, f"epoch, in units of {unit:g} s")
    place = int(values.argmin())
    raise DataError(f"column {name!r}, line {lines[place]}: {texts[place]!r} is not a time, {_EXAMPLES}")


def _from_day_and_month(name: str, texts: Sequence[str], lines: Sequence[int], zone: tzinfo) -> Times:
    found = [_DAY_OR_MONTH_FIRST.fullmatch(text) for text in texts]
    for text, line, match in zip(texts, lines, found, strict=True):
        if match is None:
            raise DataError(f"column {name!r}, line {line}: {text!r} is not a time, as the others in the column are")
    matches = [match for match in found if match is not None]
    first, second = (max(int(match[part]) for match in matches) for part in (1, 3))
    if first <= 12 and second <= 12:
        raise DataError(
            f"column {name!r}: {texts[0]!r} may have the day or the month first; write the times as 2026-11-23 08:00"
        )
    separator, year = matches[0][2], "%Y" if len(matches[0][4]) == 4 else "%y"
    date = separator.join(("%d", "%m", year) if first > 12 else ("%m", "%d", year))
    for clock in _CLOCKS:
        form = date + clock
        parsed = pd.to_datetime(pd.Series(texts, dtype=object), format=form, errors="coerce")
        if parsed.notna().mean() > 0.5:
            return Times(_seconds(name, texts, lines, _in_zone(parsed, zone)), form)
    raise DataError(f"column {name!r}, line {lines[0]}: {texts[0]!r} is not a time, {_EXAMPLES}")


def _in_zone(parsed: pd.Series, zone: tzinfo) -> pd.Series:
    """Return local times as UTC: an hour that a clock repeats is its first turn, one that it skips the hour after."""
    first = np.ones(len(parsed), dtype=bool)
    local: pd.Series = parsed.dt.tz_localize(zone, ambiguous=first, nonexistent="shift_forward")
    utc: pd.Series = local.dt.tz_convert("UTC")
    return utc


def _seconds(name: str, texts: Sequence[str], lines: Sequence[int], parsed: pd.Series) -> npt.NDArray[np.float64]:
    wrong = np.flatnonzero(parsed.isna())
    if len(wrong):
        more = f" (and {len(wrong) - 1:,} more)" if len(wrong) > 1 else ""
        text, line = texts[wrong[0]], lines[wrong[0]]
        raise DataError(f"column {name!r}, line {line}{more}: {text!r} is not a time, {_EXAMPLES}")
    return np.asarray(parsed.astype("datetime64[ns, UTC]").astype("int64") / 1e9)
