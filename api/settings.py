"""The settings of the API, grouped by area: environment variables that begin with VIGIE_."""

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from api.snapshots.retention_tiers import DEFAULT_TIERS, RetentionPolicy, parse_tiers
from evidently_workspace.ui.web_origin import LOOPBACK, allowed_hosts, origin_of

SECRETS = ("database_url", "evidently_secret", "notify_urls")
ORIGIN = re.compile(r"https?://[^/\s*]+")


class ApiSettings(BaseModel):
    """How the API listens, and what it takes in."""

    host: Annotated[str, Field(description="Address that the API listens on.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="Port that the API listens on.")] = 8000
    workers: Annotated[
        int, Field(ge=1, le=64, description="Processes that answer requests; one of them snapshots.")
    ] = 1
    public_url: Annotated[
        str | None,
        Field(description="Where people reach the API, for links and with any path below which a proxy serves it."),
    ] = None
    max_body_bytes: Annotated[int, Field(gt=0, description="Largest request body, in bytes.")] = 16 * 1024 * 1024
    body_timeout_seconds: Annotated[
        float, Field(gt=0, description="Longest time that a request's body may take to arrive, in seconds.")
    ] = 30.0
    keep_alive_seconds: Annotated[
        int, Field(ge=1, description="How long an idle connection stays open: longer than a proxy in front keeps it.")
    ] = 75
    max_batch_rows: Annotated[int, Field(gt=0, le=10_000, description="Most rows or labels in one request.")] = 10_000
    max_requests_in_progress: Annotated[
        int, Field(gt=0, description="Most requests that are served at once; past it a request gets 503.")
    ] = 512
    grafana_url: Annotated[
        str | None, Field(description="Where people reach Grafana, to be linked from the landing page.")
    ] = None

    @property
    def path_prefix(self) -> str:
        """The path below which people reach the API, without a slash at its end; empty where it is the root."""
        return urlsplit(self.public_url or "").path.rstrip("/")

    @property
    def is_exposed(self) -> bool:
        """Whether other machines may reach the API."""
        return self.host not in LOOPBACK

    @property
    def api_url(self) -> str:
        """Where people reach the API."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.public_url or f"http://{host}:{self.port}"


class AccessSettings(BaseModel):
    """Who may call the API."""

    api_keys: Annotated[
        SecretStr | None, Field(description="The API's keys, as the lines of a key file; without keys all may call.")
    ] = None
    api_keys_file: Annotated[
        Path | None, Field(description="File of the API's keys (`python -m scripts.keys`), read again as it changes.")
    ] = None
    rate_limit_rows_per_second: Annotated[
        float | None,
        Field(gt=0, description="Rows that each key may send a second, in each process; a key may have its own."),
    ] = None
    open_docs: Annotated[
        bool, Field(description="Whether Swagger UI and the OpenAPI schema need no key where other calls do.")
    ] = True
    guard_metrics: Annotated[
        bool, Field(description="Whether `GET /metrics` needs a key with the scope metrics, where there are keys.")
    ] = False
    allowed_hosts: Annotated[
        str | None,
        Field(
            description="Host names that the API answers to, with commas; by default those of this machine and of "
            "`VIGIE_PUBLIC_URL` if only this machine can reach the API, else any."
        ),
    ] = None
    cors_origins: Annotated[
        str | None, Field(description="Origins whose pages may call the API, with commas; by default none.")
    ] = None

    @property
    def has_keys(self) -> bool:
        """Whether callers need a key."""
        return self.api_keys is not None or self.api_keys_file is not None

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        """Refuse settings about keys that contradict each other."""
        if self.api_keys is not None and self.api_keys_file is not None:
            raise ValueError("set either VIGIE_API_KEYS or VIGIE_API_KEYS_FILE, not both")
        if not self.has_keys and (self.rate_limit_rows_per_second is not None or self.guard_metrics):
            raise ValueError(
                "VIGIE_RATE_LIMIT_ROWS_PER_SECOND and VIGIE_GUARD_METRICS need keys: set VIGIE_API_KEYS_FILE too"
            )
        return self

    @field_validator("allowed_hosts", "cors_origins")
    @classmethod
    def _check_list(cls, value: str | None, info: ValidationInfo) -> str | None:
        """Refuse a list that would quietly let nobody, or everybody, in."""
        parts = comma_separated(value)
        if value is not None and not parts:
            raise ValueError("name at least one, or leave it out")
        if info.field_name == "cors_origins" and (wrong := [one for one in parts if not ORIGIN.fullmatch(one)]):
            raise ValueError(f"{wrong[0]!r} is no origin; write one as https://app.example")
        return value


class LogSettings(BaseModel):
    """The prediction log."""

    database_url: Annotated[
        SecretStr, Field(description="SQLAlchemy URL of the prediction log: SQLite, or PostgreSQL.")
    ] = SecretStr("sqlite:///data/vigie.db")
    log_queue_rows: Annotated[
        int, Field(gt=0, description="Most rows that may wait for the log; past it a request gets 503.")
    ] = 50_000
    log_timeout_seconds: Annotated[
        float, Field(gt=0, description="Longest wait for a commit of the log, in seconds; past it a request gets 503.")
    ] = 10.0


class ModelSettings(BaseModel):
    """The model, or the models."""

    model_dir: Annotated[Path, Field(description="Folder of the model's artifact.")] = Path("data/model")
    models_dir: Annotated[
        Path | None,
        Field(description="Folder of several models: each folder in it is one. `VIGIE_MODEL_DIR` is not used then."),
    ] = None
    default_model: Annotated[
        str | None, Field(description="Which of several models answers the calls that name none, such as `/predict`.")
    ] = None

    @field_validator("models_dir", "default_model", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: Any) -> Any:
        """Take an empty text, as Docker Compose passes a variable that is not set, as no value."""
        return None if value == "" else value

    @model_validator(mode="after")
    def _check_default_model(self) -> Self:
        """Refuse a default where there is nothing to choose from."""
        if self.default_model is not None and self.models_dir is None:
            raise ValueError("VIGIE_DEFAULT_MODEL chooses one of several models: set VIGIE_MODELS_DIR too")
        return self


class EvidentlySettings(BaseModel):
    """Evidently UI."""

    evidently_url: Annotated[str, Field(description="Where the API reaches Evidently UI.")] = "http://127.0.0.1:8001"
    evidently_public_url: Annotated[
        str | None, Field(description="Where people reach Evidently UI, if that is another address.")
    ] = None
    evidently_secret: Annotated[SecretStr | None, Field(description="Secret that Evidently UI asks for on writes.")] = (
        None
    )
    evidently_timeout_seconds: Annotated[
        float, Field(gt=0, description="Longest wait for an answer of Evidently UI, in seconds.")
    ] = 30.0
    evidently_project: Annotated[
        str | None, Field(description="Name of the project in Evidently UI; by default the model's name.")
    ] = None
    evidently_share_project: Annotated[
        bool,
        Field(description="Whether the project may also show the windows of other logs; by default it is refused."),
    ] = False

    @property
    def evidently_link(self) -> str:
        """Where people reach Evidently UI."""
        return self.evidently_public_url or self.evidently_url


class AlertSettings(BaseModel):
    """Alerts on the model's health."""

    alertmanager_url: Annotated[
        str | None,
        Field(
            description="Where the API reaches Alertmanager; without it, and without `VIGIE_NOTIFY_URLS`, alerts on "
            "model health are logged only."
        ),
    ] = None
    notify_urls: Annotated[
        SecretStr | None,
        Field(
            description="Apprise addresses of those whom the API itself tells about alerts on model health, such as "
            "mailto:// or slack://, with spaces, line ends or commas between them."
        ),
    ] = None
    alert_windows_failed: Annotated[
        int, Field(ge=1, description="Failed windows, of the last few, at which a check's alert fires.")
    ] = 2
    alert_windows: Annotated[
        int, Field(ge=1, description="How many of the last windows that computed a check its alert looks at.")
    ] = 3
    learning_days: Annotated[
        float,
        Field(
            gt=0,
            le=365,
            description="Days of its own windows from which a service learns what is usual, where training could not "
            "say; until then only gross changes alarm.",
        ),
    ] = 7.0
    alert_repeat_seconds: Annotated[
        float,
        Field(gt=0, description="How often a firing alert is repeated; Alertmanager ends it after four missed ones."),
    ] = 60.0

    @property
    def alert_repeat(self) -> timedelta:
        """How often a firing alert is repeated."""
        return timedelta(seconds=self.alert_repeat_seconds)

    @field_validator("notify_urls", mode="before")
    @classmethod
    def _no_address_is_unset(cls, value: Any) -> Any:
        """Take an empty text, such as that of a file which waits for its addresses, as no value."""
        return None if isinstance(value, str) and not value.strip() else value

    @model_validator(mode="after")
    def _check_alert_windows(self) -> Self:
        self.check_alert_windows()
        return self

    def check_alert_windows(self) -> None:
        """Refuse a number of failed windows that can never be reached. Raises ValueError."""
        if self.alert_windows_failed > self.alert_windows:
            raise ValueError("VIGIE_ALERT_WINDOWS_FAILED cannot be more than VIGIE_ALERT_WINDOWS")


class SnapshotSettings(BaseModel):
    """Windows and their snapshots."""

    snapshots: Annotated[
        bool, Field(description="Whether this process may take snapshots; of several, one does at a time.")
    ] = True
    reports_dir: Annotated[Path, Field(description="Folder of the HTML reports.")] = Path("data/reports")
    snapshot_interval_seconds: Annotated[
        int, Field(ge=1, description="Length of a window, in seconds; windows end on its multiples, in UTC.")
    ] = 300
    snapshot_min_rows: Annotated[
        int,
        Field(ge=2, description="Fewest predictions of a window that say anything about drift or quality."),
    ] = 30
    snapshot_min_labels: Annotated[
        int,
        Field(ge=2, description="Fewest labels of a window that say anything about target or performance."),
    ] = 30
    snapshot_max_rows: Annotated[
        int,
        Field(ge=100, description="Most rows of a window that are measured; of more, a random sample is."),
    ] = 20_000
    snapshot_windows_per_beat: Annotated[
        int,
        Field(ge=1, description="Most windows taken at one heartbeat: catching up leaves the machine room."),
    ] = 2
    snapshot_timeout_seconds: Annotated[
        float, Field(gt=0, description="Longest time that the snapshot worker may be at it before it is replaced.")
    ] = 600.0
    heartbeat_seconds: Annotated[
        float,
        Field(gt=0, description="How often the lease on the scheduler is renewed; two missed ones lose it."),
    ] = 5.0

    @property
    def snapshot_interval(self) -> timedelta:
        """Length of a window."""
        return timedelta(seconds=self.snapshot_interval_seconds)

    @property
    def heartbeat(self) -> timedelta:
        """How often the lease is renewed."""
        return timedelta(seconds=self.heartbeat_seconds)


class RetentionSettings(BaseModel):
    """What is kept for how long."""

    snapshot_tiers: Annotated[
        str,
        Field(description="Which snapshots stay: one per spacing until an age, and until another where checks failed."),
    ] = DEFAULT_TIERS
    log_keep_days: Annotated[
        int, Field(ge=1, description="Age at which logged rows and their labels are removed, in days.")
    ] = 90
    reports_keep_days: Annotated[
        int,
        Field(ge=1, description="Age at which HTML reports are removed, in days, if not with their snapshot."),
    ] = 7
    reports_keep_failed_days: Annotated[
        int, Field(ge=1, description="The same for windows with failed checks, in days.")
    ] = 90
    retention_interval_seconds: Annotated[
        float, Field(gt=0, description="How often what is old is removed, in seconds.")
    ] = 3600.0

    @property
    def retention_policy(self) -> RetentionPolicy:
        """What is kept, and for how long."""
        return RetentionPolicy(
            parse_tiers(self.snapshot_tiers),
            rows=timedelta(days=self.log_keep_days),
            reports=timedelta(days=self.reports_keep_days),
            reports_failed=timedelta(days=self.reports_keep_failed_days),
        )

    @field_validator("snapshot_tiers")
    @classmethod
    def _check_tiers(cls, text: str) -> str:
        """Refuse tiers that cannot be read, or are in the wrong order."""
        parse_tiers(text)
        return text

    @model_validator(mode="after")
    def _check_reports(self) -> Self:
        self.check_reports()
        return self

    def check_reports(self) -> None:
        """Refuse to keep what shows a failure for less time than what shows none. Raises ValueError."""
        if self.reports_keep_failed_days < self.reports_keep_days:
            raise ValueError("VIGIE_REPORTS_KEEP_FAILED_DAYS cannot be less than VIGIE_REPORTS_KEEP_DAYS")


class Settings(
    ApiSettings,
    AccessSettings,
    LogSettings,
    ModelSettings,
    EvidentlySettings,
    AlertSettings,
    SnapshotSettings,
    RetentionSettings,
    BaseSettings,
):
    """Everything that can be set; each field's description is its documentation."""

    model_config = SettingsConfigDict(env_prefix="VIGIE_", extra="ignore", frozen=True)

    def with_changes(self, changes: Mapping[str, Any]) -> Self:
        """Return these settings with others in the place of some; each value must be valid by itself.

        Raises ValueError where they contradict each other.
        """
        changed = self.model_copy(update=dict(changes))
        parse_tiers(changed.snapshot_tiers)
        changed.check_alert_windows()
        changed.check_reports()
        return changed

    @property
    def hosts(self) -> frozenset[str] | None:
        """The host names that the API answers to; None for any."""
        return allowed_hosts(comma_separated(self.allowed_hosts), self.host, self.public_url)

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins whose pages may change something: those of the settings, and of the API's own public address."""
        own = (origin_of(self.public_url),) if self.public_url else ()
        return (*comma_separated(self.cors_origins), *own)

    @model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Read each secret from the file that VIGIE_<NAME>_FILE names; naming both ways is an error."""
        for name in SECRETS:
            variable = f"VIGIE_{name.upper()}_FILE"
            path = os.environ.get(variable)
            if path is None:
                continue
            if name in values:
                raise ValueError(f"set either VIGIE_{name.upper()} or {variable}, not both")
            try:
                values[name] = Path(path).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise ValueError(f"{variable} names {path}, which cannot be read: {error.strerror}") from error
        return values


def comma_separated(value: str | None) -> tuple[str, ...]:
    """Return the parts of a list that is written with commas."""
    return tuple(part.strip() for part in (value or "").split(",") if part.strip())
