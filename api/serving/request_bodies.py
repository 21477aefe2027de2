"""Request bodies: validated once, from their bytes; a refused one names its first errors."""

import json
from collections.abc import Sequence
from itertools import islice
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from api.errors import MAX_ERRORS, FieldError, PayloadError, UnreadableBody

Body = TypeVar("Body", bound=BaseModel)


class RequestBody(Generic[Body]):
    """Reads bodies of one type."""

    def __init__(self, body_type: type[Body]) -> None:
        self._validator = body_type.__pydantic_validator__
        self._errors = _ErrorList(body_type)

    def read(self, body: bytes, *, is_json: bool) -> Body:
        """Return the validated body. Raises PayloadError or UnreadableBody."""
        if is_json:
            try:
                found: Body = self._validator.validate_json(body)
            except ValidationError:
                pass  # `_refuse` builds the errors, in a bounded number
            else:
                return found
        data = _parse(body, is_json=is_json)
        self._refuse(data)
        return self._validator.validate_python(data)  # type: ignore[no-any-return] # JSON in another encoding than UTF-8

    def _refuse(self, data: object) -> None:
        """Raise PayloadError if the parsed body is not valid."""
        errors, complete = self._errors.of(data)
        if errors:
            raise PayloadError.of(errors, complete=complete)


class ListBody(RequestBody[Body]):
    """Reads bodies that have their items, 1 to ``max_items``, in one field.

    ``body_type`` should stop at the first invalid item (`pydantic.FailFast`), so that refusing a body of many invalid
    items costs no more than parsing it.
    """

    def __init__(self, body_type: type[Body], field: str, item_type: type[BaseModel], max_items: int) -> None:
        super().__init__(body_type)
        self._field = field
        self._item_errors = _ErrorList(item_type)
        self._max_items = max_items

    def read(self, body: bytes, *, is_json: bool) -> Body:
        """Return the validated body. Raises PayloadError or UnreadableBody."""
        found = super().read(body, is_json=is_json)
        items: Sequence[BaseModel] = getattr(found, self._field)
        self._check_max(items)
        if not items:
            raise PayloadError.of([FieldError(self._field, "is empty; send at least one", "too_few_rows")])
        return found

    def _refuse(self, data: object) -> None:
        items = data.get(self._field) if isinstance(data, dict) else None
        if not isinstance(data, dict) or not isinstance(items, list):
            super()._refuse(data)
            return
        self._check_max(items)
        errors: list[FieldError] = []
        complete = True
        for index, item in enumerate(items):
            found, item_complete = self._item_errors.of(item, (self._field, index))
            errors += found
            complete = complete and item_complete
            if len(errors) >= MAX_ERRORS:
                complete = complete and index + 1 == len(items)
                break
        found, body_complete = self._errors.of(data | {self._field: []})
        errors += found
        if errors:
            raise PayloadError.of(errors, complete=complete and body_complete)

    def _check_max(self, items: Sequence[object]) -> None:
        if len(items) > self._max_items:
            message = f"{len(items):,} are too many; send at most {self._max_items:,} at a time"
            raise PayloadError.of([FieldError(self._field, message, "too_many_rows")])


class _ErrorList:
    """Lists what is wrong with parsed JSON, with at most `MAX_ERRORS` unknown fields."""

    def __init__(self, body_type: type[BaseModel]) -> None:
        self._validator = body_type.__pydantic_validator__
        self._fields = [field.alias or name for name, field in body_type.model_fields.items()]

    def of(self, data: object, location: tuple[str | int, ...] = ()) -> tuple[list[FieldError], bool]:
        """Return the errors, none if the data is valid, and whether they are all."""
        complete = not isinstance(data, dict) or len(data) <= len(self._fields) + MAX_ERRORS
        if isinstance(data, dict) and not complete:
            data = self._without_most_unknown(data)
        try:
            # "from_attributes" only changes the message about a value that is not an object
            self._validator.validate_python(data, from_attributes=True)
        except ValidationError as error:
            items = error.errors(include_url=False, include_context=False, include_input=False)
            return [FieldError.from_pydantic({**item, "loc": (*location, *item["loc"])}) for item in items], complete
        return [], True

    def _without_most_unknown(self, data: dict[str, Any]) -> dict[str, Any]:
        known = {name: data[name] for name in self._fields if name in data}
        unknown = islice(((name, value) for name, value in data.items() if name not in known), MAX_ERRORS)
        return known | dict(unknown)


def _parse(body: bytes, *, is_json: bool) -> object:
    """Return the parsed body. Raises PayloadError or UnreadableBody."""
    if not body:
        raise PayloadError.of([FieldError("body", "Field required", "missing")])
    if not is_json:
        message = "cannot be read without the header Content-Type: application/json; send it with the body"
        raise PayloadError.of([FieldError("body", message, "json_invalid")])
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        raise PayloadError.of([FieldError("body", f"not valid JSON: {error.msg}", "json_invalid")]) from None
    except (ValueError, RecursionError) as error:  # not in a Unicode encoding, a number too long, nested too deep
        raise UnreadableBody("There was an error parsing the body") from error
