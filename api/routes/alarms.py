"""GET, POST and DELETE /mutes and /thresholds of each model, which people with the scope admin may change."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from api.alerts.changes import AlarmEditor
from api.hosted_models import HostedModel, HostedModels
from api.middleware.auth import KEY_NAME
from api.prediction_log.alarm_changes import AlarmChange, ChangeAction
from api.problems import problem_responses
from api.routes.models import model_of_call

NO_KEY = "a caller without a key"
MAX_ID = 2_147_483_647


class Change(BaseModel):
    """One change of a model's alarms, and who made it."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    made_at: datetime
    made_by: str = Field(description="The name of the API key, or the user of the command.")
    action: ChangeAction
    check: str | None
    column: str | None
    measure: str | None
    value: float | None
    until: datetime | None
    reason: str
    model_version: str | None = Field(description="Thresholds are those of one version of the model.")
    undoes: int | None = Field(description="The change that this one took back.")


class Mutes(BaseModel):
    """The mutes that hold now, and all that was changed."""

    mutes: list[Change]
    changes: list[Change] = Field(description="Who did what and when, newest first; at most 200.")


class Thresholds(BaseModel):
    """The thresholds that people set for the version that serves, and all that was changed."""

    thresholds: list[Change]
    changes: list[Change] = Field(description="Who did what and when, newest first; at most 200.")


class MuteRequest(BaseModel):
    """A check, a column or both together that shall not alarm for a while."""

    model_config = ConfigDict(extra="forbid")

    check: str | None = Field(None, examples=["data_drift"])
    column: str | None = None
    until: datetime = Field(description="UTC unless it has an offset; at most 366 days ahead.")
    reason: str = Field(min_length=1, max_length=500)


class ThresholdRequest(BaseModel):
    """Another threshold for a check, for one column where it has several."""

    model_config = ConfigDict(extra="forbid")

    check: str = Field(examples=["data_drift"])
    column: str | None = None
    measure: str | None = Field(None, description="Which of several measures, such as missing of data_quality.")
    value: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    reason: str = Field(min_length=1, max_length=500)


def alarm_routes(models: HostedModels) -> APIRouter:
    """Build the routes of each model, which are those of the default model too. They use the log, so on a thread."""
    router = APIRouter(tags=["alarms"], responses=problem_responses(400, 404, 422, 503))
    named = Annotated[HostedModel, Depends(model_of_call(models))]
    change_id = Annotated[int, Query(alias="id", ge=1, le=MAX_ID, description="The id of what is to be taken back.")]

    @router.get("/mutes", summary="The mutes that hold, and who changed what")
    def mutes(model: named) -> Mutes:
        changes = model.monitoring.changes
        return Mutes(mutes=_shown(changes.mutes()), changes=_shown(changes.newest()))

    @router.post("/mutes", summary="Mute a check or a column until a time", status_code=201)
    def mute(request: Request, model: named, asked: MuteRequest) -> Change:
        done = _editor(request, model).mute(asked.check, asked.column, asked.until, asked.reason)
        return Change.model_validate(done)

    @router.delete("/mutes", summary="End a mute")
    def unmute(request: Request, model: named, mute_id: change_id) -> Change:
        return Change.model_validate(model.monitoring.changes.unmute(_caller(request), mute_id))

    @router.get("/thresholds", summary="The thresholds that people set, and who changed what")
    def thresholds(model: named) -> Thresholds:
        changes, version = model.monitoring.changes, model.serving.plane.manifest.version
        return Thresholds(thresholds=_shown(changes.thresholds(version)), changes=_shown(changes.newest()))

    @router.post("/thresholds", summary="Set the threshold of a check", status_code=201)
    def set_threshold(request: Request, model: named, asked: ThresholdRequest) -> Change:
        editor = _editor(request, model)
        done = editor.set_threshold(asked.check, asked.column, asked.measure, asked.value, asked.reason)
        return Change.model_validate(done)

    @router.delete("/thresholds", summary="Let the threshold hold again that another one replaced")
    def reset_threshold(request: Request, model: named, threshold_id: change_id) -> Change:
        version = model.serving.plane.manifest.version
        return Change.model_validate(model.monitoring.changes.reset_threshold(_caller(request), version, threshold_id))

    return router


def _shown(changes: list[AlarmChange]) -> list[Change]:
    return [Change.model_validate(change) for change in changes]


def _editor(request: Request, model: HostedModel) -> AlarmEditor:
    return AlarmEditor(model.monitoring.changes, model.serving.plane.manifest, _caller(request))


def _caller(request: Request) -> str:
    name: str = request.scope.get(KEY_NAME, NO_KEY)
    return name
