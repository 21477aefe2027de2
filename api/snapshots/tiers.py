"""Owns how the tiers of retention are written in a setting, such as "all:24h:7d, 1h:7d:30d, 6h:90d, 1d"."""

import re
from datetime import timedelta
from itertools import pairwise

from evidently_workspace.retention import Tier

UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
EVERY_WINDOW = "all"
FORM = "SPACING[:UNTIL[:UNTIL_FAILED]], such as 1h:7d:30d, with times in m, h or d"


def parse_tiers(text: str) -> tuple[Tier, ...]:
    """Read the tiers, finest first. Raises ValueError that names the tier and says what to do."""
    tiers = tuple(_tier(part.strip()) for part in text.split(","))
    for finer, coarser in pairwise(tiers):
        if finer.until is None:
            raise ValueError("only the last tier may be without an end; give the ones before it one")
        if coarser.until is not None and coarser.until <= finer.until:
            raise ValueError(
                f"each tier must last longer than the one before: {coarser.until} is not after {finer.until}"
            )
        if coarser.spacing is None or (finer.spacing is not None and coarser.spacing <= finer.spacing):
            raise ValueError(
                f"each tier must be wider than the one before: {EVERY_WINDOW} comes first, then 1h, 6h, 1d"
            )
    return tiers


def _tier(part: str) -> Tier:
    fields = part.split(":")
    if not 1 <= len(fields) <= 3 or not fields[0]:
        raise ValueError(f"{part!r} is no tier: write {FORM}")
    spacing = None if fields[0] == EVERY_WINDOW else _duration(fields[0], part)
    until, until_failed = ([_duration(field, part) for field in fields[1:]] + [None, None])[:2]
    if until is not None and until_failed is not None and until_failed < until:
        raise ValueError(f"{part!r}: windows with failed checks cannot be kept for less time than the others")
    return Tier(spacing, until, until_failed)


def _duration(text: str, part: str) -> timedelta:
    found = re.fullmatch(r"([1-9]\d{0,5})([mhd])", text)
    if found is None:
        raise ValueError(f"{text!r} in {part!r} is no time: write {FORM}")
    return int(found[1]) * UNITS[found[2]]
