"""A machine's clock that a test sets, for real processes: libfaketime, without the clock that never jumps."""

from pathlib import Path

import pytest


class FakedClock:
    """The clock of the processes that are started with its ``environment``."""

    def __init__(self, folder: Path) -> None:
        libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not libraries:
            pytest.skip("no libfaketime on this machine (Debian: apt-get install faketime)")
        self._file = folder / "clock"
        self.environment = {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.set(0)

    def set(self, seconds: int) -> None:
        """Set the clock so many seconds ahead of the right time, or behind it."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}")
        new.replace(self._file)
