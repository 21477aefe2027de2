"""The leases: which of several processes makes the snapshots, and which removes what is old."""

import os
import socket
from datetime import timedelta
from secrets import token_hex

from sqlalchemy import Connection, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from api.errors import LogUnavailable
from api.prediction_log.database import Database
from api.prediction_log.tables import lease

HEARTBEATS_PER_LEASE = 2
"""Heartbeats that the holder must miss in a row to lose the lease on snapshots."""
RETENTION_LIFETIME = timedelta(minutes=5)
IMPLAUSIBLE = timedelta(hours=1)
"""An end this far ahead was written while a clock was wrong, and would keep every process out until then."""


class Lease:
    """The right to do something that one process at a time may do; it is lost when it is not renewed in time.

    Times are the database's, so that hosts whose clocks differ agree.
    """

    def __init__(self, database: Database, holder: str, lifetime: timedelta, name: str) -> None:
        self._database = database
        self._lifetime_us = int(lifetime.total_seconds() * 1_000_000)
        self._name = name
        self.holder = holder

    def take(self) -> bool:
        """Take or renew the lease; False where another process holds it."""
        try:
            with self._database.writing() as connection:
                now = self._database.now(connection)
                renewed = connection.execute(
                    update(lease)
                    .where(
                        lease.c.name == self._name,
                        or_(
                            lease.c.holder == self.holder,
                            lease.c.expires_at <= now,
                            lease.c.expires_at > now + self._lifetime_us + IMPLAUSIBLE // timedelta(microseconds=1),
                        ),
                    )
                    .values(holder=self.holder, expires_at=now + self._lifetime_us)
                )
                if renewed.rowcount == 1:
                    return True
                if connection.execute(select(lease.c.name).where(lease.c.name == self._name)).first() is not None:
                    return False
                connection.execute(
                    insert(lease).values(name=self._name, holder=self.holder, expires_at=now + self._lifetime_us)
                )
                return True
        except LogUnavailable as error:
            if isinstance(error.__cause__, IntegrityError):
                return False  # two processes inserted the first row at once, and the other one was first
            raise

    def held(self) -> bool:
        """Whether this holder has the lease now."""
        with self._database.reading() as connection:
            return self.holds(connection)

    def holds(self, connection: Connection) -> bool:
        """Whether this holder has the lease; inside a write transaction it has it until that ends."""
        query = select(lease.c.holder, lease.c.expires_at).where(lease.c.name == self._name)
        row = connection.execute(query.with_for_update(read=True)).first()
        return row is not None and row.holder == self.holder and row.expires_at > self._database.now(connection)

    def ends_in(self) -> timedelta:
        """Return how long the lease lasts unless it is renewed; zero or less where no process has it."""
        with self._database.reading() as connection:
            end = connection.execute(select(lease.c.expires_at).where(lease.c.name == self._name)).scalar()
            return timedelta(microseconds=(end or 0) - self._database.now(connection))

    def release(self) -> None:
        """Release the lease, so that another process need not wait for its end."""
        with self._database.writing() as connection:
            connection.execute(
                update(lease).where(lease.c.name == self._name, lease.c.holder == self.holder).values(expires_at=0)
            )


def snapshot_lease(database: Database, holder: str, heartbeat: timedelta) -> Lease:
    """Return the lease on snapshots, which the holder renews at each heartbeat."""
    return Lease(database, holder, HEARTBEATS_PER_LEASE * heartbeat, "snapshots")


def retention_lease(database: Database, holder: str) -> Lease:
    """Return the lease on removing what is old."""
    return Lease(database, holder, RETENTION_LIFETIME, "retention")


def new_holder() -> str:
    """Return a name for this process that no other holder has."""
    return f"{socket.gethostname()[:32]}-{os.getpid()}-{token_hex(4)}"
