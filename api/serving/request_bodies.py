"""Request bodies: validated once, from their bytes; a refused one names its first errors.

No body holds up other requests for long, or takes much memory, whatever is in it. Three things see to that:

- A large body is counted before it is parsed, and then read in pieces; other requests are served in between.
- Where a body may have many errors for its size, it is parsed before it is validated: `validate_json` copies into each
  error the value that it is about, which is the whole row where a field is missing.
- Only the first errors are built.
"""

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from api.errors import MAX_ERRORS, FieldError, PayloadError, UnreadableBody

Body = TypeVar("Body", bound=BaseModel)

LARGE_BYTES = 256 * 1024
"""A larger body is counted before it is parsed; pieces of it have about this size."""
MAX_VALUES = 200_000
"""Most values, lists and objects that are parsed at once; a valid piece has fewer."""
MAX_ERROR_BYTES = 2_000_000
"""Most bytes that `validate_json` may copy into errors; it copies at most the whole body for each field."""
MIN_ERRORS = 4
"""Errors that one field may have, where it may be of several types."""


class RequestBody(Generic[Body]):
    """Reads bodies of one type."""

    def __init__(self, body_type: type[Body], fields: int | None = None) -> None:
        """``fields`` is the number of fields that an object in the body may lack; by default those of ``body_type``."""
        self._type = body_type
        self._validator = body_type.__pydantic_validator__
        self._errors = _ErrorList(body_type)
        self._direct_bytes = MAX_ERROR_BYTES // max(fields or len(body_type.model_fields), MIN_ERRORS)

    async def read_large(self, body: bytes, *, is_json: bool) -> Body:
        """Return the validated body, of any size. Raises PayloadError or UnreadableBody."""
        if is_json:
            body = _in_utf8(body)
            _check_values((await _outline(body)).values, "body")
        return self.read(body, is_json=is_json)

    def read(self, body: bytes, *, is_json: bool) -> Body:
        """Return the validated body, which has at most `LARGE_BYTES`. Raises PayloadError or UnreadableBody."""
        return self._read(body, is_json=is_json)

    def _read(self, body: bytes, *, is_json: bool, first: int = 0) -> Body:
        found: Body
        if is_json and len(body) <= self._direct_bytes:
            try:
                found = self._validator.validate_json(body)
            except ValidationError:
                pass  # `_refuse` builds the errors, in a bounded number
            else:
                return found
        data = _parse(body, is_json=is_json)
        try:
            found = self._validator.validate_python(data)
        except ValidationError:
            self._refuse(data, first)
            raise
        return found

    def _refuse(self, data: object, first: int = 0) -> None:
        """Raise PayloadError for a parsed body that is not valid; ``first`` is the index of its first item."""
        del first
        errors, complete = self._errors.of(data)
        if errors:
            raise PayloadError.of(errors, complete=complete)


