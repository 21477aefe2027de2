"""A log whose clock and uptime the test sets: faked here and nowhere else."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from api.prediction_log.clock import SteadyClock
from api.prediction_log.database import Database, microseconds

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@dataclass
class WorldClock:
    """Time as it really passes, and how far from it the machine's clock stands."""

    time: datetime = NOON
    error: timedelta = timedelta(0)

    def uptime(self) -> float:
        """Return seconds that never jump."""
        return (self.time - NOON).total_seconds()


class JumpyDatabase(Database):
    """A log on a machine whose clock may jump; the guard against that is the real one."""

    def __init__(self, url: str, world: WorldClock) -> None:
        super().__init__(url, clock=SteadyClock(world.uptime))
        self._world = world

    def shown(self, _connection: Connection) -> int:
        """Return what the machine's clock shows."""
        return microseconds(self._world.time + self._world.error)


class ClockedDatabase(Database):
    """A log at the time that the test sets."""

    time = NOON

    def now(self, _connection: Connection) -> int:
        """Return that time."""
        return microseconds(self.time)
