"""The tables of the prediction log.

Times are integer microseconds since the epoch, UTC: the same on SQLite and PostgreSQL, and fast to compare.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData()

_SNAPSHOT, _REPORT = text("snapshot_id IS NOT NULL"), text("report_file IS NOT NULL")
_PREDICTION_KEY = String(160).with_variant(String(36), "sqlite")
"""SQLite ignores lengths, and to change the declared one it would have to copy the whole table."""


def _model_id(*, in_key: bool = False) -> Column[int]:
    """Return the column that says whose row it is; rows from before there were several models are those of the first.

    It refers to no row of ``models``: SQLite would have to copy the whole table for that.
    """
    return Column("model_id", Integer, nullable=False, server_default="1", primary_key=in_key, autoincrement=False)


models = Table(
    "models",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", String(255), unique=True),
)
"""The models of an installation. The first one has no name where it is the only one. No row is ever deleted."""

predictions = Table(
    "predictions",
    metadata,
    Column("id", _PREDICTION_KEY, primary_key=True),
    Column("logged_at", BigInteger, nullable=False),
    Column("sample_key", Integer, nullable=False),
    Column("model_version", String(64), nullable=False),
    Column("features", Text, nullable=False),
    Column("prediction", Text, nullable=False),
    Column("probabilities", Text, nullable=False),
    _model_id(),
    Column("layout", Integer),
    Index("predictions_by_time", "model_id", "logged_at", "sample_key"),
)
"""One row a prediction. ``sample_key`` is uniform on [0, 2**31): the rows below a bound are a random sample that is the
same at every reading. With a ``layout``, ``features`` and ``probabilities`` are JSON arrays in its order, and
``model_version`` is empty, as the layout has it; what rode along with a row is an object at the end of ``features``.
Without one they are JSON objects by name. It is no foreign key, whose check every row would pay for."""

row_layouts = Table(
    "row_layouts",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("model_version", String(64), nullable=False),
    Column("features", Text, nullable=False),
    Column("classes", Text, nullable=False),
)
"""What all rows of one version share: JSON arrays of names. The id follows from the content. No row is ever changed or
deleted."""

labels = Table(
    "labels",
    metadata,
    Column("prediction_id", _PREDICTION_KEY, ForeignKey("predictions.id", ondelete="CASCADE"), primary_key=True),
    Column("label", Text, nullable=False),
    Column("arrived_at", BigInteger, nullable=False),
    _model_id(),
    Index("labels_by_time", "model_id", "arrived_at"),
)
"""The newest label of a prediction, whose model it repeats. ``arrived_at`` changes only with the label: to repeat it
counts once. Only SQLite has the foreign key: on PostgreSQL its check costs more than the removal of a row, and what
stores a label locks its prediction, as what removes one removes its labels too."""

rejections = Table(
    "rejections",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("logged_at", BigInteger, nullable=False),
    Column("reason", String(32), nullable=False),
    Column("requests", Integer, nullable=False),
    _model_id(),
    Index("rejections_by_time", "model_id", "logged_at"),
)
"""How many requests were refused for a reason, summed over the time between two commits of the log. Those that were for
no model in particular count as the first one's."""

horizon = Table(
    "horizon",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("closed_until", BigInteger, nullable=False),
)
"""One row a model, by its id: no prediction or label of it may be stamped before this time, because its windows before
it are closed."""

log_identity = Table(
    "log_identity",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("log_id", String(36), nullable=False),
    Column("layouts_from", BigInteger, nullable=False, server_default="0"),
)
"""One row: the id of this log, by which its snapshots in Evidently UI are told from those of other logs, and from when
on rows may have a layout. That is a day after a log with rows was migrated: an older process may read it until then."""

windows = Table(
    "windows",
    metadata,
    _model_id(in_key=True),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("end", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("reason", Text),
    Column("rows", Integer),
    Column("labelled_rows", Integer),
    Column("failed_checks", JSON, nullable=False),
    Column("not_computed", JSON, nullable=False),
    Column("model_version", String(64)),
    Column("project_id", String(36)),
    Column("snapshot_id", String(36)),
    Column("report_file", Text),
    Column("tries", Integer, nullable=False),
    Column("retry_at", BigInteger),
    Column("finished_at", BigInteger),
    Column("duration_seconds", Float),
    Column("faults", Integer, nullable=False, server_default="0"),
    Column("snapshot_bytes", Integer),
    Column("snapshot_removed_at", BigInteger),
    Column("report_removed_at", BigInteger),
    Column("alarms_version", Integer),
    Column("muted_checks", JSON),
    Index("windows_by_status", "status", "start"),
    Index("windows_of_model", "model_id", "status", "start"),
    Index("windows_with_snapshot", "model_id", "status", "start", sqlite_where=_SNAPSHOT, postgresql_where=_SNAPSHOT),
    Index("windows_with_report", "model_id", "start", sqlite_where=_REPORT, postgresql_where=_REPORT),
)
"""The timeline of each model, cut into windows that touch: each begins where the one before ended. ``tries`` grows with
each claim, so it also says who may still record: only the newest claimant has the same number. ``faults`` counts the
tries that failed because of the window itself, not because of what it needs."""


def _of_window() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["model_id", "start"], ["windows.model_id", "windows.start"], ondelete="CASCADE")