class ListBody(RequestBody[Body]):
    """Reads bodies that have their items, 1 to ``max_items``, in one field.

    ``body_type`` should stop at the first invalid item (`pydantic.FailFast`), so that refusing a body of many invalid
    items costs no more than parsing it. Other lists of it may stand before the items, or after them.
    """

    def __init__(self, body_type: type[Body], field: str, item_type: type[BaseModel], max_items: int) -> None:
        super().__init__(body_type, _fields_inside(item_type))
        others = "|".join(re.escape(json.dumps(name)) for name in body_type.model_fields if name != field).encode()
        self._field = field
        self._item_errors = _ErrorList(item_type)
        self._max_items = max_items
        self._name = json.dumps(field).encode()
        before = rb"(?P<before>(?:(?:%s)\s*:\s*(?:null|\[[^\]]*\])\s*,\s*)?)" % (others or b"(?!)")
        self._head = re.compile(rb"\s*\{\s*" + before + re.escape(self._name) + rb"\s*:\s*(?P<list>\[)")

    async def read_large(self, body: bytes, *, is_json: bool) -> Body:
        """Return the validated body, of any size. Raises PayloadError or UnreadableBody."""
        if not is_json:
            return self.read(body, is_json=False)
        body = _in_utf8(body)
        head = self._head.match(body)
        skipped = head.start("list") - 1 if head is not None and head["before"] else 0
        outline = await _outline(b"{" + body[skipped + 1 :] if skipped else body)
        before, end = body[:skipped].count(b","), outline.list_end
        after = body[skipped + end.offset + 1 :] if end is not None else b""
        if head is None or end is None or not outline.cuts or self._name in after:
            _check_values(outline.values + before, "body")
            return self.read(body, is_json=True)
        self._check_max(end.items)
        _check_values(outline.values - end.values + before, "body")
        rest = self._read(body[: head.start("list")] + b"[]" + after, is_json=True)
        items: list[BaseModel] = []
        for one, following in pairwise([Cut(head.start("list") - skipped, 0, 0), *outline.cuts, end]):
            _check_values(following.values - one.values, f"{self._field}[{one.items}]")
            items += self._read_piece(body[skipped + one.offset + 1 : skipped + following.offset], one.items)
            await asyncio.sleep(0)
        return self._type.model_construct(None, **{**rest.__dict__, self._field: items})

    def _read_piece(self, piece: bytes, first: int) -> Sequence[BaseModel]:
        """Return the validated items of a piece, which starts with that item. Raises PayloadError or UnreadableBody."""
        found = self._read(b'{"%s":[%s]}' % (self._field.encode(), piece), is_json=True, first=first)
        items: Sequence[BaseModel] = getattr(found, self._field)
        if not items:  # a comma with nothing before or behind it
            raise PayloadError.of([FieldError("body", "not valid JSON: Expecting value", "json_invalid")])
        return items

    def read(self, body: bytes, *, is_json: bool) -> Body:
        """Return the validated body, which has at most `LARGE_BYTES`. Raises PayloadError or UnreadableBody."""
        found = super().read(body, is_json=is_json)
        items: Sequence[BaseModel] = getattr(found, self._field)
        self._check_max(len(items))
        if not items:
            raise PayloadError.of([FieldError(self._field, "is empty; send at least one", "too_few_rows")])
        return found

    def _refuse(self, data: object, first: int = 0) -> None:
        items = data.get(self._field) if isinstance(data, dict) else None
        if not isinstance(data, dict) or not isinstance(items, list):
            super()._refuse(data)
            return
        self._check_max(len(items))
        errors: list[FieldError] = []
        complete = True
        for index, item in enumerate(items, first):
            found, item_complete = self._item_errors.of(item, (self._field, index))
            errors += found
            complete = complete and item_complete
            if len(errors) >= MAX_ERRORS:
                complete = complete and index + 1 == first + len(items)
                break
        found, body_complete = self._errors.of(data | {self._field: []})
        errors += found
        if errors:
            raise PayloadError.of(errors, complete=complete and body_complete)

    def _check_max(self, items: int) -> None:
        if items > self._max_items:
            message = f"{items:,} are too many; send at most {self._max_items:,} at a time"
            raise PayloadError.of([FieldError(self._field, message, "too_many_rows")])


def _fields_inside(item_type: type[BaseModel]) -> int:
    """Return how many fields an object may lack, with those of the objects in it."""
    inside = (_model_in(field.annotation) for field in item_type.model_fields.values())
    return len(item_type.model_fields) + sum(len(one.model_fields) for one in inside if one is not None)


def _model_in(annotation: object) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


class _ErrorList:
    """Lists what is wrong with parsed JSON, with at most `MAX_ERRORS` unknown fields in each object."""

    def __init__(self, body_type: type[BaseModel]) -> None:
        self._validator = body_type.__pydantic_validator__
        self._fields = [field.alias or name for name, field in body_type.model_fields.items()]
        inside = {field.alias or name: _model_in(field.annotation) for name, field in body_type.model_fields.items()}
        self._inside = {name: _ErrorList(one) for name, one in inside.items() if one is not None}

    def of(self, data: object, location: tuple[str | int, ...] = ()) -> tuple[list[FieldError], bool]:
        """Return the errors, none if the data is valid, and whether they are all."""
        data, complete = self._shortened(data)
        try:
            # "from_attributes" only changes the message about a value that is not an object
            self._validator.validate_python(data, from_attributes=True)
        except ValidationError as error:
            items = error.errors(include_url=False, include_context=False, include_input=False)
            return [FieldError.from_pydantic({**item, "loc": (*location, *item["loc"])}) for item in items], complete
        return [], True

    def _shortened(self, data: object) -> tuple[object, bool]:
        """Return the data without most of the unknown fields, and whether nothing was left out."""
        if not isinstance(data, dict):
            return data, True
        complete = len(data) <= len(self._fields) + MAX_ERRORS
        if not complete:
            data = self._without_most_unknown(data)
        for name, errors in self._inside.items():
            if name in data:
                inside, inside_complete = errors._shortened(data[name])  # noqa: SLF001 - of the same class
                data, complete = data | {name: inside}, complete and inside_complete
        return data, complete

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
        return from_json(body)
    except ValueError:
        pass  # JSON in another encoding than UTF-8, or none: the standard library says what is wrong with it
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        raise PayloadError.of([FieldError("body", f"not valid JSON: {error.msg}", "json_invalid")]) from None
    except (ValueError, RecursionError) as error:  # not in a Unicode encoding, a number too long, nested too deep
        raise UnreadableBody("There was an error parsing the body") from error


