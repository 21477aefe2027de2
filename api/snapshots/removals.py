"""Owns what a run of retention removed, or would remove, as plain values."""

from collections import Counter
from dataclasses import dataclass, field

KINDS = ("snapshots", "values", "reports", "predictions", "labels", "rejections")
STORES = ("workspace", "reports", "log")


@dataclass(slots=True)
class Removals:
    """Counts by kind, and bytes by store.

    The workspace's bytes are those of the snapshots as they were posted, so at most what is freed; a planned run's
    bytes of the log are an estimate. ``unfinished`` says that there was more than time, ``troubles`` what could not
    be done, each as a sentence.
    """

    removed: Counter[str] = field(default_factory=Counter)
    freed_bytes: Counter[str] = field(default_factory=Counter)
    unfinished: bool = False
    troubles: list[str] = field(default_factory=list)