window_values = Table(
    "window_values",
    metadata,
    _model_id(in_key=True),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("name", String(64), primary_key=True),
    Column("column", String(255), primary_key=True),
    Column("value", Float, nullable=False),
    _of_window(),
    Index("window_values_by_name", "model_id", "name", "column", "start"),
)
"""What a window's snapshot measured. ``column`` is empty where a value belongs to no column."""

window_statistics = Table(
    "window_statistics",
    metadata,
    _model_id(in_key=True),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("model_version", String(64), nullable=False),
    Column("content", LargeBinary, nullable=False),
    _of_window(),
    Index("window_statistics_by_version", "model_id", "model_version", "start"),
)
"""All that a window's snapshot measured, compressed, for the newest windows: what alarms are learned from. It stays
where the snapshot and its values are removed early."""

changed_rows = Table(
    "changed_rows",
    metadata,
    _model_id(in_key=True),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("content", LargeBinary, nullable=False),
    _of_window(),
)
"""The ids of the rows that carry what a window's failed checks found, compressed; removed with the window's values."""

alarm_versions = Table(
    "alarm_versions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("made_at", BigInteger, nullable=False),
    Column("model_version", String(64), nullable=False),
    Column("action", String(16), nullable=False),
    Column("content", Text),
    Column("overrides", JSON),
    _model_id(),
    Column("reference_id", Integer),
    Column("content_by_reference", Text),
    Index("alarm_versions_by_model", "model_id", "model_version", "id"),
)
"""The alarms of each version of the model that came from its own windows, as JSON; the newest row holds. Nothing is
changed or deleted here: to take alarms back adds a row too. Without content the alarms are those of the artifact;
``overrides`` are the thresholds that people set beside them. Alarms that were calibrated against a reference of the
service's own have its ``reference_id``, and are in ``content_by_reference``: programs that know no such references go
by the artifact's alarms then, as they measure against the artifact's reference."""

own_references = Table(
    "own_references",
    metadata,
    Column("id", Integer, primary_key=True),
    _model_id(),
    Column("model_version", String(64), nullable=False),
    Column("made_at", BigInteger, nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("end", BigInteger, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("labelled_rows", Integer, nullable=False),
    Column("thresholds", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Index("own_references_of_model", "model_id", "id"),
)
"""References that were drawn from a model's own rows in [start, end): ``content`` are the rows with their ids,
compressed, ``thresholds`` the drift that rows drawn from it show by chance, as JSON. Only an erasure changes one: it
takes the erased rows out. Of each model the newest few are kept."""

alarm_changes = Table(
    "alarm_changes",
    metadata,
    Column("id", Integer, primary_key=True),
    _model_id(),
    Column("made_at", BigInteger, nullable=False),
    Column("made_by", String(128), nullable=False),
    Column("action", String(16), nullable=False),
    Column("check", String(64)),
    Column("column", String(255)),
    Column("measure", String(64)),
    Column("value", Float),
    Column("until", BigInteger),
    Column("reason", Text, nullable=False),
    Column("model_version", String(64)),
    Column("undoes", Integer),
    Index("alarm_changes_by_model", "model_id", "action", "id"),
)
"""What people changed about a model's alarms: mutes, thresholds, and what took them back (``undoes``). It is the list
of who did what and when, so no row is ever changed or deleted."""

notifications = Table(
    "notifications",
    metadata,
    _model_id(in_key=True),
    Column("address", String(32), primary_key=True),
    Column("service", String(32), nullable=False),
    Column("known", JSON, nullable=False),
    Column("told_at", BigInteger),
    Column("changes", Integer, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("retry_at", BigInteger),
    Column("error", Text),
)
"""What each address was told of a model's alerts. ``address`` is a digest, from which the address cannot be read;
``known`` has the alerts that it was told of, or that it could not be told of yet. ``changes`` grows with each change of
the row: of two processes that read the same one only one may send a message."""

lease = Table(
    "lease",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("holder", String(64), nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)
"""Who may do a job that only one process at a time may do."""

model_roll = Table(
    "model_roll",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("generation", BigInteger, nullable=False),
    Column("model_version", String(64), nullable=False),
    Column("asked_at", BigInteger, nullable=False),
)
"""At most one row a model, by its id: the version of it that every process should serve. ``generation`` grows with each
call: from it a process knows whether it has seen the newest call."""
