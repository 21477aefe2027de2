"""The API under load: its address and the model that it serves."""

from dataclasses import dataclass
from typing import Literal, Self

import httpx
from pydantic import BaseModel, ConfigDict, StrictBool, StrictInt, StrictStr, ValidationError, model_validator

from model.artifact.manifest import Feature
from scripts.load.errors import ApiUnreachableError, KeyRefusedError, ModelMismatchError, NotTheApiError
from vigie.client import error_of, key_header

_TIMEOUT_SECONDS = 10.0


class ServedModel(BaseModel):
    """The part of `GET /model` that traffic is made from."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    features: tuple[Feature, ...]
    task: Literal["classification", "regression"]
    engine: str = ""
    classes: tuple[StrictBool, ...] | tuple[StrictInt, ...] | tuple[StrictStr, ...] | None = None

    @model_validator(mode="after")
    def _has_classes_where_it_predicts_them(self) -> Self:
        if (self.classes is None) != (self.task == "regression"):
            raise ValueError("classes go with classification, and only with that")
        return self


@dataclass(frozen=True)
class Target:
    """An API's address without a trailing slash, and its model."""

    url: str
    model: ServedModel

    def require(self, version: str, folder: str) -> None:
        """Raise ModelMismatchError unless the API serves this version of the artifact in `folder`."""
        if self.model.version != version:
            raise ModelMismatchError(
                f"the API at {self.url} serves model {self.model.version}, but the rows in {folder} belong "
                f"to {version}; name the folder of the served model with --model-dir, or restart the API"
            )


def probe(url: str, key: str | None = None, model: str | None = None) -> Target:
    """Return the API at `url`, or one of its several models, whose calls are below its own address.

    Raises ApiUnreachableError, KeyRefusedError, NotTheApiError if something else answers, or ModelMismatchError if the
    model is served elsewhere.
    """
    base = url.rstrip("/")
    card = f"{base}/model"
    if model is not None:
        base = card = f"{base}/models/{model}"
    try:
        response = httpx.get(card, headers=key_header(key), timeout=_TIMEOUT_SECONDS, trust_env=False)
    except httpx.TimeoutException:
        raise ApiUnreachableError(f"no answer from {card} within {_TIMEOUT_SECONDS:g} s; is the API running?") from None
    except httpx.TransportError as error:
        raise ApiUnreachableError(f"cannot reach the API at {base}: {error}; start it with: make run") from None
    except httpx.InvalidURL as error:
        raise ApiUnreachableError(f"{url!r} is not an address: {error}") from None
    if response.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        raise KeyRefusedError(
            f"{base} answered {error_of(response)}; name the file of a key with "
            "the scopes predict and feedback with --key-file, or set VIGIE_API_KEY"
        )
    if response.status_code != httpx.codes.OK:
        raise NotTheApiError(
            f"{card} answered {response.status_code} instead of a model card; is this the address of the API?"
        )
    try:
        found = ServedModel.model_validate_json(response.content)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"]) or "the body"
        raise NotTheApiError(f"{card} did not answer with a model card (see {where})") from None
    if found.engine == "elsewhere":
        raise ModelMismatchError(
            f"the model {found.name} is served elsewhere, so there is nothing to ask it for; send its predictions "
            "with python -m scripts.ingest"
        )
    return Target(base, found)