def _in_utf8(body: bytes) -> bytes:
    """Return the JSON in UTF-8. Raises UnreadableBody."""
    encoding = json.detect_encoding(body)
    if encoding == "utf-8":
        return body
    try:
        return body.decode(encoding, "surrogatepass").encode("utf-8", "surrogatepass")
    except ValueError as error:
        raise UnreadableBody("There was an error parsing the body") from error


def _check_values(values: int, field: str) -> None:
    """Raise PayloadError if there is too much to parse at once; no valid body has so many values."""
    if values > MAX_VALUES:
        message = f"{values:,} values are too many for one part of a body; send one value for each field"
        raise PayloadError.of([FieldError(field, message, "too_many_values")])


_STRUCTURE = np.zeros(256, np.bool)
_STRUCTURE[list(b'"{}[],')] = True
_DEPTH = np.zeros(256, np.int32)
_DEPTH[list(b"{[")] = 1
_DEPTH[list(b"}]")] = -1
_QUOTE, _COMMA = b'",'
_IN_LIST = 2
"""How deep the items of a body's list are: in an object and in the list."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A place between two items of a body's list, with the number of items and values before it."""

    offset: int
    items: int
    values: int


class _Outline:
    """Counts what is in JSON and finds where its list may be cut, without parsing it.

    What it finds in text that is not JSON means nothing, but does no harm: all of it is parsed afterwards.
    """

    def __init__(self) -> None:
        self.values = 0
        self.items = 1
        self.cuts: list[Cut] = []
        self.list_end: Cut | None = None
        self._depth = 0
        self._in_text = 0

    def add(self, block: npt.NDArray[np.uint8], start: int) -> None:
        """Go on with the block at the offset ``start``, in which no quote is escaped."""
        places = np.flatnonzero(_STRUCTURE[block])
        signs = block[places]
        in_text = (np.cumsum(signs == _QUOTE, dtype=np.int64) + self._in_text) & 1
        outside = (in_text == 0) & (signs != _QUOTE)
        if in_text.size:
            self._in_text = int(in_text[-1])
        places, signs = places[outside], signs[outside]
        if not signs.size:
            return
        steps = _DEPTH[signs]
        depths = np.cumsum(steps) + self._depth
        self._depth = int(depths[-1])
        starts = (signs == _COMMA) | (steps > 0)
        between, cut = np.flatnonzero((signs == _COMMA) & (depths == _IN_LIST)), None
        if between.size:
            values = self.values + int(np.count_nonzero(starts[: between[0]]))
            cut = Cut(start + int(places[between[0]]), self.items, values)
        ends = np.flatnonzero((steps < 0) & (depths == _IN_LIST - 1))
        if ends.size and self.list_end is None:
            items = self.items + int(np.count_nonzero(between < ends[0]))
            values = self.values + int(np.count_nonzero(starts[: ends[0]]))
            self.list_end = Cut(start + int(places[ends[0]]), items, values)
        if cut is not None and (self.list_end is None or cut.offset < self.list_end.offset):
            self.cuts.append(cut)
        self.items += int(between.size)
        self.values += int(np.count_nonzero(starts))


async def _outline(body: bytes) -> _Outline:
    """Count what is in a body; other requests are served meanwhile."""
    if b"\\" in body:
        body = body.replace(b"\\\\", b"  ").replace(b'\\"', b"  ")
    found = _Outline()
    signs = np.frombuffer(body, np.uint8)
    for start in range(0, len(signs), LARGE_BYTES):
        found.add(signs[start : start + LARGE_BYTES], start)
        await asyncio.sleep(0)
    return found
